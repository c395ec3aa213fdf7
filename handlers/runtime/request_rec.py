"""Apache's request_rec, conn_rec and server_rec of a request, read by ctypes.

Nothing imports this module until a section asks for it (``PythonOption mod_python.request_rec``).
The way in is what mod_wsgi puts into the environment under ``WSGIPassApacheRequest On``: a capsule
with the address of the request. Daemon processes have none.

Before the first use a process checks Apache's magic number, and that what the structures say of a
request is what its environment says. It reads by way of a pipe meanwhile, so that a wrong address
is an error and not the end of the child. Memory is written by Apache's own functions alone, and
nothing is read after the request or on another thread (:class:`Gone`).
"""

import ctypes
import re
import struct
import threading

from .httpd_abi import (
    POINTER,
    Address,
    Array,
    ConnRec,
    Direct,
    Filter,
    FilterKind,
    Probe,
    RequestRec,
    ServerRec,
    Unusable,
    call,
    check_process,
    functions,
)

_MOST_ROWS = 10_000
# what mod_mime keeps among the notes is no text
_NO_TEXT = b"ap-mime-exceptions-list"
_PATHS = ("SCRIPT_FILENAME", "SERVER_ADMIN")
_ESCAPE = "surrogateescape"
_SLASHES = re.compile(rb"/+")
# why the structures are not read in this process; empty if they are
_verdict: list[str] = []


class Gone(RuntimeError):
    """Raised when a member of a request is asked for that Apache no longer has."""


class Life:
    """How long structures may be read: until the request ends, on the thread that serves it."""

    __slots__ = ("_is_over", "_thread")

    def __init__(self):
        self._thread = threading.get_ident()
        self._is_over = False

    def check(self) -> None:
        """Go on, or raise.

        :raises Gone: after the end, and on another thread.
        """
        if self._is_over:
            raise Gone("the request is over: Apache no longer has what this member says")
        if threading.get_ident() != self._thread:
            raise Gone("members of a request that Apache keeps are for the thread that serves it")

    def end(self) -> None:
        """Let :meth:`check` raise from now on."""
        self._is_over = True


