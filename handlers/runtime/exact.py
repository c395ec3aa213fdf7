"""The request as Apache itself has it: what ``PythonOption mod_python.request_rec on`` adds.

A request of a section with that option becomes an :class:`ApacheRequest` if :mod:`.request_rec` can
read Apache's structures. Its members say what Apache's say, its tables are Apache's, and errors and
redirects go their way through Apache. If it can't, the request stays as it is, and one line in the
log says why. What was read before the response has gone out stays readable; reading what was not
raises :class:`handlers.runtime.request_rec.Gone`.
"""

import logging

from handlers import faults

from . import redirect, request_rec
from .apache_objects import (
    MICROSECONDS,
    ApacheConnection,
    ApacheServer,
    ApacheTable,
    as_bytes,
    as_path,
    as_text,
    number,
    seconds,
    texts,
)
from .constants import (
    APLOG_ERR,
    HTTP_INTERNAL_SERVER_ERROR,
    OK,
    REMOTE_NAME,
)
from .description import METHOD_NUMBERS, lazy
from .finfo import FileInfo
from .httpd_abi import ConnRec, Methods, RequestRec, ServerRec, Unusable
from .includes import Includes
from .log import level_and_bytes
from .request import Request
from .request_rec import Record
from .status import STATUS_LINES
from .table import header_text
from .variables import is_common, is_own

_logger = logging.getLogger(__name__)
# an older mod_wsgi kills the child if a request leads to another that it answers
_REENTRANT = (6,)
# OPT_INCLUDES and OPT_INC_WITH_EXEC of http_core.h
_MAY_INCLUDE_CODE = 2 | 32
# the requests that run, by the addresses of their structures
_running: dict[int, "ApacheRequest"] = {}


def attach(request: Request, environ: dict) -> None:
    """Make *request* read Apache's structures, if they can be read."""
    if redirect.is_redirected(environ):
        # by the runtime: Apache knows nothing of this one
        return
    try:
        record = request_rec.open_request(environ)
    except Unusable as error:
        faults.tell_once(
            _logger,
            logging.WARNING,
            f"mod_python.request_rec is not used, requests are as without it: {error}",
        )
        return
    is_routed = environ["mod_wsgi.version"] >= _REENTRANT
    request.__class__ = RoutedRequest if is_routed else ApacheRequest
    request._record = record
    _running[record.address] = request
    # registered first, it runs last
    request.register_cleanup(_end, request)
    if b"includes" in record.filters("output_filters"):
        allowed = record.call("ap_allow_options")
        if allowed & _MAY_INCLUDE_CODE == _MAY_INCLUDE_CODE:
            request.output().add_filter(Includes(request))


def _end(request):
    _running.pop(request._record.address, None)
    request._record.life.end()


def _member(name: str, convert=as_text, doc: str | None = None) -> lazy:
    """Return an attribute that is read from the structure once; it can be assigned to."""

    def read(request):
        return convert(request._record.text(name))

    read.__doc__ = doc
    return lazy(read)


def _number_once(name: str) -> lazy:
    """Return an attribute like :func:`_member`'s for a number."""
    return lazy(lambda request: request._record.get(name))


