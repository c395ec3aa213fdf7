"""The request's body: what req.read, readline and readlines give."""

from .constants import OK
from .filters import Filter, FilteredBody
from .guarded import BodyUnreadable, length_of


class RequestBody:
    """The body of a request.

    Never more than ``Content-Length`` bytes are asked of the server. A chunked body, which mod_wsgi
    lets through only under ``WSGIChunkedRequest On``, is read to its end. A client that goes away
    or stalls makes any of these raise :class:`BodyUnreadable`, an OSError.

    :ivar read_length: bytes read so far.
    :ivar remaining: bytes not read yet, of a body whose length is known; 0 before the first read,
        as in mod_python.
    """

    read_length = 0
    remaining = 0
    _unread: int | None = None
    _chunked = False
    _filtered: FilteredBody | None = None

    def __init__(self, environ: dict):
        self._environ = environ
        self._filters: list[Filter] = []

    def began(self) -> bool:
        """Return whether the body has been asked for."""
        return self._unread is not None

    def add_filter(self, added: Filter) -> None:
        """Let *added* have the body first, before the filters that are there."""
        self._filters.insert(0, added)
        self._filtered = FilteredBody(self._read_below, self._filters)

    def read(self, length: int = -1) -> bytes:
        """Return up to *length* bytes of the body, all of the rest if it is negative."""
        if self._filtered is not None:
            return self._filtered.read(length)
        return self._read_by("read", length)

    def readline(self, length: int = -1) -> bytes:
        """Return the next line with its line feed, or up to *length* bytes of it."""
        if self._filtered is not None:
            return self._filtered.readline(length)
        return self._read_by("readline", length)

    def readlines(self, sizehint: int = 0) -> list[bytes]:
        """Return the lines that are left, stopping after about *sizehint* bytes if it is given."""
        lines = []
        size = 0
        while line := self.readline():
            lines.append(line)
            size += len(line)
            if 0 < sizehint <= size:
                break
        return lines

    def discard_request_body(self) -> int:
        """Read the rest of the body and drop it, a block at a time; return OK."""
        while self.read(65536):
            pass
        return OK

    def _read_below(self, length):
        return self._read_by("read", length)

    def _read_by(self, name, length):
        if self._unread is None:
            self._measure()
        if not self._chunked and not 0 <= length <= self._unread:
            length = self._unread
        if length == 0:
            return b""
        read = getattr(self._environ["wsgi.input"], name)
        try:
            # without a length only a server that ends the input itself may be asked
            got = read() if length < 0 else read(length)
        except OSError as error:
            raise BodyUnreadable(str(error)) from error
        self.read_length += len(got)
        if not self._chunked:
            self._unread = self.remaining = self._unread - len(got) if got else 0
        return got

    def _measure(self):
        environ = self._environ
        self._unread = length_of(environ.get("CONTENT_LENGTH", "")) or 0
        self._chunked = bool(
            environ.get("wsgi.input_terminated")
            and environ.get("HTTP_TRANSFER_ENCODING", "").lower().endswith("chunked")
        )
