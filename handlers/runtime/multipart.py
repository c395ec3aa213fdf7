"""Bodies of type multipart/form-data (RFC 7578), read in blocks and never whole."""

import re
import tempfile
from collections.abc import Callable, Iterator

from . import guarded
from .fields import Field, StringField
from .form_limits import MAX_HEADER_LINES, Budget, Malformed, TooMuch
from .query import parse_header
from .table import Table

# RFC 2046 section 5.1.1 says 70
_LONGEST_BOUNDARY = 200
# RFC 2046 calls blanks behind a boundary transport padding, and sets no limit
_LONGEST_PADDING = 64
_NO_TYPE = b"application/octet-stream"
_END = re.compile(rb"(--)?[ \t]{0,%d}(?:\r?\n|\Z)" % _LONGEST_PADDING)
_LONGEST_END = 2 + _LONGEST_PADDING + 2
_BLOCK = 65536
# An upload of up to this many bytes stays in memory, a larger one goes to a temporary file.
_SPOOLED = 16384


class NotStored(OSError):
    """Raised when an upload cannot be kept: the disk is full, or no more files can be open."""


def boundary_of(content_type: bytes) -> bytes:
    """Return the boundary that the type of a body names.

    :raises Malformed: if there is none, or one of more than 200 bytes.
    """
    boundary = parse_header(content_type)[1].get(b"boundary", "").encode("latin-1", "replace")
    if not 0 < len(boundary) <= _LONGEST_BOUNDARY:
        raise Malformed("the type of the body has no boundary, or one that is too long")
    return boundary


def read_fields(
    req,
    content_type: bytes,
    budget: Budget,
    file_callback: Callable | None = None,
    field_callback: Callable | None = None,
) -> Iterator[Field | StringField]:
    """Yield the fields of the request's body.

    The time is proportional to the body. Above what the fields hold, no more memory is taken than
    some blocks of 64 KiB, and for a moment the text of one field a second time.

    :param file_callback: is given the file's name and returns an open binary file for it; without
        it, an upload is kept in memory up to 16 KiB and in a temporary file above, and closed at
        the end of the request.
    :param field_callback: returns an open binary file to read the text of a field into.
    :raises Malformed: for a body that cannot be read.
    :raises TooMuch: beyond the *budget*.
    :raises NotStored: if the disk takes no more of an upload.
    """
    body = _Body(req, boundary_of(content_type))
    ended = body.copy_to_boundary(None)
    while not ended:
        budget.take_fields()
        lines = body.header_lines(budget.header)
        if lines is None:
            # a boundary where a header should be: the part is not there
            ended = body.ended
            continue
        budget.take_header(lines)
        headers = _table(lines)
        disposition, options = parse_header(_latin1(headers.get("Content-Disposition", "")))
        filename = options.get(b"filename")
        if filename:
            budget.take_upload()
            file = file_callback(filename) if file_callback else _spooled_file(req)
            field = Field(options.get(b"name"))
            field.filename = filename
            # the field closes it, whatever happens to the rest of the body
            field.file = file
            ended = body.copy_to_boundary(file.write if file_callback else _storing(file))
            file.seek(0)
        elif field_callback:
            file = field_callback()
            ended = body.copy_to_boundary(_counting(file.write, budget))
            file.seek(0)
            field = StringField(file.read())
            file.seek(0)
            field.file = file
        else:
            text = bytearray()
            ended = body.copy_to_boundary(_counting(text.extend, budget))
            field = StringField(_taken(text))
        field.name = options.get(b"name")
        kind, field.type_options = parse_header(_latin1(headers.get("Content-Type", "text/plain")))
        # some browsers have sent anything for a file without an ending
        field.type = (kind if b"/" in kind else _NO_TYPE).decode("latin-1")
        field.disposition = disposition.decode("latin-1")
        field.disposition_options = options
        field.headers = headers
        yield field