class ApacheRequest(Request):
    """The request, as its request_rec says it."""

    _record: Record

    the_request = _member("the_request", doc="The request line as the client has sent it.")
    protocol = _member("protocol")
    method = _member("method")
    hostname = _member("hostname")
    unparsed_uri = _member("unparsed_uri", doc="The address as the client has sent it.")
    uri = _member("uri", doc="The path of the address, decoded.")
    args = _member("args")
    filename = _member("filename", as_path)
    canonical_filename = _member("canonical_filename", as_path)
    path_info = _member("path_info")
    user = _member("user")
    ap_auth_type = _member("ap_auth_type")
    useragent_ip = _member("useragent_ip")
    range = _member("range")
    vlist_validator = _member("vlist_validator")
    assbackwards = _number_once("assbackwards")
    proxyreq = _number_once("proxyreq")
    header_only = _number_once("header_only")
    proto_num = _number_once("proto_num")
    method_number = _number_once("method_number")
    used_path_info = _number_once("used_path_info")
    chunked = number("chunked", "1 once the response goes out in chunks, else 0.")
    allowed = number("allowed", "The methods that Apache says are allowed.")
    allowed_xmethods = texts("allowed_xmethods")
    sent_bodyct = number("sent_bodyct")
    bytes_sent = number("bytes_sent", "Bytes of the body that have gone out.")
    remaining = number("remaining")
    read_length = number("read_length")
    read_body = number("read_body")
    read_chunked = number("read_chunked")
    expecting_100 = number("expecting_100")
    eos_sent = number("eos_sent")
    request_time = seconds("request_time", "When the request came in, in seconds since 1970.")
    mtime = seconds("mtime", "When the resource changed, in seconds since 1970.")

    # -- other structures --------------------------------------------------------------------

    @lazy
    def connection(self) -> ApacheConnection:
        """The client's connection."""
        return ApacheConnection(self._record.follow("connection", ConnRec), self._environ, self)

    @lazy
    def server(self) -> ApacheServer:
        """The virtual host."""
        return ApacheServer(self._record.follow("server", ServerRec), self._environ)

    @property
    def prev(self) -> Request | None:
        """The request that Apache has redirected to this one."""
        return self._other("prev", redirect.environment_before(self._environ))

    @property
    def next(self) -> Request | None:
        """The request that this one was redirected to."""
        return self._other("next")

    @property
    def main(self) -> Request | None:
        """The request that this one is a part of, None for none."""
        return self._other("main")

    @next.setter
    def next(self, value):
        # Apache keeps it
        pass

    def _other(self, name, environ=None):
        record = self._record.follow(name, RequestRec)
        if record is None:
            return None
        found = _running.get(record.address)
        if found is None:
            found = ApacheRequest(environ or {}, None)
            found._record = record
            found.status = record.get("status")
        return found

    @property
    def _request_rec(self):
        """The capsule of mod_wsgi."""
        return self._environ["apache.request_rec"]

    @lazy
    def handler(self) -> str | None:
        """The word of SetHandler; None where it stands for phases only."""
        return None if self.is_for_files() else as_text(self._record.text("handler"))

    @lazy
    def finfo(self) -> FileInfo:
        """What Apache knows of the file."""
        found = self._record.get("finfo")
        if not found.filetype:
            return FileInfo(None, None)
        told = {name: getattr(found, name) for name, _ in found._fields_}
        names = {name: as_path(self._record.string(told[name])) for name in ("fname", "name")}
        return FileInfo.of_apache(told | names)

    @lazy
    def parsed_uri(self) -> tuple:
        """The address in its parts, see ``URI_*``."""
        found = self._record.get("parsed_uri")
        names = ("scheme", "hostinfo", "user", "password", "hostname")
        before = [as_text(self._record.string(getattr(found, name))) for name in names]
        rest = [getattr(found, name) for name in ("path", "query", "fragment")]
        port = found.port if found.port_str else None
        return (*before, port, *(as_text(self._record.string(each)) for each in rest))

    @property
    def content_type(self) -> str | None:
        """Type of the response; until it is set, the one that Apache has found."""
        if self._content_type_set:
            return self._output.content_type
        return as_text(self._record.text("content_type"))

    @content_type.setter
    def content_type(self, value: str):
        Request.content_type.fset(self, value)

    @lazy
    def useragent_addr(self) -> tuple[str, int] | None:
        """Address and port of the client."""
        return self._record.socket_address("useragent_addr")

    # -- tables ------------------------------------------------------------------------------

    @lazy
    def headers_in(self) -> ApacheTable:
        """The request's header fields, as the client wrote them."""
        return ApacheTable(self._record, "headers_in")

    @lazy
    def notes(self) -> ApacheTable:
        """Notes, which Apache's modules and ``%{name}n`` of the access log see."""
        return ApacheTable(self._record, "notes")

    @lazy
    def err_headers_out(self) -> ApacheTable:
        """Header fields of the response, whether or not it is an error; Apache sends them."""
        return ApacheTable(self._record, "err_headers_out")

    @lazy
    def subprocess_env(self) -> ApacheTable:
        """What SetEnv and others have set; Apache and ``%{name}e`` of the access log see it."""
        return ApacheTable(self._record, "subprocess_env", is_own)

    def add_common_vars(self) -> None:
        """Show the server's and the client's CGI variables in ``subprocess_env``."""
        self.subprocess_env.show(is_common)

    def _add_variables(self, pairs):
        self.add_common_vars()
        super()._add_variables(pairs)

    # -- what Apache does --------------------------------------------------------------------

    def log_error(self, message: str, level: int = APLOG_ERR) -> None:
        """Write *message* to the error log at one of the ``APLOG_*`` levels, all eight of them."""
        self._record.log("ap_log_rerror_", *level_and_bytes(message, level))

    def auth_type(self) -> str | None:
        """Return the AuthType in force."""
        return as_text(self._record.call("ap_auth_type"))

    def auth_name(self) -> str | None:
        """Return the AuthName in force."""
        return as_text(self._record.call("ap_auth_name"))

    def get_basic_auth_pw(self) -> str | None:
        """Return the password of Basic authentication and set ``user``; None if there is none.

        Apache has made sure that ``AuthType Basic`` holds, and asks the client for a password.
        """
        result, password = self._record.basic_password()
        if result != OK:
            return None
        self.user = as_text(self._record.text("user"))
        self.ap_auth_type = as_text(self._record.text("ap_auth_type"))
        return as_text(password)

    def ask_for_password(self) -> None:
        """Set WWW-Authenticate for the AuthType in force."""
        self._record.call("ap_note_auth_failure")

    def get_remote_host(self, kind: int = REMOTE_NAME, str_is_ip=None, /):
        """Return the client's name, looked up as ``HostnameLookups`` and *kind* say."""
        name, is_ip = self._record.remote_host(kind)
        return (as_text(name), is_ip) if str_is_ip and name is not None else as_text(name)

    def construct_url(self, uri: str) -> str:
        """Return the full address of the path *uri* on this server, as UseCanonicalName says."""
        return as_text(self._record.construct_url(as_bytes(uri)))

    def document_root(self) -> str:
        """Return DocumentRoot, or what a module has put in its place."""
        return as_path(self._record.call("ap_document_root"))

    def allow_methods(self, methods, reset: int = 0) -> None:
        """Name the methods that a 405 response says are allowed."""
        self._record.allow(int(bool(reset)), [header_text(name).encode() for name in methods])

    @property
    def allowed_methods(self) -> tuple:
        """Names of the methods that have no number."""
        found = self._record.follow("allowed_methods", Methods)
        return tuple(map(as_text, found.strings(found.get("names")))) if found else ()

    def allow_header(self) -> str:
        """Return the value of the Allow field of a page of the runtime's."""
        found = self._record.follow("allowed_methods", Methods)
        mask = found.get("mask") if found else 0
        known = [name for name, number in METHOD_NUMBERS.items() if mask >> number & 1]
        return ", ".join((*known, *self.allowed_methods))

    def update_mtime(self, mtime: float) -> None:
        """Raise ``mtime`` to *mtime*, seconds since 1970, if that is later."""
        super().update_mtime(mtime)
        self._record.call("ap_update_mtime", int(mtime) * MICROSECONDS)

    def set_etag(self) -> None:
        """Set ETag for the file, as FileETag says."""
        etag = self._record.call("ap_make_etag", 0)
        if etag:
            self.headers_out["ETag"] = etag.decode("latin-1")

    def meets_conditions(self) -> int:
        """Return OK, or the 304 or 412 to return instead of the response."""
        if self.no_local_copy or not 200 <= self.status < 300:
            return OK
        lent = [name for name in ("ETag", "Last-Modified") if name in self.headers_out]
        for name in lent:
            words = name.encode(), self.headers_out.get(name).encode("latin-1")
            self._record.change("headers_out", "apr_table_set", *words)
        result = self._record.call("ap_meets_conditions")
        for name in lent:
            # mod_wsgi sends it with the other fields
            self._record.change("headers_out", "apr_table_unset", name.encode())
        return result


