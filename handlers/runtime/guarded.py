"""What a client has sent, read so that no byte of it can hurt, on mod_wsgi and on mod_python.

Real mod_python decodes as UTF-8: for other bytes its attributes and ``headers_in.get`` raise
UnicodeDecodeError, ``headers_in[name]`` and ``name in headers_in`` with such a name end the child,
and ``headers_in.items()`` returns with an error that surfaces later. The runtime here gives such
text as ISO-8859-1. Handlers that read by these functions see one and the same on both: a header
field that is not UTF-8 is absent, and a path or a query that is not is :class:`Undecodable`.
"""

from .variables import NotUTF8

# no body is as long as a number of more digits says
_MOST_DIGITS = 18


class Undecodable(ValueError):
    """Raised for a path or a query that is not UTF-8: status 400."""


class BodyUnreadable(OSError):
    """Raised when the client stops before its body is complete: status 400."""


def header(req, name: str, default: str | None = None) -> str | None:
    """Return a header field of the request, *default* if it is absent or not UTF-8."""
    try:
        value = req.headers_in.get(name)
    except UnicodeError:
        return default
    return default if value is None or isinstance(value, NotUTF8) else value


def cookies(req) -> str:
    """Return the text of the request's Cookie field, empty if there is none.

    Bytes that are not UTF-8 are taken as ISO-8859-1: they are in one cookie, and the others count.
    """
    own = req.__dict__ if hasattr(req, "__dict__") else {}
    if "_environ" in own and "headers_in" not in own:
        # without the cost of a table of all fields
        return own["_environ"].get("HTTP_COOKIE", "")
    try:
        return req.headers_in.get("Cookie") or ""
    except UnicodeDecodeError as error:
        return error.object.decode("latin-1")


def text(req, name: str) -> str | None:
    """Return an attribute of the request that the client's address makes: uri, args, filename ...

    :raises Undecodable: if it is not UTF-8.
    """
    try:
        value = getattr(req, name)
        if value is not None:
            # what the file system's encoding could not decode has surrogates in it
            value.encode()
    except UnicodeError as error:
        raise Undecodable(f"{name} is not UTF-8") from error
    if isinstance(value, NotUTF8):
        raise Undecodable(f"{name} is not UTF-8")
    return value


def read(req, size: int) -> bytes:
    """Return up to *size* bytes of the request's body.

    :raises BodyUnreadable: if the client stops before its body is complete.
    """
    try:
        return req.read(size)
    except BodyUnreadable:
        raise
    except OSError as error:
        # real mod_python's own
        raise BodyUnreadable(str(error)) from error


def length_of(field: str) -> int | None:
    """Return the number of bytes that a Content-Length says, None if it is no number."""
    digits = field.lstrip("0") or field[:1]
    if digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS:
        return int(digits)
    return None