class _Body:
    """The body of a request, read in blocks.

    Between two calls the place in the block is the line feed that ends the last line used. One is
    put before the body, so that every boundary, the first one too, stands behind a line feed.
    """

    def __init__(self, req, boundary: bytes):
        self._req = req
        self._delimiter = b"\n--" + boundary
        self._block = b"\n"
        self._place = 0
        self._complete = False
        #: whether the last boundary, or the end of the body, was met
        self.ended = False

    def copy_to_boundary(self, write: Callable | None) -> bool:
        """Give what comes before the next boundary to *write*, if it is not None.

        CR LF before a boundary belong to it; a line feed alone does not, as in mod_python.

        :return: if that was the last boundary; the end of the body counts as it.
        """
        delimiter = self._delimiter
        # the first byte not yet written, and the first at which a boundary may begin
        content, start = self._place + 1, self._place
        while True:
            found = self._block.find(delimiter, start)
            behind = found + len(delimiter)
            if found >= 0 and (self._complete or len(self._block) - behind >= _LONGEST_END):
                end = _END.match(self._block, behind)
                if end is None:
                    start = found + 1
                    continue
                line_end = 1 if self._block[found - 1 : found] == b"\r" else -1
                self._give(write, content, max(content, found - line_end))
                self._place = end.end() - 1 if end[0].endswith(b"\n") else end.end()
                self.ended = end[1] is not None
                return self.ended
            if self._complete:
                self._give(write, content, len(self._block))
                self.ended = True
                return True
            # what may be the start of a boundary, cut off, stays for the next round
            start = max(start, found if found >= 0 else len(self._block) - len(delimiter) + 1)
            given = max(content, start - 1)
            self._give(write, content, given)
            kept = min(start, given)
            self._read_more(kept)
            content, start = given - kept, start - kept

    def header_lines(self, longest: int) -> list[bytes] | None:
        """Return the lines of a part's header, each with the lines that continue it.

        :return: None if a boundary, or the end of the body, comes instead; see ``ended``.
        :raises Malformed: for a line without an end.
        :raises TooMuch: for more than *longest* bytes, or too many lines.
        """
        lines: list[list[bytes]] = []
        size = 0
        start = self._place + 1
        while True:
            end = self._block.find(b"\n", start)
            while end < 0 and not self._complete and len(self._block) - start <= longest:
                self._read_more(start - 1)
                start = 1
                end = self._block.find(b"\n", start)
            if end < 0:
                end = len(self._block)
            self._place = end
            line = self._block[start : end + 1]
            if line.startswith(self._delimiter[1:]):
                last = _END.fullmatch(line, len(self._delimiter) - 1)
                if last:
                    self.ended = last[1] is not None
                    return None
            if line in (b"\n", b"\r\n"):
                return [b"".join(pieces) for pieces in lines]
            if self._complete and not line:
                self.ended = True
                return None
            if not line.endswith(b"\n"):
                raise Malformed("a header line of a part that has no end, or is too long")
            size += len(line)
            if size > longest:
                raise TooMuch("a part with a longer header than mod_python.form.header allows")
            if line[:1] in b" \t" and lines:
                lines[-1][-1] = lines[-1][-1].rstrip(b"\r\n")
                lines[-1].append(line)
            elif len(lines) == MAX_HEADER_LINES:
                raise TooMuch(f"more than {MAX_HEADER_LINES} header lines in a part")
            else:
                lines.append([line])
            start = end + 1

    def _give(self, write, start, end):
        if write is not None and end > start:
            write(self._block[start:end])

    def _read_more(self, kept):
        """Read a block; of the one at hand only what lies behind *kept* stays."""
        block = guarded.read(self._req, _BLOCK)
        self._complete = not block
        self._block = self._block[kept:] + block
        self._place = 0


def _table(lines: list[bytes]) -> Table:
    table = Table()
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon:
            raise Malformed("a header line of a part without a colon")
        try:
            table.add(name.strip(), value.strip())
        except ValueError as error:
            raise Malformed(str(error)) from error
    return table


def _counting(write: Callable, budget: Budget) -> Callable:
    def counted(data):
        budget.take_memory(len(data))
        write(data)

    return counted


def _taken(text: bytearray) -> bytes:
    """Return what *text* holds, and empty it, so that there are never three copies."""
    taken = bytes(text)
    text.clear()
    return taken


def _spooled_file(req):
    file = tempfile.SpooledTemporaryFile(_SPOOLED, "w+b")  # noqa: SIM115 - the cleanup closes it
    req.register_cleanup(_close, file)
    return file


def _close(file):
    file.close()


def _storing(file) -> Callable:
    def stored(data):
        try:
            file.write(data)
        except OSError as error:
            raise NotStored(error.errno, f"an upload cannot be stored: {error.strerror}") from error

    return stored


def _latin1(text: str) -> bytes:
    return text.encode("latin-1")
