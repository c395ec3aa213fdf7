"""What a response says of itself: status, header fields, type, length, methods, validators."""

import logging
import mimetypes
import time

from . import conditional, finfo
from .constants import APR_REG, HTTP_OK, OK
from .status import STATUS_LINES, WITHOUT_BODY
from .table import Table

_logger = logging.getLogger(__name__)
_OF_BODY = ("content-type", "content-length")

_TYPES_OF_ENCODINGS = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "compress": "application/x-compress",
}


class Response:
    """The head of a response: what goes out before its body.

    :ivar status: the number; ``status_line`` is the whole line, if a handler has set one.
    :ivar mtime: when the resource changed, in seconds since 1970; 0.0 if nobody has said.
    :ivar clength: the length that was announced, 0 if none was.
    :ivar no_cache: set it to 1 for a response that expires at once.
    :ivar no_local_copy: set it to 1 for a response that no condition of the request shortens.
    :ivar content_encoding: value of Content-Encoding, None for none.
    :ivar content_languages: the languages that Content-Language names.
    :ivar kept_cache_control: what Cache-Control must say of a response that sets a cookie, whatever
        a handler assigns to that field afterwards; None for nothing.
    :ivar is_filtered: whether filters may change the body; an announced length is not sent then.
    :param environ: the WSGI environment.
    """

    status = HTTP_OK
    status_line = None
    mtime = 0.0
    clength = 0
    no_cache = 0
    no_local_copy = 0
    content_encoding = None
    content_languages = ()
    is_filtered = False
    kept_cache_control: str | None = None
    _request_time: float | None = None
    _headers_out: Table | None = None
    _err_headers_out: Table | None = None

    def __init__(self, environ: dict):
        self._environ = environ

    @property
    def headers_out(self) -> Table:
        """Header fields of a successful response."""
        if self._headers_out is None:
            self._headers_out = Table()
        return self._headers_out

    @property
    def err_headers_out(self) -> Table:
        """Header fields of the response, whether or not it is an error."""
        if self._err_headers_out is None:
            self._err_headers_out = Table()
        return self._err_headers_out

    @property
    def request_time(self) -> float:
        """When the request came in, in seconds since 1970."""
        if self._request_time is None:
            self._request_time = float(self._environ.get("mod_wsgi.request_start") or time.time())
        return self._request_time

    def update_mtime(self, mtime: float) -> None:
        """Raise ``mtime`` to *mtime*, seconds since 1970, if that is later."""
        self.mtime = max(self.mtime, float(int(mtime)))

    def set_last_modified(self) -> None:
        """Set Last-Modified to ``mtime``, or to now if that lies in the future."""
        seconds = min(self.mtime, self.request_time)
        self.headers_out["Last-Modified"] = conditional.http_date(seconds)

    def set_etag(self, file: finfo.FileInfo) -> None:
        """Set ETag for *file*, in the form of Apache's default FileETag.

        There is none for what is not a file, since its size and time are not known.
        """
        if file.filetype == APR_REG:
            self.headers_out["ETag"] = conditional.file_etag(
                file.size, finfo.mtime_ns(file), self.request_time
            )

    def meets_conditions(self, method: str, headers_in: Table) -> int:
        """Return OK, or the 304 or 412 to return instead of the response (RFC 9110 section 13).

        It goes by ETag and Last-Modified in ``headers_out``, or ``mtime``. Set them before.
        """
        if self.no_local_copy or not 200 <= self.status < 300:
            return OK
        last_modified = self.mtime or None
        date = self.headers_out.get("Last-Modified")
        if date is not None:
            last_modified = conditional.parse_http_date(date)
        etag = self.headers_out.get("ETag")
        return conditional.meets_conditions(
            method, headers_in, etag, last_modified, self.request_time
        )

    def set_content_length(self, length: int) -> None:
        """Announce the size of the body in bytes."""
        if not isinstance(length, int):
            raise TypeError(f"{type(length).__name__!r} object cannot be interpreted as an integer")
        self.clength = length
        self.headers_out["Content-Length"] = str(length)

    def forget_content(self) -> None:
        """Forget what describes a body that another one takes the place of."""
        self.status_line = None
        self.content_encoding = None
        self.content_languages = ()

    def head(
        self, content_type: str | None, length: int | None = None
    ) -> tuple[str, list[tuple[str, str]], bool]:
        """Return the status line, the header fields, and whether the response may have a body.

        :param content_type: the type that was set, if one was.
        :param length: bytes of the body, if they are known.
        """
        line = self.status_line or STATUS_LINES.get(self.status)
        if line is None:
            _logger.error("status %r has no status line", self.status)
            line = STATUS_LINES[500]
        if self.status in WITHOUT_BODY:
            rows = [row for row in self._table_rows() if row[0].lower() not in _OF_BODY]
            return line, rows, False
        return line, self._rows(content_type, length), self._environ["REQUEST_METHOD"] != "HEAD"

    def _table_rows(self):
        out = self._headers_out
        if self._err_headers_out is None:
            return [] if out is None else out.items()
        rows = self._err_headers_out.items()
        if out is not None:
            rows += out.items()
            if self.kept_cache_control is not None:
                self._keep_cache_control(rows)
            _join(rows, "cache-control")
        return rows

    def _keep_cache_control(self, rows):
        kept = self.kept_cache_control
        if "Set-Cookie" in self._headers_out and not any(
            name.lower() == "cache-control" and kept in value for name, value in rows
        ):
            rows.insert(0, ("Cache-Control", kept))

    def _rows(self, content_type, length):
        rows = self._table_rows()
        if self.is_filtered:
            rows = [row for row in rows if row[0].lower() != "content-length"]
        named = {row[0].lower() for row in rows} if rows else ()
        if content_type is not None:
            if "content-type" in named:
                rows = [row for row in rows if row[0].lower() != "content-type"]
        elif "mod_wsgi.version" not in self._environ and "content-type" not in named:
            content_type = guessed_type(self._environ) or "application/octet-stream"
        if content_type is not None:
            rows.append(("Content-Type", content_type))
        if length is not None and "content-length" not in named:
            rows.append(("Content-Length", str(length)))
        if self.content_encoding is not None:
            rows.append(("Content-Encoding", self.content_encoding))
        if self.content_languages:
            rows.append(("Content-Language", ", ".join(self.content_languages)))
        if self.no_cache and "expires" not in named:
            rows.append(("Expires", conditional.http_date(self.request_time)))
        return rows


def guessed_type(environ: dict) -> str | None:
    """Return the type that the name of the request's file suggests, None if it suggests none.

    In Apache a response whose type was never set goes out with the type that mod_mime has found.
    """
    if "SCRIPT_FILENAME" not in environ:
        return None
    guessed, encoding = mimetypes.guess_type(environ["SCRIPT_FILENAME"])
    return _TYPES_OF_ENCODINGS.get(encoding, guessed)


def _join(rows: list[tuple[str, str]], lowered: str) -> None:
    """Make one row of several of the name *lowered*, in the place of the last one."""
    places = [place for place, row in enumerate(rows) if row[0].lower() == lowered]
    if len(places) > 1:
        # what the handler says first, what a cookie needs behind it
        text = ", ".join(rows[place][1] for place in reversed(places))
        rows[places[-1]] = (rows[places[-1]][0], text)
        for place in reversed(places[:-1]):
            del rows[place]
