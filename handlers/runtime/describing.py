"""What a response says of itself: type, length, methods, validators."""

import mimetypes

from . import conditional, constants, finfo
from .constants import APR_REG, OK
from .table import header_text

METHOD_NUMBERS = {
    name[2:].replace("_", "-"): number
    for name, number in vars(constants).items()
    if name.startswith("M_") and name != "M_INVALID"
} | {"HEAD": constants.M_GET}
_TYPES_OF_ENCODINGS = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "compress": "application/x-compress",
}


class ResponseDescription:
    """The part of the request object that describes the response.

    :ivar mtime: when the resource changed, in seconds since 1970; 0.0 if nobody has said.
    :ivar clength: the length that was announced, 0 if none was.
    :ivar allowed: bit ``1 << M_x`` is set for each method named; ``allowed_methods`` has the names
        that have no number.
    :ivar no_local_copy: set it to 1 for a response that no condition of the request shortens.
    """

    mtime = 0.0
    clength = 0
    allowed = 0
    allowed_methods = ()
    no_local_copy = 0
    _content_type = None

    @property
    def content_type(self) -> str | None:
        """Type of the response.

        Until it is set it is the one that the file's name suggests, None if it suggests none. In
        Apache a response whose type was never set goes out with the type that mod_mime has found.
        """
        if self._content_type is None and "SCRIPT_FILENAME" in self._environ:
            guessed, encoding = mimetypes.guess_type(self._environ["SCRIPT_FILENAME"])
            return _TYPES_OF_ENCODINGS.get(encoding, guessed)
        return self._content_type

    @content_type.setter
    def content_type(self, value: str):
        self._content_type = header_text(value)

    @property
    def _content_type_set(self) -> int:
        """1 once ``content_type`` was set, else 0; mod_python's publisher has it."""
        return int(self._content_type is not None)

    def allow_methods(self, methods, reset: int = 0) -> None:
        """Name the methods that a 405 response says are allowed.

        :param methods: a sequence of names; GET allows HEAD, too.
        :param reset: forget those named before.
        """
        if reset:
            self.allowed = 0
            self.allowed_methods = ()
        for method in methods:
            number = METHOD_NUMBERS.get(method) or METHOD_NUMBERS.get(header_text(method))
            if number is not None:
                self.allowed |= 1 << number
            elif method not in self.allowed_methods:
                self.allowed_methods += (method,)

    def allow_header(self) -> str:
        """Return the value of the Allow field (RFC 9110 section 10.2.1)."""
        known = [name for name, number in METHOD_NUMBERS.items() if self.allowed >> number & 1]
        return ", ".join((*known, *self.allowed_methods))

    def update_mtime(self, mtime: float) -> None:
        """Raise ``mtime`` to *mtime*, seconds since 1970, if that is later."""
        self.mtime = max(self.mtime, float(int(mtime)))

    def set_last_modified(self) -> None:
        """Set Last-Modified to ``mtime``, or to now if that lies in the future."""
        seconds = min(self.mtime, self.request_time)
        self.headers_out["Last-Modified"] = conditional.http_date(seconds)

    def set_etag(self) -> None:
        """Set ETag for the file ``finfo``, in the form of Apache's default FileETag.

        There is none for what is not a file, since its size and time are not known.
        """
        if self.finfo.filetype == APR_REG:
            self.headers_out["ETag"] = conditional.file_etag(
                self.finfo.size, finfo.mtime_ns(self.finfo), self.request_time
            )

    def meets_conditions(self) -> int:
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
            self.method, self.headers_in, etag, last_modified, self.request_time
        )

    def set_content_length(self, length: int) -> None:
        """Announce the size of the body in bytes."""
        if not isinstance(length, int):
            raise TypeError(f"{type(length).__name__!r} object cannot be interpreted as an integer")
        self.clength = length
        self.headers_out["Content-Length"] = str(length)
