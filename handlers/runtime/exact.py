"""The request as Apache itself has it: what ``PythonOption mod_python.request_rec on`` adds.

A request of a section with that option becomes an :class:`ApacheRequest` if :mod:`.request_rec` can
read Apache's structures. Its members say what Apache's say, its tables are Apache's, and errors and
redirects go their way through Apache. If it can't, the request stays as it is, and one line in the
log says why. What was read before the response has gone out stays readable; reading what was not
raises :class:`handlers.runtime.request_rec.Gone`.
"""

import logging
import os

from handlers import faults

from . import redirect, request_rec
from .connection import Connection, Server
from .constants import (
    AP_CONN_CLOSE,
    APLOG_ERR,
    HTTP_INTERNAL_SERVER_ERROR,
    OK,
    REMOTE_NAME,
)
from .description import METHOD_NUMBERS, lazy
from .finfo import FileInfo
from .includes import Includes
from .log import level_and_bytes
from .process import register_cleanup
from .request import Request
from .request_rec import ConnRec, Methods, Record, RequestRec, ServerRec, Unusable
from .status import STATUS_LINES
from .table import Table, header_text
from .variables import NotUTF8, is_common, is_own, text

_logger = logging.getLogger(__name__)
_MICROSECONDS = 1_000_000
# an older mod_wsgi kills the child if a request leads to another that it answers
_REENTRANT = (6,)
# OPT_INCLUDES and OPT_INC_WITH_EXEC of http_core.h
_MAY_INCLUDE_CODE = 2 | 32
# the requests that run, by the addresses of their structures
_running: dict[int, "ApacheRequest"] = {}


def attach(request: Request, environ: dict) -> None:
    """Let *request* say what Apache says of it, if that can be read."""
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


def _text(value: bytes | None) -> str | None:
    return None if value is None else text(value.decode("latin-1"))


def _path(value: bytes | None) -> str | None:
    return None if value is None else os.fsdecode(value)


def _bytes(value: str) -> bytes:
    """Return what :func:`_text` reads as *value*."""
    if isinstance(value, NotUTF8):
        return value.encode("latin-1")
    return value.encode("utf-8", "surrogateescape")


def _member(name: str, convert=_text, doc: str | None = None) -> lazy:
    """Return an attribute that is read from the structure once; it can be assigned to."""

    def read(request):
        return convert(request._record.text(name))

    read.__doc__ = doc
    return lazy(read)


class _live:
    """An attribute read each time, since Apache changes it while the request runs.

    One that is assigned to stays what it was set to.
    """

    def __init__(self, read, doc=None):
        self._read = read
        self.__doc__ = doc

    def __get__(self, owner, kind=None):
        return self if owner is None else self._read(owner)


def _number(name: str, doc: str | None = None) -> _live:
    return _live(lambda owner: owner._record.get(name), doc)


def _said(name: str, doc: str | None = None) -> _live:
    return _live(lambda owner: _text(owner._record.text(name)), doc)


def _seconds(name: str, doc: str | None = None) -> _live:
    return _live(lambda owner: owner._record.get(name) / _MICROSECONDS, doc)


def _texts(name: str, doc: str | None = None) -> _live:
    def read(owner):
        return tuple(map(_text, owner._record.strings(owner._record.get(name))))

    return _live(read, doc)


