"""The response: what req.write and its kin send, and the WSGI iterable that ends it."""

import logging
import os
import stat as modes

from .conditional import http_date
from .status import STATUS_LINES, WITHOUT_BODY

_logger = logging.getLogger(__name__)
_BLOCK = 65536
_OF_BODY = ("content-type", "content-length")


class ClientGone(ConnectionError):
    """Raised by write, flush and sendfile once the client has closed the connection."""


class ClosingBody(list):
    """The blocks of a body, with request cleanups to run once the server has sent them."""

    def __init__(self, blocks, close):
        super().__init__(blocks)
        self.close = close


class SentFile:
    """*length* bytes of an open file from where it stands, with the calls that a server makes.

    ``fileno`` and ``tell`` let Apache send the file itself, with Content-Length as the limit.
    """

    def __init__(self, file, length: int, closed):
        self._file = file
        self._left = length
        self._closed = closed
        self.fileno = file.fileno
        self.tell = file.tell

    def read(self, size: int = -1) -> bytes:
        """Return up to *size* bytes, all that are left if it is negative."""
        if size < 0 or size > self._left:
            size = self._left
        block = self._file.read(size)
        self._left -= len(block)
        return block

    def __iter__(self):
        while block := self.read(_BLOCK):
            yield block

    def close(self) -> None:
        """Close the file, then tell the request that the response is out."""
        self._file.close()
        self._closed()


