"""The environment of a CGI script (RFC 3875) in a handler: variables, standard input and output.

These are the names that mod_python's module apache has. The streams are text with bytes below, as
Python's own are, so a script may use ``sys.stdin.buffer`` and ``print`` alike.
"""

import io
import os
import sys

from .constants import HTTP_MOVED_TEMPORARILY
from .table import Table
from .variables import NotUTF8

_LONGEST_HEADER = 65536  # bytes


class CGIHeaderError(ValueError):
    """Raised for the output of a script that begins with something other than a header."""


class NullIO(io.StringIO):
    """A file that is empty and keeps nothing."""

    def write(self, s):
        """Forget *s*."""
        return len(s)

    def writelines(self, list):
        """Forget the lines."""


class CGIStdin(io.TextIOWrapper):
    """Standard input of a script: the body of the request *req*."""

    def __init__(self, req):
        super().__init__(io.BufferedReader(_Body(req)), "utf-8", "surrogateescape", newline="\n")


class CGIStdout(io.TextIOWrapper):
    """Standard output of a script: its header sets that of the response, the rest is the body."""

    def __init__(self, req):
        self._output = _Output(req)
        super().__init__(self._output, "utf-8", "surrogateescape", newline="", write_through=True)

    def finish(self) -> None:
        """Take what there is as a header that has ended, once the script has.

        :raises CGIHeaderError: if it is none.
        """
        self._output.finish()


class _Body(io.RawIOBase):
    def __init__(self, req):
        self._req = req

    def readable(self):
        return True

    def readinto(self, buffer):
        block = self._req.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)


class _Output(io.BufferedIOBase):
    """Takes bytes: a header first, then the body."""

    def __init__(self, req):
        self._req = req
        self._header: bytearray | None = bytearray()
        self._finished = False

    def writable(self):
        return True

    def write(self, data):
        data = bytes(data)
        if self._header is None:
            self._req.write(data, 0)
            return len(data)
        # the end may lie across two writes
        start = max(0, len(self._header) - 3)
        self._header += data
        ends = [
            (found, len(end))
            for end in (b"\n\n", b"\r\n\r\n")
            if (found := self._header.find(end, start)) >= 0
        ]
        if ends:
            found, length = min(ends)
            header, body = self._header[:found], self._header[found + length :]
            self._header = None
            _set_header(self._req, bytes(header))
            if body:
                self._req.write(bytes(body), 0)
        elif len(self._header) > _LONGEST_HEADER:
            raise CGIHeaderError(f"a header of more than {_LONGEST_HEADER} bytes")
        return len(data)

    def flush(self):
        # not when the stream is collected, after the script
        if self._header is None and not self._finished:
            self._req.flush()

    def finish(self):
        self._finished = True
        if self._header:
            header, self._header = bytes(self._header), None
            _set_header(self._req, header)


def build_cgi_env(req) -> Table:
    """Return the CGI variables of the request, with the Authorization that the client has sent.

    Values are text as PEP 3333 has it: each character stands for a byte. So they may be put into
    the environment of a WSGI application, whatever the client has sent.
    """
    req.add_cgi_vars()
    env = Table.trusted((name, _of_bytes(value)) for name, value in req.subprocess_env.items())
    env["SCRIPT_NAME"] = _of_bytes(req.uri.removesuffix(req.path_info or ""))
    env["GATEWAY_INTERFACE"] = "Python-CGI/1.1"
    credentials = req.headers_in.get("Authorization")
    if credentials is not None:
        env["HTTP_AUTHORIZATION"] = _of_bytes(credentials)
    return env


def setup_cgi(req) -> tuple:
    """Put the request in the place of the process's environment, input and output.

    :return: what was there, for :func:`restore_nocgi`.
    """
    saved = os.environ.copy(), sys.stdin, sys.stdout
    os.environ.update(
        (name, os.fsdecode(value.encode("latin-1"))) for name, value in build_cgi_env(req).items()
    )
    sys.stdin, sys.stdout = CGIStdin(req), CGIStdout(req)
    sys.argv = []
    return saved


def restore_nocgi(sav_env, si, so) -> None:
    """Put back what :func:`setup_cgi` has returned."""
    for name in set(os.environ) - set(sav_env):
        del os.environ[name]
    os.environ.update(sav_env)
    sys.stdin, sys.stdout = si, so


def _of_bytes(value):
    if value.isascii() or isinstance(value, NotUTF8):
        return value
    return value.encode("utf-8", "surrogateescape").decode("latin-1")


def _set_header(req, header: bytes):
    status = None
    for line in header.decode("utf-8", "replace").splitlines():
        name, colon, value = line.partition(":")
        name, value = name.strip(), value.strip()
        if not colon or not name:
            raise CGIHeaderError(f"not a line of a header: {line[:200]!a}")
        lowered = name.lower()
        if lowered == "status":
            try:
                status = int(value.split()[0])
            except (IndexError, ValueError):
                raise CGIHeaderError(f"not a status: {value[:200]!a}") from None
        elif lowered == "content-type":
            req.content_type = value
        else:
            req.headers_out.add(name, value)
    if status is None and "Location" in req.headers_out:
        # RFC 3875 section 6.2.3
        status = HTTP_MOVED_TEMPORARILY
    req.status = status or req.status