class ApacheTable(Table):
    """One of Apache's own tables: other modules and the access log see what is set here.

    :param name: the member of *record*.
    :param shown: tells which names are there, as mod_python shows them; all without it.
    """

    __slots__ = ("_hidden", "_name", "_record")

    def __init__(self, record: Record, name: str, shown=None):
        self._record = record
        self._name = name
        self._hidden: set[str] = set()
        if shown is not None:
            self._hidden = {row[0] for row in self._rows if not shown(row[1])}

    @property
    def _rows(self):
        return [
            (key.lower(), key, value)
            for key, value in (
                (key.decode("latin-1"), text(value.decode("latin-1")))
                for key, value in self._record.rows(self._name)
            )
            if key.lower() not in self._hidden
        ]

    def show(self, shown) -> None:
        """Show rows whose names *shown* tells."""
        self._hidden = {name for name in self._hidden if not shown(name.upper())}

    def _change(self, how, key, *value):
        key = header_text(key)
        self._hidden.discard(key.lower())
        words = [_bytes(header_text(one)) for one in value]
        self._record.change(self._name, how, key.encode("latin-1"), *words)

    def __setitem__(self, key, value):
        self._change("apr_table_set", key, value)

    def __delitem__(self, key):
        if header_text(key).lower() not in self._hidden:
            self._change("apr_table_unset", key)

    def add(self, key, value):
        """Append a row, whether or not the key is there already."""
        self._change("apr_table_add", key, value)

    def popitem(self):
        """Remove the first row and return its (key, value), with all other rows of that key."""
        rows = self._rows
        if not rows:
            raise KeyError("popitem(): table is empty")
        del self[rows[0][1]]
        return rows[0][1:]

    def update(self, source, /):
        """Set every key of the mapping *source*; repeated keys of a table are kept repeated."""
        if not isinstance(source, Table):
            super().update(source)
            return
        rows = source.items()
        for key, _ in rows:
            self._change("apr_table_unset", key)
        for key, value in rows:
            self.add(key, value)

    def clear(self):
        """Remove all rows."""
        for key in self.keys():
            del self[key]


class ApacheServer(Server):
    """The virtual host, as its server_rec says it."""

    __slots__ = ("_record",)

    has_own_log = True
    defn_name = _said("defn_name", "The file that defines it.")
    defn_line_number = _number("defn_line_number")
    server_admin = _said("server_admin", "ServerAdmin's value.")
    server_hostname = _said("server_hostname", "ServerName.")
    port = _number("port", "Port of ServerName, 0 if it names none.")
    error_fname = _said("error_fname", "ErrorLog's value.")
    is_virtual = _number("is_virtual", "1 for a virtual host, else 0.")
    timeout = _seconds("timeout", "Seconds that Apache waits for the client.")
    keep_alive_timeout = _seconds("keep_alive_timeout")
    keep_alive_max = _number("keep_alive_max")
    keep_alive = _number("keep_alive")
    path = _said("path", "ServerPath's value.")
    pathlen = _number("pathlen")
    names = _texts("names", "ServerAlias without wildcards.")
    wild_names = _texts("wild_names", "ServerAlias with wildcards.")
    limit_req_line = _number("limit_req_line")
    limit_req_fieldsize = _number("limit_req_fieldsize")
    limit_req_fields = _number("limit_req_fields")

    def __init__(self, record: Record, environ: dict):
        super().__init__(environ, register_cleanup)
        self._record = record

    @property
    def loglevel(self) -> int:
        """LogLevel as one of ``APLOG_*``."""
        return self._record.get("log").level

    @property
    def next(self) -> "ApacheServer | None":
        """The next server of the configuration; None behind the last."""
        found = self._record.follow("next", ServerRec)
        return found and ApacheServer(found, self._environ)

    @property
    def my_generation(self) -> int:
        """How often httpd was restarted since its start."""
        return request_rec.query_generation()

    def log_error(self, message: str, level: int = APLOG_ERR) -> None:
        """Write *message* to the error log of the virtual host."""
        self._record.log("ap_log_error_", *level_and_bytes(message, level))