class ResponseWriter:
    """The part of the request object that sends its response.

    Headers go out with the first byte that is flushed, or with the end of the response; headers set
    later are not sent. Output that waits for a flush is sent on its own when it exceeds 64 KiB.

    :ivar bytes_sent: bytes of the body given to the server so far, before Apache's filters.
    """

    bytes_sent = 0
    _write = None
    _bodiless = False
    _pending = ()
    _pending_size = 0
    _file = None
    _cleanups = ()
    _client_gone = False

    @property
    def sent_bodyct(self) -> int:
        """1 if a byte of the body has been sent, else 0."""
        return int(self.bytes_sent > 0)

    @property
    def _bytes_queued(self) -> int:
        """Bytes of the body that were written, sent or not; mod_python's publisher has it."""
        waiting = self._file[1] if self._file is not None else 0
        return self.bytes_sent + self._pending_size + waiting

    def write(self, data: str | bytes, flush: int = 1) -> None:
        """Send *data*; str goes out as UTF-8.

        With ``flush=0`` it waits for the next flush, and a response that is written whole in this
        way goes out with a Content-Length.

        :raises ClientGone: an OSError, if the client has closed the connection.
        """
        if data.__class__ is str:
            data = data.encode()
        elif not isinstance(data, bytes):
            raise TypeError(f"a bytes-like object is required, not {type(data).__name__!r}")
        if self._file is not None:
            self._release_file()
        if self._pending or not flush:
            if not self._pending:
                self._pending = []
            self._pending.append(data)
            self._pending_size += len(data)
            if flush or self._pending_size > _BLOCK:
                self._send(self._taken())
        elif data:
            self._send(data)

    def flush(self) -> None:
        """Send the headers, if they are not out, and all output that waits."""
        if self._file is not None:
            self._release_file()
        self._send(self._taken())

    def sendfile(self, path: str, offset: int = 0, length: int = -1, /) -> int:
        """Send *length* bytes of a file from *offset* on (to its end by default); return how many.

        A file that is the whole body is handed to the server when the handlers have returned, or
        the next write or flush comes, so that Apache can send it from the descriptor. Otherwise it
        is copied in blocks.

        :raises OSError: if the file cannot be opened or is not a regular file.
        :raises ValueError: if *offset* is negative.
        """
        if offset < 0:
            raise ValueError("offset must not be negative")
        file, size = _open_regular(path)
        count = max(0, size - offset)
        if length >= 0:
            count = min(count, length)
        file.seek(offset)
        if self._file is not None:
            self._release_file()
        if self._write is None and not self._pending:
            self._file = (file, count)
        else:
            with file:
                self._copy(file, count)
        return count

    def send_http_header(self) -> None:
        """Do nothing: headers are sent with the first byte of the body."""

    def register_cleanup(self, callable, data=None) -> None:
        """Call ``callable(data)`` after the last byte of the response, the latest one first.

        What it raises is logged.

        :raises ValueError: if it cannot be called.
        """
        if not hasattr(callable, "__call__"):  # noqa: B004 - the name callable is the API's
            raise ValueError("first argument must be a callable object")
        if not self._cleanups:
            self._cleanups = []
        self._cleanups.append((callable, data))

    def started(self) -> bool:
        """Return whether the headers are out, so that the status can no longer change."""
        return self._write is not None

    def client_gone(self) -> bool:
        """Return whether a write has found the connection closed by the client."""
        return self._client_gone

    def drop_output(self) -> None:
        """Forget what has been written and not been sent."""
        self._taken()
        if self._file is not None:
            self._file[0].close()
            self._file = None

    def finish(self):
        """Return the WSGI iterable of what is left to send; cleanups run when it is closed."""
        if self._file is not None:
            return self._finish_with_file(*self._file)
        body = self._taken() if self._pending else b""
        if self._write is None:
            self._send_headers(len(body) if body or not self.header_only else None)
            self.bytes_sent += len(body)
            blocks = [] if self._bodiless else [body]
        else:
            if body and not self._client_gone:
                self._send(body)
            blocks = []
        if self._cleanups:
            return ClosingBody(blocks, self.run_cleanups)
        return blocks

    def run_cleanups(self) -> None:
        """Run the registered cleanups, the latest first, and log what they raise."""
        while self._cleanups:
            call, data = self._cleanups.pop()
            try:
                call(data)
            except Exception:
                _logger.exception("cleanup %r failed", call)

    def _finish_with_file(self, file, count):
        self._file = None
        try:
            self._send_headers(count)
        except BaseException:
            file.close()
            raise
        if self._bodiless or count == 0:
            file.close()
            return ClosingBody((), self.run_cleanups)
        self.bytes_sent += count
        sent = SentFile(file, count, self.run_cleanups)
        wrapper = self._environ.get("wsgi.file_wrapper")
        return wrapper(sent, _BLOCK) if wrapper else sent

    def _release_file(self):
        file, count = self._file
        self._file = None
        with file:
            self._copy(file, count)

    def _copy(self, file, count):
        self._send(self._taken())
        while count and (block := file.read(min(count, _BLOCK))):
            self._send(block)
            count -= len(block)

    def _taken(self) -> bytes:
        if not self._pending:
            return b""
        taken = b"".join(self._pending)
        self._pending = ()
        self._pending_size = 0
        return taken

    def _send(self, data: bytes):
        if self._write is None:
            self._send_headers()
        if self._bodiless:
            return
        try:
            self._write(data)
        except OSError as error:
            self._client_gone = True
            # applications look for these words
            raise ClientGone("Write failed, client closed connection.") from error
        self.bytes_sent += len(data)

    def _send_headers(self, length=None):
        status = self.status
        line = self.status_line or STATUS_LINES.get(status)
        if line is None:
            _logger.error("status %r has no status line", status)
            line = STATUS_LINES[500]
        if status in WITHOUT_BODY:
            self._bodiless = True
            rows = [row for row in self._table_rows() if row[0].lower() not in _OF_BODY]
        else:
            self._bodiless = self.header_only
            rows = self._header_rows(length)
        self._write = self._start_response(line, rows)

    def _table_rows(self):
        own = self.__dict__
        if "err_headers_out" not in own:
            return own["headers_out"].items() if "headers_out" in own else []
        rows = own["err_headers_out"].items()
        if "headers_out" in own:
            rows += own["headers_out"].items()
            _join(rows, "cache-control")
        return rows

    def _header_rows(self, length):
        rows = self._table_rows()
        named = {row[0].lower() for row in rows} if rows else ()
        own = self.__dict__
        content_type = own.get("_content_type")
        if content_type is not None:
            if "content-type" in named:
                rows = [row for row in rows if row[0].lower() != "content-type"]
        elif "mod_wsgi.version" not in self._environ and "content-type" not in named:
            content_type = self.content_type or "application/octet-stream"
        if content_type is not None:
            rows.append(("Content-Type", content_type))
        if length is not None and "content-length" not in named:
            rows.append(("Content-Length", str(length)))
        if "content_encoding" in own:
            rows.append(("Content-Encoding", own["content_encoding"]))
        if "content_languages" in own:
            rows.append(("Content-Language", ", ".join(own["content_languages"])))
        if self.no_cache and "expires" not in named:
            rows.append(("Expires", http_date(self.request_time)))
        return rows


def _join(rows: list[tuple[str, str]], lowered: str) -> None:
    """Make one row of several of the name *lowered*, in the place of the last one."""
    places = [place for place, row in enumerate(rows) if row[0].lower() == lowered]
    if len(places) > 1:
        # what the handler says first, what a cookie needs behind it
        text = ", ".join(rows[place][1] for place in reversed(places))
        rows[places[-1]] = (rows[places[-1]][0], text)
        for place in reversed(places[:-1]):
            del rows[place]


def _open_regular(path):
    # a FIFO would otherwise hold the child until somebody writes to it
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    found = os.fstat(descriptor)
    if not modes.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise OSError(f"not a regular file: {path!r}")
    return open(descriptor, "rb", buffering=0), found.st_size
