"""What the WSGI environment tells of a request: its address, headers, client and configuration."""

import os

from . import authentication, constants, finfo, options
from .connection import Connection, address, told
from .constants import APLOG_ERR, M_INVALID, REMOTE_HOST, REMOTE_NAME, REMOTE_NOLOOKUP
from .log import log_error
from .server import Server
from .table import Table
from .variables import (
    bare_host,
    cgi_variables,
    common_variables,
    own_variables,
    parse_authority,
    request_headers,
    text,
)

METHOD_NUMBERS = {
    name[2:].replace("_", "-"): number
    for name, number in vars(constants).items()
    if name.startswith("M_") and name != "M_INVALID"
} | {"HEAD": constants.M_GET}
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class lazy:
    """An attribute computed at its first use; it can be assigned to like any other."""

    def __init__(self, compute):
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner, name):
        self._name = name

    def __get__(self, request, owner=None):
        if request is None:
            return self
        value = request.__dict__[self._name] = self._compute(request)
        return value


class Description:
    """The part of a request that can be told before anybody answers it.

    Text from the client is decoded as UTF-8, or as ISO-8859-1 where it is not UTF-8. Members that
    Apache has and WSGI does not tell are not there: AttributeError.
    """

    _environ: dict

    def is_for_files(self) -> bool:
        """Return whether the section has phases only, and files as its content."""
        return self._environ.get("mod_wsgi.request_handler") == options.FILES_ONLY

    def environment(self) -> dict:
        """Return the WSGI environment that the request was made from."""
        return self._environ

    # -- the request line --------------------------------------------------------------------

    @lazy
    def method(self) -> str:
        """GET, HEAD, POST ..."""
        return self._environ["REQUEST_METHOD"]

    @lazy
    def method_number(self) -> int:
        """One of ``M_*``; HEAD has GET's number, as in Apache."""
        return METHOD_NUMBERS.get(self.method, M_INVALID)

    @lazy
    def header_only(self) -> int:
        """1 for HEAD, else 0."""
        return int(self._environ["REQUEST_METHOD"] == "HEAD")

    @lazy
    def protocol(self) -> str:
        """HTTP/1.1 or another version."""
        return told(self._environ, "SERVER_PROTOCOL")

    @lazy
    def proto_num(self) -> int:
        """1001 for HTTP/1.1: a thousand times the major version and the minor one."""
        major, _, minor = self.protocol.rpartition("/")[2].partition(".")
        return int(major) * 1000 + int(minor or 0)

    @lazy
    def assbackwards(self) -> int:
        """1 for HTTP/0.9, which knows no headers, else 0."""
        return int(self.protocol == "HTTP/0.9")

    @lazy
    def the_request(self) -> str:
        """The request line, put together again from its parts."""
        return f"{self.method} {self.unparsed_uri} {self.protocol}"

    @lazy
    def unparsed_uri(self) -> str:
        """The address as the client sent it, with the query."""
        return text(told(self._environ, "REQUEST_URI"))

    @lazy
    def uri(self) -> str:
        """The path of the address: decoded, runs of slashes made one."""
        environ = self._environ
        return text(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""))

    @lazy
    def path_info(self) -> str:
        """What follows the file in the path."""
        return text(self._environ.get("PATH_INFO", ""))

    @lazy
    def args(self) -> str | None:
        """The query, not decoded; None without a question mark."""
        query = self._environ.get("QUERY_STRING", "")
        if query or "?" in self._environ.get("REQUEST_URI", ""):
            return text(query)
        return None

    @lazy
    def parsed_uri(self) -> tuple:
        """The address in its parts, see ``URI_*``; None for a part that it does not have.

        As in Apache the port is that of the Host field, if the address has none.
        """
        *parts, port = parse_authority(self.unparsed_uri)
        if port is None:
            field = self._environ.get("HTTP_HOST", "").rpartition("]")[2].partition(":")[2]
            port = int(field) if field.isascii() and field.isdigit() else None
        return (*parts, port, self.uri, self.args, None)

    @lazy
    def hostname(self) -> str | None:
        """The host that the client named, in lower case and without port; None if it named none."""
        return bare_host(self._environ.get("HTTP_HOST"))

    # -- what the address means --------------------------------------------------------------

    @lazy
    def filename(self) -> str:
        """The file that Apache has mapped the address to, whether or not it exists."""
        return _path(self._environ, "SCRIPT_FILENAME")

    @lazy
    def canonical_filename(self) -> str:
        """``filename`` as it was before a handler changed it."""
        return _path(self._environ, "SCRIPT_FILENAME")

    @lazy
    def finfo(self) -> finfo.FileInfo:
        """What stat says of the file when first asked; ``APR_NOFILE`` if there is none."""
        return finfo.stat_or_nothing(self.canonical_filename)

    @lazy
    def handler(self) -> str:
        """The word of SetHandler; None where it stands for phases only."""
        return None if self.is_for_files() else told(self._environ, "mod_wsgi.request_handler")

    @lazy
    def interpreter(self) -> str:
        """Name of the interpreter: mod_wsgi's application group, empty for the main one."""
        return told(self._environ, "mod_wsgi.application_group")

    # -- headers and tables ------------------------------------------------------------------

    @lazy
    def headers_in(self) -> Table:
        """The request's header fields; a field sent more than once is one, joined by commas."""
        return Table.trusted(request_headers(self._environ))

    @lazy
    def notes(self) -> Table:
        """Notes from handler to handler; Apache's modules do not see them."""
        return Table()

    @lazy
    def subprocess_env(self) -> Table:
        """What SetEnv and other modules have set; changes are not seen by Apache."""
        return Table.trusted(own_variables(self._environ))

    def add_common_vars(self) -> None:
        """Add the server's and the client's CGI variables to ``subprocess_env``."""
        self._add_variables(common_variables(self._environ))

    def add_cgi_vars(self) -> None:
        """Add all CGI variables to ``subprocess_env``."""
        self._add_variables(cgi_variables(self._environ, self.uri))

    def _add_variables(self, pairs):
        self.subprocess_env.update(Table.trusted(pairs))

    # -- the client --------------------------------------------------------------------------

    @lazy
    def connection(self) -> Connection:
        """The client's connection."""
        return Connection(self._environ, self)

    @lazy
    def server(self) -> Server:
        """The virtual host."""
        return Server(self._environ)

    @lazy
    def useragent_ip(self) -> str:
        """Address of the client."""
        return told(self._environ, "REMOTE_ADDR")

    @lazy
    def useragent_addr(self) -> tuple[str, int]:
        """Address and port of the client."""
        return address(self._environ, "REMOTE_ADDR", "REMOTE_PORT")

    @lazy
    def user(self) -> str | None:
        """The user whom Apache has authenticated, None if nobody is."""
        name = self._environ.get("REMOTE_USER")
        return None if name is None else text(name)

    @lazy
    def ap_auth_type(self) -> str | None:
        """How the user was authenticated, None if nobody is."""
        return self._environ.get("AUTH_TYPE")

    def auth_type(self) -> str | None:
        """Return the AuthType in force; see :mod:`.authentication`."""
        return authentication.auth_type(self._environ)

    def auth_name(self) -> str | None:
        """Return the AuthName in force; see :mod:`.authentication`."""
        return authentication.auth_name(self._environ)

    def get_remote_host(self, kind: int = REMOTE_NAME, str_is_ip=None, /):
        """Return the client's name where the server looks names up, else its address.

        For ``REMOTE_HOST`` and ``REMOTE_DOUBLE_REV`` it is None instead of the address. With
        *str_is_ip* it is a tuple of that and whether it is an address.
        """
        name = None if kind == REMOTE_NOLOOKUP else self._environ.get("REMOTE_HOST")
        if name is None and kind in (REMOTE_NAME, REMOTE_NOLOOKUP):
            address = self.useragent_ip
            return (address, 1) if str_is_ip else address
        if kind != REMOTE_HOST and kind != REMOTE_NAME:
            return None
        return (name, 0) if str_is_ip and name is not None else name

    def is_https(self) -> int:
        """Return 1 over TLS, else 0."""
        return int(self._environ["wsgi.url_scheme"] == "https")

    def ssl_var_lookup(self, name: str) -> str | None:
        """Return a variable of mod_ssl, as ``SSLOptions +StdEnvVars`` passes it on; else None."""
        value = self._environ.get(name) if name.startswith("SSL_") else None
        return value if value is None else text(value)

    def construct_url(self, uri: str) -> str:
        """Return the full address of the path *uri* on this server."""
        scheme = self._environ["wsgi.url_scheme"]
        port = self._environ["SERVER_PORT"]
        suffix = "" if port == _DEFAULT_PORTS.get(scheme) else f":{port}"
        return f"{scheme}://{self.server.server_hostname}{suffix}{uri}"

    def document_root(self) -> str:
        """Return DocumentRoot."""
        return _path(self._environ, "DOCUMENT_ROOT")

    # -- configuration and log ---------------------------------------------------------------

    def get_options(self) -> Table:
        """Return PythonOption in force for this request; see :mod:`.options`."""
        return options.get_options(self._environ)

    def option_pairs(self) -> tuple[tuple[str, str], ...]:
        """Return the rows of :meth:`get_options`, without the cost of a table."""
        return options.pairs(self._environ)

    def get_addhandler_exts(self) -> str:
        """Return the extensions that AddHandler names, without dots, as words.

        The environment does not tell them, so ``PythonOption mod_python.addhandler_exts`` does.
        """
        return self._environ.get("PythonOption.mod_python.addhandler_exts", "").replace(".", " ")

    def get_config(self) -> Table:
        """Return PythonPath and PythonDebug in force for this request."""
        return options.get_config(self._environ)

    def log_error(self, message: str, level: int = APLOG_ERR) -> None:
        """Write *message* to the error log at one of the ``APLOG_*`` levels."""
        log_error(message, level)


def _path(environ: dict, name: str) -> str:
    path = told(environ, name)
    # mod_wsgi has decoded paths as Python's file functions do, other servers as PEP 3333 says
    if "mod_wsgi.version" in environ:
        return path
    return os.fsdecode(path.encode("latin-1"))