class Record:
    """One of Apache's structures.

    :ivar life: how long it may be read.
    """

    __slots__ = ("_address", "_fields", "_memory", "life")

    def __init__(self, kind, address: int, life: Life, memory=Direct):
        self.life = life
        self._address = address
        self._memory = memory
        self._fields = memory.structure(kind, address)

    @property
    def address(self) -> int:
        """Where it lies."""
        self.life.check()
        return self._address

    def get(self, name: str):
        """Return a number, an address or None for NULL, or an inner structure."""
        self.life.check()
        return getattr(self._fields, name)

    def text(self, name: str) -> bytes | None:
        """Return a text, None for NULL."""
        return self.string(self.get(name))

    def string(self, address: int | None) -> bytes | None:
        """Return the text at an address, None for NULL."""
        self.life.check()
        return self._memory.string(address) if address else None

    def follow(self, name: str, kind) -> "Record | None":
        """Return the structure that a field points to, None for NULL."""
        address = self.get(name)
        return Record(kind, address, self.life, self._memory) if address else None

    def rows(self, name: str) -> list[tuple[bytes, bytes]]:
        """Return the rows of a table, none for NULL."""
        cells = self._cells(self.get(name), 3 * POINTER)
        found = [
            (self._memory.string(key), value)
            for key, value, _ in struct.iter_unpack("PPP", cells)
            if key
        ]
        return [
            (key, self._memory.string(value) if value else b"")
            for key, value in found
            if key != _NO_TEXT
        ]

    def strings(self, address: int | None) -> list[bytes]:
        """Return the texts of an array, none for NULL."""
        self.life.check()
        cells = self._cells(address, POINTER)
        return [self._memory.string(text) for (text,) in struct.iter_unpack("P", cells) if text]

    def _cells(self, address, size) -> bytes:
        if not address:
            return b""
        array = self._memory.structure(Array, address)
        if not array.nelts:
            return b""
        if array.elt_size != size or not 0 <= array.nelts <= min(array.nalloc, _MOST_ROWS):
            raise Unusable("what should be a table is none")
        length = array.nelts * size
        return bytes(self._memory.structure(ctypes.c_char * length, array.elts))

    def filters(self, name: str) -> list[bytes]:
        """Return the names of a chain of filters, in lower case."""
        names = []
        at = self.get(name)
        while at and len(names) < 64:
            link = self._memory.structure(Filter, at)
            kind = self._memory.structure(FilterKind, link.frec)
            names.append(self._memory.string(kind.name).lower())
            at = link.next
        return names

    def socket_address(self, name: str) -> tuple[str, int] | None:
        """Return the IP address and port of a field, None for NULL."""
        found = self.follow(name, Address)
        if found is None:
            return None
        text, lib = ctypes.c_char_p(), ctypes.CDLL(None)
        lib.apr_sockaddr_ip_get.argtypes = (ctypes.POINTER(ctypes.c_char_p), ctypes.c_void_p)
        lib.apr_sockaddr_ip_get(ctypes.byref(text), found.address)
        return (text.value or b"").decode(), found.get("port")

    def change(self, name: str, how: str, *words: bytes) -> None:
        """Change the table of a field by ``apr_table_set`` or another ``apr_table_`` function.

        :raises ValueError: for NUL in a text.
        """
        call(how, self.get(name), *words)

    def call(self, function: str, *arguments):
        """Call one of Apache's functions that take this structure first; bytes for its text."""
        return call(function, self.address, *arguments)

    # -- what takes its arguments in another order ---------------------------------------------

    def die(self, status: int) -> None:
        """Have Apache answer with its page, or the ErrorDocument, for a status."""
        call("ap_die", status, self.address)

    def internal_redirect(self, uri: bytes) -> None:
        """Have Apache answer with what another address says."""
        call("ap_internal_redirect", uri, self.address)

    def construct_url(self, uri: bytes) -> bytes:
        """Return the full address of a path on this server."""
        return call("ap_construct_url", self.get("pool"), uri, self.address)

    def log(self, function: str, level: int, message: bytes) -> None:
        """Write to the error log by ``ap_log_rerror_`` or another of these functions."""
        message = message.replace(b"\0", rb"\0")
        call(function, b"mod_python", 0, -1, level, 0, self.address, b"%s", message)

    def basic_password(self) -> tuple[int, bytes | None]:
        """Return what ``ap_get_basic_auth_pw`` returns, and the password."""
        password = ctypes.c_char_p()
        return self.call("ap_get_basic_auth_pw", ctypes.byref(password)), password.value

    def remote_host(self, kind: int) -> tuple[bytes | None, int]:
        """Return the client's name or address, and whether it is an address."""
        is_ip = ctypes.c_int()
        name = call(
            "ap_get_remote_host",
            self.get("connection"),
            self.get("per_dir_config"),
            kind,
            ctypes.byref(is_ip),
        )
        return name, is_ip.value

    def allow(self, reset: int, methods: list[bytes]) -> None:
        """Name the methods that Apache says are allowed."""
        allow = functions()["ap_allow_methods"]
        # ended by NULL; without any it says that none is allowed
        for method in methods or [None]:
            names = [ctypes.c_char_p(method)] if method else []
            end = ctypes.c_void_p(None)
            allow(ctypes.c_void_p(self.address), ctypes.c_int(reset), *names, end)
            reset = 0


def open_request(environ: dict) -> Record:
    """Return the request_rec of the request that *environ* describes.

    The first call in a process compares the two by :func:`check`.

    :raises Unusable: if there is none, or it cannot be read in this process.
    """
    capsule = environ.get("apache.request_rec")
    if capsule is None:
        if environ.get("mod_wsgi.process_group"):
            raise Unusable("a daemon process has no structures of Apache's")
        raise Unusable("WSGIPassApacheRequest On does not hold")
    address = _address(capsule)
    if not _verdict:
        _verdict.append(fault_of(RequestRec, address, lambda found: check(found, environ)))
    if _verdict[0]:
        raise Unusable(_verdict[0])
    return Record(RequestRec, address, Life())