class RoutedRequest(ApacheRequest):
    """One whose errors and redirects go their way through Apache, and may come back."""

    def apaches_page(self, result: int):
        """Return the WSGI iterable of a response that is Apache's page, or the ErrorDocument."""
        output = self._output
        output.drop_filters()
        if output.started():
            if "Content-Length" in self.headers_out or output.client_gone():
                return output.finish()
            output.flush()
        else:
            output.drop_output()
            location = self.headers_out.get("Location")
            if location is not None:
                words = b"Location", location.encode("latin-1")
                self._record.change("headers_out", "apr_table_set", *words)
        self._record.die(result)
        self._leave_to_apache(self._record.get("status"))
        return output.finish()

    def _leave_to_apache(self, status):
        """Let nothing more go out: Apache has sent a response, which mod_wsgi has not seen."""
        # handlers of the address redirected to may have written to this one
        if not self._output.started():
            line = STATUS_LINES.get(status) or STATUS_LINES[HTTP_INTERNAL_SERVER_ERROR]
            self._output.server()(line, [])
        self._output.adopt(lambda data: None)

    def internal_redirect(self, new_uri: str, /) -> None:
        """Answer with what another address says: Apache goes through all its phases for it."""
        self._record.life.check()
        if self._output.bytes_queued:
            self._output.flush()
        self._record.internal_redirect(as_bytes(new_uri))
        self._leave_to_apache(200)


# as real mod_python names its type
for _type in (ApacheRequest, RoutedRequest):
    _type.__name__ = _type.__qualname__ = "mp_request"
    _type.__module__ = "builtins"
