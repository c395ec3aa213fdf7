"""The request object that handlers get, made from the WSGI environment."""

import os
import re
import time
from base64 import b64decode

from . import application, constants, finfo, options
from .connection import Connection, Server, address, told
from .constants import APLOG_ERR, M_INVALID, REMOTE_HOST, REMOTE_NAME, REMOTE_NOLOOKUP
from .describing import METHOD_NUMBERS, ResponseDescription
from .lazy import lazy
from .log import log_error
from .process import register_cleanup as register_process_cleanup
from .reading import BodyReader
from .table import Table
from .variables import cgi_variables, common_variables, own_variables, request_headers, text
from .writing import ResponseWriter

# RFC 9112 section 3.2.2
_ABSOLUTE = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]*)://((?:([^/?#@:]*)(?::([^/?#@]*))?@)?"
    r"(\[[^]/?#@]*\]|[^]/?#@:[]*)(?::([0-9]{1,5}))?)(?=[/?#]|\Z)"
)
_REDIRECT = "REDIRECT_"
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class Request(BodyReader, ResponseDescription, ResponseWriter):
    """mod_python's request object.

    One handler after the other gets the same object, on which any attribute may be set. Text from
    the client is decoded as UTF-8, or as ISO-8859-1 where it is not UTF-8. Members that Apache has
    and WSGI does not tell are not there: AttributeError.

    Assigning to what describes the request (``user``, ``filename``, ``notes`` ...) is seen by later
    handlers, not by Apache and its access log.
    """

    phase = "PythonHandler"
    extension = None
    status = constants.HTTP_OK
    status_line = None
    no_cache = 0
    used_path_info = constants.AP_REQ_DEFAULT_PATH_INFO
    proxyreq = constants.PROXYREQ_NONE
    chunked = 0
    #: a subrequest is no request of its own here, and one that is redirected does not know it
    main = None
    next = None

    def __init__(self, environ: dict, start_response):
        self._environ = environ
        self._start_response = start_response
        if "REDIRECT_STATUS" in environ:
            # an ErrorDocument begins with the status of the error
            self.status = _status(environ["REDIRECT_STATUS"])

    @lazy
    def prev(self) -> "Request | None":
        """The request that Apache has redirected to this one, an ErrorDocument for instance.

        It is described as far as the environment tells: address, method, query and status.
        """
        environ = self._environ
        if "REDIRECT_URL" not in environ:
            return None
        start = len(_REDIRECT)
        before = {
            name[start:]: value for name, value in environ.items() if name.startswith(_REDIRECT)
        }
        before["SCRIPT_NAME"] = before.pop("URL")
        before["PATH_INFO"] = ""
        before.setdefault("REQUEST_METHOD", environ["REQUEST_METHOD"])
        before["REDIRECT_STATUS"] = before.pop("STATUS", "200")
        request = Request(_without_redirect(environ) | before, self._start_response)
        request.next = self
        return request

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
        """The address in its parts, see ``URI_*``; None for a part that it does not have."""
        found = _ABSOLUTE.match(self.unparsed_uri)
        if found is None:
            return (None,) * 6 + (self.uri, self.args, None)
        scheme, place, user, password, host, port = found.groups()
        return scheme, place, user, password, host, port and int(port), self.uri, self.args, None

    @lazy
    def hostname(self) -> str | None:
        """The host that the client named, in lower case and without port; None if it named none."""
        host = self._environ.get("HTTP_HOST")
        if not host:
            return None
        if host.startswith("["):
            return host[1:].partition("]")[0].lower()
        return text(host).partition(":")[0].rstrip(".").lower()

    @lazy
    def request_time(self) -> float:
        """When the request came in, in seconds since 1970."""
        return float(self._environ.get("mod_wsgi.request_start") or time.time())

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
        """The word of SetHandler."""
        return told(self._environ, "mod_wsgi.request_handler")

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
    def headers_out(self) -> Table:
        """Header fields of a successful response."""
        return Table()

    @lazy
    def err_headers_out(self) -> Table:
        """Header fields of the response, whether or not it is an error."""
        return Table()

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
        return Server(self._environ, register_process_cleanup)

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
        """Return the AuthType in force; see :meth:`get_basic_auth_pw`."""
        return self._environ.get("PythonOption.mod_python.auth_type") or self._environ.get(
            "AUTH_TYPE"
        )

    def auth_name(self) -> str | None:
        """Return the AuthName in force, as ``PythonOption mod_python.auth_name`` tells it."""
        name = self._environ.get("PythonOption.mod_python.auth_name")
        return text(name) if name else None

    def get_basic_auth_pw(self) -> str | None:
        """Return the password of Basic authentication and set ``user``; None if there is none.

        As in mod_python it is None, and ``user`` is left alone, where ``AuthType Basic`` does not
        hold, since nobody has asked the client for a name then. The environment does not tell
        AuthType, so ``SetEnv PythonOption.mod_python.auth_type Basic`` has to, unless Apache itself
        has authenticated the user. Where it holds and the client sends nothing, WWW-Authenticate
        asks for name and password. They are checked by nobody but the handler. Apache passes the
        header on only under ``pass-authorization=On``.
        """
        if (self.auth_type() or "").lower() != "basic":
            return None
        scheme, _, credentials = self._environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        try:
            if scheme.lower() != "basic":
                raise ValueError("no Basic authentication")
            user, _, password = b64decode(credentials.strip(), validate=True).partition(b":")
        except ValueError:
            self.ask_for_password()
            return None
        self.user = text(user.decode("latin-1"))
        self.ap_auth_type = "Basic"
        return text(password.decode("latin-1"))

    def ask_for_password(self) -> None:
        """Set WWW-Authenticate for Basic authentication (RFC 7617), as Apache does for AuthName."""
        name = self._environ.get("PythonOption.mod_python.auth_name", "")
        quoted = name.replace("\\", r"\\").replace('"', r"\"")
        self.err_headers_out["WWW-Authenticate"] = f'Basic realm="{quoted}"'

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

    def construct_url(self, uri: str) -> str:
        """Return the full address of the path *uri* on this server."""
        scheme = self._environ["wsgi.url_scheme"]
        port = self._environ["SERVER_PORT"]
        suffix = "" if port == _DEFAULT_PORTS.get(scheme) else f":{port}"
        return f"{scheme}://{self.server.server_hostname}{suffix}{uri}"

    def document_root(self) -> str:
        """Return DocumentRoot."""
        return _path(self._environ, "DOCUMENT_ROOT")

    def build_wsgi_env(self) -> dict | None:
        """Return the environment for a WSGI application; see :func:`.application.build_environ`."""
        return application.build_environ(self, self._environ)

    def wsgi_start_response(self, status: str, headers: list, exc_info=None, /):
        """Take status and headers of a WSGI application; return the call that writes its body."""
        return application.start_response(self, status, headers, exc_info)

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


def _status(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else constants.HTTP_OK


def _without_redirect(environ: dict) -> dict:
    return {name: value for name, value in environ.items() if not name.startswith(_REDIRECT)}


def _path(environ: dict, name: str) -> str:
    path = told(environ, name)
    # mod_wsgi has decoded paths as Python's file functions do, other servers as PEP 3333 says
    if "mod_wsgi.version" in environ:
        return path
    return os.fsdecode(path.encode("latin-1"))