def _address(capsule) -> int:
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    try:
        return get(capsule, None)
    except (ValueError, TypeError) as error:
        raise Unusable(f"apache.request_rec is no address: {error}") from None


def fault_of(kind, address: int, check) -> str:
    """Return why the structures of this process cannot be read, empty if they can.

    :param kind: the structure at *address*, RequestRec or ConnRec.
    :param check: is called with its record, and raises Unusable if it cannot be one.
    """
    probe = Probe()
    try:
        check_process()
        check(Record(kind, address, Life(), probe))
    except Unusable as error:
        return str(error)
    finally:
        probe.close()
    return ""


def check(request: Record, environ: dict) -> None:
    """Compare what a request_rec says with what the environment of its request says.

    :raises Unusable: naming the first field that differs, or one that leads nowhere.
    """
    client, server = request.follow("connection", ConnRec), request.follow("server", ServerRec)
    if client is None or server is None or not request.get("pool"):
        raise Unusable("request_rec has no connection")

    def compare(record, field, *wanted):
        try:
            found = record.text(field)
        except Unusable as error:
            raise Unusable(f"{field}: {error}") from None
        if found not in wanted:
            raise Unusable(f"{field} is {found!r}, not {wanted[0]!r}")

    def told(name):
        return environ.get(name, "").encode("utf-8" if name in _PATHS else "latin-1", _ESCAPE)

    # pointers that are NULL for no request
    method = told("REQUEST_METHOD")
    compare(request, "protocol", told("SERVER_PROTOCOL"))
    # mod_wsgi makes HEAD GET where filters need the body
    compare(request, "method", *((b"GET", b"HEAD") if method == b"GET" else (method,)))
    compare(request, "handler", told("mod_wsgi.request_handler"))
    line = request.text("the_request") or b""
    if told("REQUEST_URI") not in line:
        raise Unusable(f"the_request is {line!r}, without {told('REQUEST_URI')!r}")
    path = _SLASHES.sub(b"/", request.text("uri") or b"")
    if path != _SLASHES.sub(b"/", told("SCRIPT_NAME") + told("PATH_INFO")):
        raise Unusable(f"uri is {path!r}")
    compare(request, "filename", told("SCRIPT_FILENAME"))
    compare(request, "args", told("QUERY_STRING"), *([] if told("QUERY_STRING") else [None]))
    compare(request, "useragent_ip", told("REMOTE_ADDR"))
    compare(client, "local_ip", told("SERVER_ADDR"))
    compare(server, "server_admin", told("SERVER_ADMIN"))
    if request.get("status") not in (200, int(environ.get("REDIRECT_STATUS", "200"))):
        raise Unusable(f"status is {request.get('status')}")
    start = float(environ.get("mod_wsgi.request_start") or 0)
    if request.get("request_time") not in (round(start * 1_000_000), round(start)):
        raise Unusable(f"request_time is {request.get('request_time')}")
    _check_tables(request, told)
    if client.get("aborted") not in (0, 1) or not 0 <= client.get("keepalives") < 1 << 24:
        raise Unusable("connection has no number of requests")
    limits = [server.get(f"limit_req_{name}") for name in ("line", "fieldsize", "fields")]
    if not all(0 <= limit < 1 << 28 for limit in limits) or not server.text("server_hostname"):
        raise Unusable("server has no limits")


def _check_tables(request, told):
    fields: dict[str, list[bytes]] = {}
    for name, value in request.rows("headers_in"):
        if re.fullmatch(rb"[A-Za-z0-9-]+", name):
            key = name.decode().upper().replace("-", "_")
            fields.setdefault(key, []).append(value)
    for name, values in fields.items():
        found = told(f"HTTP_{name}") or told(name)
        if found and found != b", ".join(values):
            raise Unusable(f"the field {name} is {values!r}, not {found!r}")
    variables = dict(request.rows("subprocess_env"))
    if variables.get(b"SERVER_ADDR") != told("SERVER_ADDR"):
        raise Unusable("subprocess_env does not hold the environment")
    request.rows("notes")
    request.rows("headers_out")
    request.rows("err_headers_out")
