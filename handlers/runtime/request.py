"""The request object that handlers get, made from the WSGI environment."""

import operator
import os

from . import application, authentication, constants, filters, finfo, options
from .body import RequestBody
from .connection import Connection, Server, address, told
from .constants import APLOG_ERR, M_INVALID, REMOTE_HOST, REMOTE_NAME, REMOTE_NOLOOKUP
from .dispatch import Step
from .log import log_error
from .output import Output
from .process import register_cleanup as register_process_cleanup
from .redirect import environment_before, run_redirected
from .response import METHOD_NUMBERS, Response
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


def _of(path: str, doc: str | None = None) -> property:
    """Return an attribute of the request that is one of its response's, body's or output's."""
    part, _, name = path.partition(".")

    def assign(request, value):
        setattr(getattr(request, part), name, value)

    return property(operator.attrgetter(path), assign, doc=doc)


class Request:
    """mod_python's request object.

    What it says of the response, and what it reads and writes, is that of three objects which know
    nothing of it: a :class:`.Response`, a :class:`.RequestBody` and an :class:`.Output`.

    One handler after the other gets the same object, on which any attribute may be set. Text from
    the client is decoded as UTF-8, or as ISO-8859-1 where it is not UTF-8. Members that Apache has
    and WSGI does not tell are not there: AttributeError.

    Assigning to what describes the request (``user``, ``filename``, ``notes`` ...) is seen by later
    handlers, not by Apache and its access log.
    """

    phase = options.CONTENT
    hlist = None
    extension = None
    used_path_info = constants.AP_REQ_DEFAULT_PATH_INFO
    proxyreq = constants.PROXYREQ_NONE
    chunked = 0
    #: a subrequest is no request of its own here, and one that is redirected does not know it
    main = None
    next = None
    range = None
    vlist_validator = None
    allowed_xmethods = ()
    expecting_100 = 0
    #: whether the file is sent when the handlers decline
    serves_files = True
    #: for each phase the handlers that others have added
    added_handlers: dict[str, tuple[Step, ...]] | None = None
    _registered_filters: dict | None = None

    status = _of("_response.status", "The number of the status; a handler may set it.")
    status_line = _of("_response.status_line")
    content_encoding = _of("_response.content_encoding")
    content_languages = _of("_response.content_languages")
    no_cache = _of("_response.no_cache")
    no_local_copy = _of("_response.no_local_copy")
    headers_out = _of("_response.headers_out", "Header fields of a successful response.")
    err_headers_out = _of("_response.err_headers_out", "Header fields of errors, too.")
    mtime = _of("_response.mtime")
    clength = _of("_response.clength")
    allowed = _of("_response.allowed")
    allowed_methods = _of("_response.allowed_methods")
    request_time = property(
        operator.attrgetter("_response.request_time"),
        doc="When the request came in, in seconds since 1970.",
    )
    bytes_sent = _of("_output.bytes_sent", "Bytes of the body given to the server so far.")
    read_length = _of("_body.read_length", "Bytes of the body read so far.")
    remaining = _of("_body.remaining", "Bytes of the body not read yet.")
    _content_type_set = property(operator.attrgetter("_response.has_type"))
    _bytes_queued = property(operator.attrgetter("_output.bytes_queued"))

    def __init__(self, environ: dict, start_response, respond=None):
        self._environ = environ
        self._respond = respond
        self._response = response = Response(environ)
        self._output = Output(environ, start_response, response)
        if "REDIRECT_STATUS" in environ:
            # an ErrorDocument begins with the status of the error
            response.status = _status(environ["REDIRECT_STATUS"])

    def is_for_files(self) -> bool:
        """Return whether the section has phases only, and files as its content."""
        return self._environ.get("mod_wsgi.request_handler") == options.FILES_ONLY

    @property
    def content_type(self) -> str | None:
        """Type of the response; until it is set, the one that the file's name suggests."""
        return self._response.content_type

    @content_type.setter
    def content_type(self, value: str):
        # as most responses set it, without the detour of the others
        self._response.content_type = value

    def environment(self) -> dict:
        """Return the WSGI environment that the request was made from."""
        return self._environ

    @lazy
    def _body(self) -> RequestBody:
        """The request's body, behind the filters that the configuration puts in place."""
        body = RequestBody(self._environ)
        for added in reversed(filters.in_place(self, is_input=True)):
            body.add_filter(added)
        return body

    @lazy
    def prev(self) -> "Request | None":
        """The request that Apache has redirected to this one, an ErrorDocument for instance.

        It is described as far as the environment tells: address, method, query and status.
        """
        environ = environment_before(self._environ)
        if environ is None:
            return None
        request = Request(environ, None)
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
        return (*parse_authority(self.unparsed_uri), self.uri, self.args, None)

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

    # -- the body, and the response ----------------------------------------------------------

    def read(self, length: int = -1) -> bytes:
        """Return up to *length* bytes of the body, all that is left if it is negative.

        :raises BodyUnreadable: an OSError, if the client stops before its body is complete.
        """
        return self._body.read(length)

    def readline(self, length: int = -1) -> bytes:
        """Return the next line of the body, or up to *length* bytes of it."""
        return self._body.readline(length)

    def readlines(self, sizehint: int = 0) -> list[bytes]:
        """Return the lines of the body that are left, stopping after about *sizehint* bytes."""
        return self._body.readlines(sizehint)

    def discard_request_body(self) -> int:
        """Read the rest of the body and drop it; return OK."""
        return self._body.discard_request_body()

    def write(self, data: str | bytes, flush: int = 1) -> None:
        """Send *data*; str goes out as UTF-8. With ``flush=0`` it waits for the next flush.

        :raises ClientGone: an OSError, if the client has closed the connection.
        """
        self._output.write(data, flush)

    def flush(self) -> None:
        """Send the headers, if they are not out, and all output that waits."""
        self._output.flush()

    def sendfile(self, path: str, offset: int = 0, length: int = -1, /) -> int:
        """Send *length* bytes of a file from *offset* on, to its end by default; return how many.

        :raises OSError: if the file cannot be opened or is not a regular file.
        """
        return self._output.sendfile(path, offset, length)

    def send_http_header(self) -> None:
        """Do nothing: headers are sent with the first byte of the body."""

    @property
    def sent_bodyct(self) -> int:
        """1 if a byte of the body has been sent, else 0."""
        return int(self._output.bytes_sent > 0)

    @property
    def eos_sent(self) -> int:
        """0: a handler runs before the end of its response."""
        return 0

    def register_cleanup(self, callable, data=None) -> None:
        """Call ``callable(data)`` after the last byte of the response, the latest one first.

        :raises ValueError: if it cannot be called.
        """
        self._output.register_cleanup(callable, data)

    def run_cleanups(self) -> None:
        """Run the registered cleanups, the latest first, and log what they raise."""
        self._output.run_cleanups()

    def started(self) -> bool:
        """Return whether the headers are out, so that the status can no longer change."""
        return self._output.started()

    def client_gone(self) -> bool:
        """Return whether a write has found the connection closed by the client."""
        return self._output.client_gone()

    def output(self) -> Output:
        """Return what sends the response."""
        return self._output

    def forget_content(self) -> None:
        """Forget what describes the body of a response that becomes a page of an error."""
        self._response.forget_content()

    def allow_methods(self, methods, reset: int = 0) -> None:
        """Name the methods that a 405 response says are allowed; GET allows HEAD, too.

        :param reset: forget those named before.
        """
        self._response.allow_methods(methods, reset)

    def allow_header(self) -> str:
        """Return the value of the Allow field (RFC 9110 section 10.2.1)."""
        return self._response.allow_header()

    def update_mtime(self, mtime: float) -> None:
        """Raise ``mtime`` to *mtime*, seconds since 1970, if that is later."""
        self._response.update_mtime(mtime)

    def set_last_modified(self) -> None:
        """Set Last-Modified to ``mtime``, or to now if that lies in the future."""
        self._response.set_last_modified()

    def set_etag(self) -> None:
        """Set ETag for the file ``finfo``, in the form of Apache's default FileETag."""
        self._response.set_etag(self.finfo)

    def meets_conditions(self) -> int:
        """Return OK, or the 304 or 412 to return instead of the response (RFC 9110 section 13)."""
        return self._response.meets_conditions(self.method, self.headers_in)

    def set_content_length(self, length: int) -> None:
        """Announce the size of the body in bytes."""
        self._response.set_content_length(length)

    # -- handlers, filters and redirects -----------------------------------------------------

    def add_handler(self, htype: str, handler: str, dir: str = "", /) -> None:
        """Add *handler* to the list of the phase *htype*, for this request.

        It runs after those that the list has; for a phase that is over it does not run.

        :param dir: the directory where its module is looked for, if no PythonPath is in force.
        :raises IndexError: if there is no such phase; PythonCleanupHandler is none that can be
            added to.
        :raises ValueError: if *handler* is no text.
        """
        if htype not in options.PHASES or htype == options.CLEANUP:
            raise IndexError(f"{htype!r} is an invalid phase, or one that takes no more handlers")
        if not isinstance(handler, str):
            raise ValueError("a handler must be a string")
        directory = dir or (self.hlist.directory if self.hlist is not None else None) or ""
        directory = os.fsencode(directory).decode("latin-1")
        added = tuple(Step(name, (), None, directory) for name in handler.split())
        if htype == self.phase and self.hlist is not None:
            self.hlist.steps += added
            return
        if self.added_handlers is None:
            self.added_handlers = {}
        self.added_handlers[htype] = (*self.added_handlers.get(htype, ()), *added)

    def register_output_filter(self, name: str, handler: str, dir: str = "", /) -> None:
        """Make *name* name a filter of the response, for this request; see :mod:`.filters`."""
        self._register_filter(False, name, handler, dir)

    def register_input_filter(self, name: str, handler: str, dir: str = "", /) -> None:
        """Make *name* name a filter of the request's body, for this request."""
        self._register_filter(True, name, handler, dir)

    def add_output_filter(self, name: str, /) -> None:
        """Put a filter that was registered or declared behind the response."""
        added = filters.named(self, name, False, self._filters_named(False))
        if added is not None:
            self._output.add_filter(added)

    def add_input_filter(self, name: str, /) -> None:
        """Put a filter that was registered or declared in front of the request's body."""
        added = filters.named(self, name, True, self._filters_named(True))
        if added is not None:
            self._body.add_filter(added)

    def _filters_named(self, is_input):
        if self._registered_filters is None:
            self._registered_filters = {True: {}, False: {}}
        return self._registered_filters[is_input]

    def _register_filter(self, is_input, name, handler, directory):
        self._filters_named(is_input)[name.lower()] = handler, directory or None

    def internal_redirect(self, new_uri: str, /) -> None:
        """Answer with what another address of the same section says; see :mod:`.redirect`.

        :raises Unreachable: a ValueError, for an address of which nothing is known here.
        """
        run_redirected(self, new_uri, lambda *given: Request(*given, self._respond), self._respond)

    def share_body(self, other: "Request") -> None:
        """Have the body of *other*, which has redirected to this request."""
        self._body = other._body

    def set_file(self, filename: str, path_info: str) -> None:
        """Set the file that the address means, and what follows it in the address."""
        self.filename = self.canonical_filename = filename
        self.path_info = path_info
        self.finfo = finfo.stat_or_nothing(filename)

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
        """Return the AuthType in force; see :mod:`.authentication`."""
        return authentication.auth_type(self._environ)

    def auth_name(self) -> str | None:
        """Return the AuthName in force; see :mod:`.authentication`."""
        return authentication.auth_name(self._environ)

    def get_basic_auth_pw(self) -> str | None:
        """Return the password of Basic authentication and set ``user``; None if there is none.

        As in mod_python it is None, and ``user`` is left alone, where ``AuthType Basic`` does not
        hold, since nobody has asked the client for a name then; see :mod:`.authentication` for how
        the runtime knows. Where it holds and the client sends nothing, WWW-Authenticate asks for
        name and password. They are checked by nobody but the handler. Apache passes the header on
        only under ``pass-authorization=On``.
        """
        if not authentication.is_basic(self._environ):
            return None
        found = authentication.credentials(self._environ)
        if found is None:
            self.ask_for_password()
            return None
        self.user, password = found
        self.ap_auth_type = "Basic"
        return password

    def ask_for_password(self) -> None:
        """Set WWW-Authenticate for Basic authentication."""
        self.err_headers_out["WWW-Authenticate"] = authentication.challenge(self._environ)

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


# as real mod_python names its type
Request.__name__ = Request.__qualname__ = "mp_request"
Request.__module__ = "builtins"


def _status(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else constants.HTTP_OK


def _path(environ: dict, name: str) -> str:
    path = told(environ, name)
    # mod_wsgi has decoded paths as Python's file functions do, other servers as PEP 3333 says
    if "mod_wsgi.version" in environ:
        return path
    return os.fsdecode(path.encode("latin-1"))
