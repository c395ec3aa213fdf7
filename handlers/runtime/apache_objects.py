"""Apache's tables, servers and connections as objects of mod_python's API; see :mod:`.exact`."""

import os

from . import httpd_abi
from .connection import Connection
from .constants import AP_CONN_CLOSE, APLOG_ERR
from .httpd_abi import ServerRec
from .log import level_and_bytes
from .request_rec import Record
from .server import Server
from .server_configuration import Host
from .table import Table, header_text
from .variables import NotUTF8, text

MICROSECONDS = 1_000_000


def as_text(value: bytes | None) -> str | None:
    return None if value is None else text(value.decode("latin-1"))


def as_path(value: bytes | None) -> str | None:
    return None if value is None else os.fsdecode(value)


def as_bytes(value: str) -> bytes:
    """Return what :func:`as_text` reads as *value*."""
    if isinstance(value, NotUTF8):
        return value.encode("latin-1")
    return value.encode("utf-8", "surrogateescape")


class live:
    """An attribute read each time, since Apache changes it while the request runs.

    One that is assigned to stays what it was set to.
    """

    def __init__(self, read, doc=None):
        self._read = read
        self.__doc__ = doc

    def __get__(self, owner, kind=None):
        return self if owner is None else self._read(owner)


def number(name: str, doc: str | None = None) -> live:
    return live(lambda owner: owner._record.get(name), doc)


def said(name: str, doc: str | None = None) -> live:
    return live(lambda owner: as_text(owner._record.text(name)), doc)


def seconds(name: str, doc: str | None = None) -> live:
    return live(lambda owner: owner._record.get(name) / MICROSECONDS, doc)


def texts(name: str, doc: str | None = None) -> live:
    def read(owner):
        return tuple(map(as_text, owner._record.strings(owner._record.get(name))))

    return live(read, doc)


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
        words = [as_bytes(header_text(one)) for one in value]
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
    defn_name = said("defn_name", "The file that defines it.")
    defn_line_number = number("defn_line_number")
    server_admin = said("server_admin", "ServerAdmin's value.")
    server_hostname = said("server_hostname", "ServerName.")
    port = number("port", "Port of ServerName, 0 if it names none.")
    error_fname = said("error_fname", "ErrorLog's value.")
    is_virtual = number("is_virtual", "1 for a virtual host, else 0.")
    timeout = seconds("timeout", "Seconds that Apache waits for the client.")
    keep_alive_timeout = seconds("keep_alive_timeout")
    keep_alive_max = number("keep_alive_max")
    keep_alive = number("keep_alive")
    path = said("path", "ServerPath's value.")
    pathlen = number("pathlen")
    names = texts("names", "ServerAlias without wildcards.")
    wild_names = texts("wild_names", "ServerAlias with wildcards.")
    limit_req_line = number("limit_req_line")
    limit_req_fieldsize = number("limit_req_fieldsize")
    limit_req_fields = number("limit_req_fields")

    def __init__(self, record: Record, environ: dict, host: Host | None = None):
        super().__init__(environ, host)
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
        return httpd_abi.query_generation()

    @property
    def restart_time(self) -> float:
        """When httpd was started or restarted last, in seconds since 1970."""
        return httpd_abi.restart_time() / MICROSECONDS

    def log_error(self, message: str, level: int = APLOG_ERR) -> None:
        """Write *message* to the error log of the virtual host."""
        self._record.log("ap_log_error_", *level_and_bytes(message, level))


class ApacheConnection(Connection):
    """The client's connection, as its conn_rec says it."""

    __slots__ = ("_keepalive", "_record", "notes")

    aborted = number("aborted", "1 once the client has closed the connection, else 0.")
    id = number("id", "A number that no other open connection has.")
    keepalives = number("keepalives", "How many requests came by it before this one.")
    client_ip = remote_ip = said("client_ip", "Address of the other end: a proxy's, if any.")
    local_ip = said("local_ip", "Address that the client connected to.")
    local_host = said("local_host")
    remote_host = said("remote_host", "Name of the client if Apache has looked it up, else None.")
    remote_logname = said("remote_logname")

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
        """The server that the connection came to, before the request named its host.

        Where there is a request, its options come from httpd's files: those in force for the
        request are another server's.
        """
        record = self._record.follow("base_server", ServerRec)
        if self._request is None:
            return ApacheServer(record, self._environ)
        return ApacheServer(record, {}, Server(self._environ).of_connection().host())

    def log_error(self, message: str, level: int = APLOG_ERR) -> None:
        """Write *message* to the error log."""
        self._record.log("ap_log_cerror_", *level_and_bytes(message, level))


# as real mod_python names its types
for _type, _name in ((ApacheServer, "mp_server"), (ApacheConnection, "mp_conn")):
    _type.__name__ = _type.__qualname__ = _name
    _type.__module__ = "builtins"