class ApacheConnection(Connection):
    """The client's connection, as its conn_rec says it."""

    __slots__ = ("_keepalive", "_record", "notes")

    aborted = _number("aborted", "1 once the client has closed the connection, else 0.")
    id = _number("id", "A number that no other open connection has.")
    keepalives = _number("keepalives", "How many requests came by it before this one.")
    client_ip = remote_ip = _said("client_ip", "Address of the other end: a proxy's, if any.")
    local_ip = _said("local_ip", "Address that the client connected to.")
    local_host = _said("local_host")
    remote_host = _said("remote_host", "Name of the client if Apache has looked it up, else None.")
    remote_logname = _said("remote_logname")

    def __init__(self, record: Record, environ: dict, request):
        self._environ = environ
        self._request = request
        self._record = record
        self._keepalive = None
        self.notes = ApacheTable(record, "notes")

    @property
    def keepalive(self) -> int:
        """One of ``AP_CONN_*``; set ``AP_CONN_CLOSE`` to close it behind this response."""
        return self._record.get("keepalive") if self._keepalive is None else self._keepalive

    @keepalive.setter
    def keepalive(self, value: int):
        self._keepalive = value
        if value == AP_CONN_CLOSE:
            self._request._record.change("headers_out", "apr_table_set", b"Connection", b"close")

    @property
    def double_reverse(self) -> int:
        """What looking the name up twice has told: 1 if it is right, -1 if not, 0 if untried."""
        # two bits with a sign, behind one other
        bits = self._record.get("bits") >> 1 & 3
        return bits - 4 if bits > 1 else bits

    @property
    def local_addr(self) -> tuple[str, int]:
        """Address and port that the client connected to."""
        return self._record.socket_address("local_addr")

    @property
    def client_addr(self) -> tuple[str, int]:
        """Address and port of the other end."""
        return self._record.socket_address("client_addr")

    remote_addr = client_addr

    @property
    def base_server(self) -> ApacheServer:
        """The server that the connection came to, before the request named its host."""
        return ApacheServer(self._record.follow("base_server", ServerRec), self._environ)

    def log_error(self, message: str, level: int = APLOG_ERR) -> None:
        """Write *message* to the error log."""
        self._record.log("ap_log_cerror_", *level_and_bytes(message, level))


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
    filename = _member("filename", _path)
    canonical_filename = _member("canonical_filename", _path)
    path_info = _member("path_info")
    user = _member("user")
    ap_auth_type = _member("ap_auth_type")
    useragent_ip = _member("useragent_ip")
    range = _member("range")
    vlist_validator = _member("vlist_validator")
    assbackwards = lazy(lambda request: request._record.get("assbackwards"))
    proxyreq = lazy(lambda request: request._record.get("proxyreq"))
    header_only = lazy(lambda request: request._record.get("header_only"))
    proto_num = lazy(lambda request: request._record.get("proto_num"))
    method_number = lazy(lambda request: request._record.get("method_number"))
    used_path_info = lazy(lambda request: request._record.get("used_path_info"))
    chunked = _number("chunked", "1 once the response goes out in chunks, else 0.")
    allowed = _number("allowed", "The methods that Apache says are allowed.")
    allowed_xmethods = _texts("allowed_xmethods")
    sent_bodyct = _number("sent_bodyct")
    bytes_sent = _number("bytes_sent", "Bytes of the body that have gone out.")
    remaining = _number("remaining")
    read_length = _number("read_length")
    read_body = _number("read_body")
    read_chunked = _number("read_chunked")
    expecting_100 = _number("expecting_100")
    eos_sent = _number("eos_sent")
    request_time = _seconds("request_time", "When the request came in, in seconds since 1970.")
    mtime = _seconds("mtime", "When the resource changed, in seconds since 1970.")

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
        return None if self.is_for_files() else _text(self._record.text("handler"))

    @lazy
    def finfo(self) -> FileInfo:
        """What Apache knows of the file."""
        found = self._record.get("finfo")
        if not found.filetype:
            return FileInfo(None, None)
        told = {name: getattr(found, name) for name, _ in found._fields_}
        names = {name: _path(self._record.string(told[name])) for name in ("fname", "name")}
        return FileInfo.of_apache(told | names)

    @lazy
    def parsed_uri(self) -> tuple:
        """The address in its parts, see ``URI_*``."""
        found = self._record.get("parsed_uri")
        names = ("scheme", "hostinfo", "user", "password", "hostname")
        before = [_text(self._record.string(getattr(found, name))) for name in names]
        rest = [getattr(found, name) for name in ("path", "query", "fragment")]
        port = found.port if found.port_str else None
        return (*before, port, *(_text(self._record.string(each)) for each in rest))

    @property
    def content_type(self) -> str | None:
        """Type of the response; until it is set, the one that Apache has found."""
        if self._content_type_set:
            return self._output.content_type
        return _text(self._record.text("content_type"))

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
        return _text(self._record.call("ap_auth_type"))

    def auth_name(self) -> str | None:
        """Return the AuthName in force."""
        return _text(self._record.call("ap_auth_name"))

    def get_basic_auth_pw(self) -> str | None:
        """Return the password of Basic authentication and set ``user``; None if there is none.

        Apache sees to it that ``AuthType Basic`` holds, and asks the client for a password.
        """
        result, password = self._record.basic_password()
        if result != OK:
            return None
        self.user = _text(self._record.text("user"))
        self.ap_auth_type = _text(self._record.text("ap_auth_type"))
        return _text(password)

    def ask_for_password(self) -> None:
        """Set WWW-Authenticate for the AuthType in force."""
        self._record.call("ap_note_auth_failure")

    def get_remote_host(self, kind: int = REMOTE_NAME, str_is_ip=None, /):
        """Return the client's name, looked up as ``HostnameLookups`` and *kind* say."""
        name, is_ip = self._record.remote_host(kind)
        return (_text(name), is_ip) if str_is_ip and name is not None else _text(name)

    def construct_url(self, uri: str) -> str:
        """Return the full address of the path *uri* on this server, as UseCanonicalName says."""
        return _text(self._record.construct_url(_bytes(uri)))

    def document_root(self) -> str:
        """Return DocumentRoot, or what a module has put in its place."""
        return _path(self._record.call("ap_document_root"))

    def allow_methods(self, methods, reset: int = 0) -> None:
        """Name the methods that a 405 response says are allowed."""
        self._record.allow(int(bool(reset)), [header_text(name).encode() for name in methods])

    @property
    def allowed_methods(self) -> tuple:
        """Names of the methods that have no number."""
        found = self._record.follow("allowed_methods", Methods)
        return tuple(map(_text, found.strings(found.get("names")))) if found else ()

    def allow_header(self) -> str:
        """Return the value of the Allow field of a page of the runtime's."""
        found = self._record.follow("allowed_methods", Methods)
        mask = found.get("mask") if found else 0
        known = [name for name, number in METHOD_NUMBERS.items() if mask >> number & 1]
        return ", ".join((*known, *self.allowed_methods))

    def update_mtime(self, mtime: float) -> None:
        """Raise ``mtime`` to *mtime*, seconds since 1970, if that is later."""
        super().update_mtime(mtime)
        self._record.call("ap_update_mtime", int(mtime) * _MICROSECONDS)

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
        # whoever was redirected to may have written to this one
        if not self._output.started():
            line = STATUS_LINES.get(status) or STATUS_LINES[HTTP_INTERNAL_SERVER_ERROR]
            self._output.server()(line, [])
        self._output.adopt(lambda data: None)

    def internal_redirect(self, new_uri: str, /) -> None:
        """Answer with what another address says: Apache goes through all its phases for it."""
        self._record.life.check()
        if self._output.bytes_queued:
            self._output.flush()
        self._record.internal_redirect(_bytes(new_uri))
        self._leave_to_apache(200)


# as real mod_python names its types
for _type, _name in (
    (ApacheServer, "mp_server"),
    (ApacheConnection, "mp_conn"),
    (ApacheRequest, "mp_request"),
    (RoutedRequest, "mp_request"),
):
    _type.__name__ = _type.__qualname__ = _name
    _type.__module__ = "builtins"
