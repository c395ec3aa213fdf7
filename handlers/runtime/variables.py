"""The WSGI environment taken apart again: header fields, CGI variables, and what SetEnv set."""

import re

from .options import is_directive

# RFC 9112 section 3.2.2
_ABSOLUTE = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]*)://((?:([^/?#@:]*)(?::([^/?#@]*))?@)?"
    r"(\[[^]/?#@]*\]|[^]/?#@:[]*)(?::([0-9]{1,5}))?)(?=[/?#]|\Z)"
)

# of the server and the client
_COMMON = (
    *("SERVER_SOFTWARE", "SERVER_NAME", "SERVER_ADDR", "SERVER_PORT", "REMOTE_HOST", "REMOTE_ADDR"),
    *("DOCUMENT_ROOT", "REQUEST_SCHEME", "CONTEXT_PREFIX", "CONTEXT_DOCUMENT_ROOT", "SERVER_ADMIN"),
    *("SCRIPT_FILENAME", "REMOTE_PORT", "REMOTE_USER", "AUTH_TYPE", "CONTENT_TYPE"),
    *("CONTENT_LENGTH", "SERVER_SIGNATURE", "PATH", "REMOTE_IDENT"),
)
# of the request line
_OF_REQUEST = (
    *("GATEWAY_INTERFACE", "SERVER_PROTOCOL", "REQUEST_METHOD", "QUERY_STRING", "REQUEST_URI"),
    *("SCRIPT_NAME", "PATH_INFO", "PATH_TRANSLATED"),
)
_CGI = frozenset(_COMMON + _OF_REQUEST)
_PASSWORDS = ("HTTP_AUTHORIZATION", "HTTP_PROXY_AUTHORIZATION")
_NEVER_EMPTY = ("PATH_INFO", "PATH_TRANSLATED")
_SERVERS_OWN = ("wsgi.", "mod_wsgi.", "apache.", "HTTP_")


class NotUTF8(str):
    """Text from a client that was not UTF-8, taken as ISO-8859-1."""

    __slots__ = ()


def text(value: str) -> str:
    """Return text of a WSGI environment decoded as UTF-8, or :class:`NotUTF8` as it is."""
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return NotUTF8(value)


def parse_authority(address: str) -> tuple:
    """Return scheme, authority, user, password, host and port of an address, None for none."""
    found = _ABSOLUTE.match(address)
    if found is None:
        return (None,) * 6
    *parts, port = found.groups()
    return (*parts, port and int(port))


def bare_host(field: str | None) -> str | None:
    """Return the host of a Host field, in lower case and without port; None for an empty one."""
    if not field:
        return None
    if field.startswith("["):
        return field[1:].partition("]")[0].lower()
    return text(field).partition(":")[0].rstrip(".").lower()


def request_headers(environ: dict):
    """Yield (name, value) of the request's header fields.

    WSGI has lost the case of the names; they are given the usual one.
    """
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            yield name[5:].replace("_", "-").title(), text(value)
    if environ.get("CONTENT_TYPE"):
        yield "Content-Type", text(environ["CONTENT_TYPE"])
    if environ.get("CONTENT_LENGTH"):
        yield "Content-Length", environ["CONTENT_LENGTH"]


def is_own(name: str) -> bool:
    """Tell whether a variable is neither CGI's nor WSGI's nor this package's configuration."""
    bare = name
    while bare.startswith("REDIRECT_"):
        # of the request that was redirected to this one
        bare = bare[len("REDIRECT_") :]
    return name not in _CGI and not bare.startswith(_SERVERS_OWN) and not is_directive(bare)


def is_common(name: str) -> bool:
    """Tell whether a variable is CGI's, and of the server, the client or a header field."""
    return name not in _PASSWORDS and (name in _COMMON or name.startswith("HTTP_"))


def own_variables(environ: dict):
    """Yield the variables that are neither CGI's nor WSGI's nor this package's configuration."""
    for name, value in environ.items():
        if isinstance(value, str) and is_own(name):
            yield name, text(value)


def common_variables(environ: dict):
    """Yield the CGI variables of the server, the client and the header fields.

    A password has no place there, so Authorization is left out, as Apache does.
    """
    for name, value in environ.items():
        if isinstance(value, str) and is_common(name):
            yield name, text(value)


def cgi_variables(environ: dict, uri: str):
    """Yield all CGI variables (RFC 3875 section 4.1).

    :param uri: for REQUEST_URI, which in mod_python is the path, decoded and without the query.
    """
    yield "GATEWAY_INTERFACE", "CGI/1.1"
    for name in _OF_REQUEST:
        if name == "REQUEST_URI":
            yield name, uri
        elif name in environ and (environ[name] or name not in _NEVER_EMPTY):
            yield name, text(environ[name])
    yield from common_variables(environ)
