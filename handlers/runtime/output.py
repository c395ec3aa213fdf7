"""The body of a response: what handlers send, and the WSGI iterable that ends it."""

import logging
import os
import stat as modes

from . import constants
from .filters import Filter
from .response import Response
from .status import STATUS_LINES

_logger = logging.getLogger(__name__)
_BLOCK = 65536
_OK = STATUS_LINES[constants.HTTP_OK]


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


class Output:
    """The body of a response on its way to the server.

    Headers go out with the first byte that is flushed, or with the end of the response; headers set
    later are not sent. Output that waits for a flush is sent on its own when it exceeds 64 KiB.

    What the response says of itself is a :class:`.Response` of its own, which is made when somebody
    asks for it: most handlers set nothing but a type.

    :ivar bytes_sent: bytes of the body given to the server so far, before Apache's filters.
    :ivar content_type: the type of the response, None if no handler has set one.
    """

    bytes_sent = 0
    content_type: str | None = None
    _response: Response | None = None
    _write = None
    _has_body = True
    _pending = ()
    _pending_size = 0
    _file = None
    _cleanups = ()
    _client_gone = False
    _filters: list[Filter] | tuple = ()

    def __init__(self, environ: dict, start_response):
        self._environ = environ
        self._start_response = start_response

    @property
    def response(self) -> Response:
        """What the response says of itself."""
        if self._response is None:
            self._response = Response(self._environ)
        return self._response

    @property
    def bytes_queued(self) -> int:
        """Bytes of the body that were written, sent or not."""
        waiting = self._file[1] if self._file is not None else 0
        return self.bytes_sent + self._pending_size + waiting

    def add_filter(self, added: Filter) -> None:
        """Let *added* change the body, behind the filters that are there."""
        if self._file is not None:
            self._release_file()
        if not self._filters:
            self._filters = []
        self._filters.append(added)
        self.response.is_filtered = True

    def drop_filters(self) -> None:
        """Let what follows go out as it is: a page of an error."""
        self._filters = ()
        self.response.is_filtered = False

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
        pending = self._pending
        if not pending:
            if self._file is not None:
                self._release_file()
            if flush:
                if data:
                    self._send(data)
                return
            self._pending = pending = []
        pending.append(data)
        self._pending_size += len(data)
        if flush or self._pending_size > _BLOCK:
            self._send(self._taken())

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
        if self._write is None and not self._pending and not self._filters:
            self._file = (file, count)
        else:
            with file:
                self._copy(file, count)
        return count

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
        if self._filters and self._has_body and not self._client_gone:
            body = self._filtered(body, True)
            self._filters = ()
        if self._write is None:
            keeps_length = body or self._environ["REQUEST_METHOD"] != "HEAD"
            self._start(len(body) if keeps_length else None)
            self.bytes_sent += len(body)
            blocks = [body] if self._has_body else []
        else:
            if body and not self._client_gone:
                self.pass_on(body)
            blocks = []
        if self._cleanups:
            return ClosingBody(blocks, self.run_cleanups)
        return blocks

    def server(self):
        """Return the server's call that starts a response (PEP 3333)."""
        return self._start_response

    def pass_on(self, data: bytes) -> None:
        """Send *data* past the filters; the headers must be out."""
        if not self._has_body:
            return
        try:
            self._write(data)
        except OSError as error:
            self._client_gone = True
            # applications look for these words
            raise ClientGone("Write failed, client closed connection.") from error
        self.bytes_sent += len(data)

    def adopt(self, write) -> None:
        """Send the rest of the body by *write*: the headers of another response have gone out."""
        self._write = write

    def run_cleanups(self) -> None:
        """Run the registered cleanups, the latest first, and log what they raise."""
        cleanups = self._cleanups
        while cleanups:
            call, data = cleanups.pop()
            try:
                call(data)
            except Exception:
                _logger.exception("cleanup %r failed", call)

    def _finish_with_file(self, file, count):
        self._file = None
        try:
            self._start(count)
        except BaseException:
            file.close()
            raise
        if not self._has_body or count == 0:
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

    def _filtered(self, data: bytes, ends: bool) -> bytes:
        for part in self._filters:
            data = part.process(data, ends)
        return data

    def _send(self, data: bytes):
        if self._filters and data and self._has_body:
            data = self._filtered(data, False)
            if not data:
                # a filter may keep it until the end
                return
        if self._write is None:
            self._start()
        self.pass_on(data)

    def _start(self, length=None):
        """Send the headers; *length* is that of the body, if it is known."""
        if self._response is None and self.content_type is not None:
            # as most responses begin, without the detour of the others
            line, rows = _OK, [("Content-Type", self.content_type)]
            if length is not None:
                rows.append(("Content-Length", str(length)))
            self._has_body = self._environ["REQUEST_METHOD"] != "HEAD"
        else:
            line, rows, self._has_body = self.response.head(self.content_type, length)
        self._write = self._start_response(line, rows)


def _open_regular(path):
    # a FIFO would otherwise hold the child until somebody writes to it
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    found = os.fstat(descriptor)
    if not modes.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise OSError(f"not a regular file: {path!r}")
    return open(descriptor, "rb", buffering=0), found.st_size
