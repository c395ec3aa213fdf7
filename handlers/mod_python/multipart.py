"""Bodies of type multipart/form-data (RFC 7578), read part by part and never whole."""

import re
import tempfile
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import NamedTuple

from .fields import Field, StringField
from .query import parse_header
from .table import Table

# RFC 2046 section 5.1.1 says 70
_LONGEST_BOUNDARY = 200
_NO_TYPE = b"application/octet-stream"


class Malformed(ValueError):
    """Raised for a body that is not what its type says."""


class TooMuch(ValueError):
    """Raised for a body with more parts, or larger ones, than the limits allow."""


class Limits(NamedTuple):
    """What a form may take: *fields*, header *lines* of a part, bytes of *memory* for the text
    of all fields, and of the longest *line* that is read at once."""

    fields: int
    lines: int
    memory: int
    line: int


def boundary_of(content_type: bytes) -> re.Pattern:
    """Return the pattern of the lines that part the body.

    :raises Malformed: if the type has no boundary, or one of more than 200 bytes.
    """
    boundary = parse_header(content_type)[1].get(b"boundary", "").encode("latin-1", "replace")
    if not 0 < len(boundary) <= _LONGEST_BOUNDARY:
        raise Malformed("no boundary")
    return re.compile(b"--" + re.escape(boundary) + rb"(--)?[ \t]*(?:\r?\n|\Z)")


def read_fields(
    req,
    content_type: bytes,
    limits: Limits,
    file_callback: Callable | None = None,
    field_callback: Callable | None = None,
) -> Iterator[Field | StringField]:
    """Yield the fields of the request's body.

    :param file_callback: is given the file's name and returns an open binary file for it; without
        it, uploads go to temporary files.
    :param field_callback: returns an open binary file to read the text of a field into.
    :raises Malformed: for a body that cannot be read.
    :raises TooMuch: beyond the *limits*.
    """
    boundary = boundary_of(content_type)
    ended = read_to_boundary(req, boundary, None, limits.line)
    memory = limits.memory
    count = 0
    while not ended:
        headers, ended = _read_headers(req, boundary, limits)
        if headers is None:
            continue
        count += 1
        if count > limits.fields:
            raise TooMuch(f"more than {limits.fields} fields")
        disposition, options = parse_header(_latin1(headers.get("Content-Disposition", "")))
        filename = options.get(b"filename")
        if filename:
            file = file_callback(filename) if file_callback else _temporary_file()
            field = Field(options.get(b"name"))
            field.filename = filename
            # the field closes it, whatever happens to the rest of the body
            field.file = file
            ended = read_to_boundary(req, boundary, file, limits.line)
        else:
            file = field_callback() if field_callback else BytesIO()
            target = _Limited(file, memory)
            ended = read_to_boundary(req, boundary, target, limits.line)
            memory = target.left
            file.seek(0)
            field = StringField(file.read())
            field.name = options.get(b"name")
            field.file = file
        file.seek(0)
        kind, field.type_options = parse_header(_latin1(headers.get("Content-Type", "text/plain")))
        # some browsers have sent anything for a file without an ending
        field.type = (kind if b"/" in kind else _NO_TYPE).decode("latin-1")
        field.disposition = disposition.decode("latin-1")
        field.disposition_options = options
        field.headers = headers
        yield field


def read_to_boundary(req, boundary: re.Pattern, file, longest: int) -> bool:
    """Copy the body up to the next boundary to *file*, if it is not None.

    :return: if that was the last boundary; the end of the body counts as it.
    """
    at_start = True
    held = b""
    while line := req.readline(longest):
        found = boundary.match(line) if at_start else None
        if found:
            return found[1] is not None
        line = held + line
        # the line end before a boundary belongs to the boundary
        held = b"\r\n" if line.endswith(b"\r\n") else b"\r" if line.endswith(b"\r") else b""
        at_start = line.endswith(b"\n")
        if file is not None:
            file.write(line[: len(line) - len(held)])
    if file is not None:
        file.write(held)
    return True


class _Limited:
    """A file that takes so many bytes and no more."""

    def __init__(self, file, left: int):
        self._file = file
        self.left = left

    def write(self, data: bytes) -> None:
        self.left -= len(data)
        if self.left < 0:
            raise TooMuch("more text in the fields than the limit allows")
        self._file.write(data)


def _read_headers(req, boundary, limits) -> tuple[Table | None, bool]:
    """Return the header of a part, or None and whether the body ended inside it."""
    lines: list[bytes] = []
    for _ in range(limits.lines + 1):
        line = req.readline(limits.line)
        found = boundary.match(line)
        if not line or found:
            return None, not line or found[1] is not None
        if not line.strip(b"\r\n"):
            return _table(lines), False
        if not line.endswith(b"\n"):
            raise Malformed("header line too long")
        if line[:1] in b" \t" and lines:
            lines[-1] = lines[-1].rstrip(b"\r\n") + line
        else:
            lines.append(line)
    raise TooMuch(f"more than {limits.lines} header lines in a part")


def _table(lines: list[bytes]) -> Table:
    table = Table()
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon:
            raise Malformed("header line without a colon")
        try:
            table.add(name.strip(), value.strip())
        except ValueError as error:
            raise Malformed(str(error)) from error
    return table


def _temporary_file():
    return tempfile.TemporaryFile("w+b")


def _latin1(text: str) -> bytes:
    return text.encode("latin-1")
