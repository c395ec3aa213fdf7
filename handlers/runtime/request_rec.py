"""Apache's own structures, read by ctypes: request_rec, conn_rec and server_rec.

Nothing imports this module until a section asks for it (``PythonOption mod_python.request_rec``).
The way in is what mod_wsgi puts into the environment under ``WSGIPassApacheRequest On``: a capsule
with the address of the request. Daemon processes have none. Apache keeps the layout within a major
module magic number: all releases of 2.4 have 20120211, and fields were only added at the ends. This
module declares the fields up to the last one that all of them have.

Before the first use a process checks that magic number, and that what the structures say of a
request is what its environment says. It reads by way of a pipe meanwhile, so that a wrong address
is an error and not the end of the child. Memory is written by Apache's own functions alone, and
nothing is read after the request or on another thread (:class:`Gone`).
"""

import ctypes
import os
import struct
import threading

MAGIC = 20120211
_POINTER = ctypes.sizeof(ctypes.c_void_p)
_PAGE = 4096
_LONGEST = 1 << 20
_MOST_ROWS = 10_000
# what mod_mime keeps among the notes is no text
_NO_TEXT = b"ap-mime-exceptions-list"
_TYPES = {
    "p": ctypes.c_void_p,
    "i": ctypes.c_int,
    "u": ctypes.c_uint,
    "q": ctypes.c_int64,
    "l": ctypes.c_long,
    "b": ctypes.c_byte,
    "h": ctypes.c_ushort,
}


class Unusable(Exception):
    """Raised when the structures of this httpd cannot be read; the message says why."""


class Gone(RuntimeError):
    """Raised when a member of a request is asked for that Apache no longer has."""


def _structure(name: str, declared: str, **inner) -> type[ctypes.Structure]:
    """Return a structure whose fields are laid out as the C compiler does it.

    :param declared: a letter of a type, then names of fields, and so on.
    :param inner: types of fields that are structures themselves.
    """
    kind, fields = None, []
    for word in declared.split():
        if len(word) == 1:
            kind = _TYPES[word]
        else:
            fields.append((word, inner.get(word, kind)))
    return type(name, (ctypes.Structure,), {"_fields_": fields})


Array = _structure("Array", "p pool i elt_size nelts nalloc p elts")
Uri = _structure(
    "Uri",
    "p scheme hostinfo user password hostname port_str path query fragment hostent h port u bits",
)
FileInfo = _structure(
    "FileInfo",
    "p pool i valid protection filetype u user group q inode device i nlink q size csize "
    "q atime mtime ctime p fname name filehand",
)
Address = _structure("Address", "p pool hostname servname h port")
Levels = _structure("Levels", "p module_levels i level")
Methods = _structure("Methods", "q mask p names")
Module = _structure("Module", "i version minor_version module_index")
Filter = _structure("Filter", "p frec ctx next")
FilterKind = _structure("FilterKind", "p name")
Score = _structure("Score", "i server_limit thread_limit generation q restart_time")
RequestRec = _structure(
    "RequestRec",
    "p pool connection server next prev main the_request i assbackwards proxyreq header_only "
    "proto_num p protocol hostname q request_time p status_line i status method_number p method "
    "q allowed p allowed_xmethods allowed_methods q sent_bodyct bytes_sent mtime p range q clength "
    "i chunked read_body read_chunked u expecting_100 p kept_body body_table q remaining "
    "read_length p headers_in headers_out err_headers_out subprocess_env notes content_type "
    "handler content_encoding content_languages vlist_validator user ap_auth_type unparsed_uri uri "
    "filename canonical_filename path_info args i used_path_info eos_sent p per_dir_config "
    "request_config log log_id htaccess output_filters input_filters proto_output_filters "
    "proto_input_filters i no_cache no_local_copy p invoke_mtx parsed_uri finfo useragent_addr "
    "useragent_ip",
    parsed_uri=Uri,
    finfo=FileInfo,
)
ConnRec = _structure(
    "ConnRec",
    "p pool base_server vhost_lookup_data local_addr client_addr client_ip remote_host "
    "remote_logname local_ip local_host l id p conn_config notes input_filters output_filters sbh "
    "bucket_alloc cs i data_in_input_filters data_in_output_filters u bits aborted i keepalive "
    "keepalives",
)
ServerRec = _structure(
    "ServerRec",
    "p process next error_fname error_log log module_config lookup_defaults defn_name "
    "u defn_line_number b is_virtual h port p server_scheme server_admin server_hostname addrs "
    "q timeout keep_alive_timeout i keep_alive_max keep_alive p names wild_names path i pathlen "
    "limit_req_line limit_req_fieldsize limit_req_fields",
    log=Levels,
)
_P, _I, _S = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
# what each of Apache's functions that are used here returns, and takes
_SIGNATURES: dict[str, tuple] = {
    "apr_table_set": (None, _P, _S, _S),
    "apr_table_add": (None, _P, _S, _S),
    "apr_table_unset": (None, _P, _S),
    "apr_table_clear": (None, _P),
    "apr_pstrdup": (_P, _P, _S),
    "ap_die": (None, _I, _P),
    "ap_internal_redirect": (None, _S, _P),
    "ap_log_rerror_": (None, _S, _I, _I, _I, _I, _P, _S, _S),
    "ap_log_cerror_": (None, _S, _I, _I, _I, _I, _P, _S, _S),
    "ap_log_error_": (None, _S, _I, _I, _I, _I, _P, _S, _S),
    "ap_auth_type": (_S, _P),
    "ap_auth_name": (_S, _P),
    "ap_get_basic_auth_pw": (_I, _P, ctypes.POINTER(_S)),
    "ap_note_auth_failure": (None, _P),
    "ap_construct_url": (_S, _P, _S, _P),
    "ap_get_remote_host": (_S, _P, _P, _I, ctypes.POINTER(_I)),
    "ap_meets_conditions": (_I, _P),
    "ap_make_etag": (_S, _P, _I),
    "ap_update_mtime": (None, _P, ctypes.c_int64),
    "ap_document_root": (_S, _P),
    "ap_allow_options": (_I, _P),
    "apr_brigade_create": (_P, _P, _P),
    "apr_brigade_write": (_I, _P, _P, _P, _S, ctypes.c_size_t),
    "apr_brigade_length": (_I, _P, _I, ctypes.POINTER(ctypes.c_int64)),
    "apr_brigade_flatten": (_I, _P, _P, ctypes.POINTER(ctypes.c_size_t)),
    "apr_brigade_cleanup": (_I, _P),
    "ap_get_brigade": (_I, _P, _P, _I, _I, ctypes.c_int64),
    "ap_fflush": (_I, _P, _P),
    "ap_hook_process_connection": (None, _P, _P, _P, _I),
    "apr_hook_sort_all": (None,),
    "ap_mpm_query": (_I, _I, ctypes.POINTER(_I)),
}


class _Direct:
    """Memory that is known to be right."""

    @staticmethod
    def structure(kind, address):
        return kind.from_address(address)

    string = staticmethod(ctypes.string_at)


class _Probe:
    """Memory that may not be there: it is copied through a pipe, which a bad address fails."""

    def __init__(self):
        self._ends = os.pipe()
        self._write = ctypes.CDLL(None).write
        self._write.argtypes = (_I, _P, ctypes.c_size_t)

    def close(self):
        for end in self._ends:
            os.close(end)

    def _copy(self, address, size):
        # a pipe holds at least a page
        copied = b""
        while len(copied) < size:
            written = self._write(self._ends[1], address + len(copied), min(size, _PAGE))
            if written <= 0:
                raise Unusable("an address leads nowhere")
            copied += os.read(self._ends[0], written)
        return copied[:size]

    def structure(self, kind, address):
        return kind.from_buffer_copy(self._copy(address, ctypes.sizeof(kind)))

    def string(self, address):
        found = b""
        while len(found) < _LONGEST:
            # no further than the page, behind which there may be nothing
            at = address + len(found)
            text, end, _ = self._copy(at, _PAGE - at % _PAGE).partition(b"\0")
            found += text
            if end:
                return found
        raise Unusable("a text without an end")


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

    def __init__(self, kind, address: int, life: Life, memory=_Direct):
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
        cells = self._cells(self.get(name), 3 * _POINTER)
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
        cells = self._cells(address, _POINTER)
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
        text, lib = _S(), ctypes.CDLL(None)
        lib.apr_sockaddr_ip_get.argtypes = (ctypes.POINTER(_S), _P)
        lib.apr_sockaddr_ip_get(ctypes.byref(text), found.address)
        return (text.value or b"").decode(), found.get("port")

    def change(self, name: str, how: str, *words: bytes) -> None:
        """Change the table of a field by ``apr_table_set`` or another ``apr_table_`` function.

        :raises ValueError: for NUL in a text.
        """
        _call(how, self.get(name), *words)

    def call(self, function: str, *arguments):
        """Call one of Apache's functions that take this structure first; bytes for its text."""
        return _call(function, self.address, *arguments)

    # -- what takes its arguments in another order ---------------------------------------------

    def die(self, status: int) -> None:
        """Have Apache answer with its page, or the ErrorDocument, for a status."""
        _call("ap_die", status, self.address)

    def internal_redirect(self, uri: bytes) -> None:
        """Have Apache answer with what another address says."""
        _call("ap_internal_redirect", uri, self.address)

    def construct_url(self, uri: bytes) -> bytes:
        """Return the full address of a path on this server."""
        return _call("ap_construct_url", self.get("pool"), uri, self.address)

    def log(self, function: str, level: int, message: bytes) -> None:
        """Write to the error log by ``ap_log_rerror_`` or another of these functions."""
        message = message.replace(b"\0", rb"\0")
        _call(function, b"mod_python", 0, -1, level, 0, self.address, b"%s", message)

    def basic_password(self) -> tuple[int, bytes | None]:
        """Return what ``ap_get_basic_auth_pw`` returns, and the password."""
        password = _S()
        return self.call("ap_get_basic_auth_pw", ctypes.byref(password)), password.value

    def remote_host(self, kind: int) -> tuple[bytes | None, int]:
        """Return the client's name or address, and whether it is an address."""
        is_ip = _I()
        name = _call(
            "ap_get_remote_host",
            self.get("connection"),
            self.get("per_dir_config"),
            kind,
            ctypes.byref(is_ip),
        )
        return name, is_ip.value

    def allow(self, reset: int, methods: list[bytes]) -> None:
        """Name the methods that Apache says are allowed."""
        allow = _functions()["ap_allow_methods"]
        end = _P(None)
        for method in methods or [None]:
            allow(_P(self.address), _I(reset), *([_S(method)] if method else []), end)
            reset = 0


_found: dict = {}
# why the structures are not read in this process; empty if they are
_verdict: list[str] = []


def _functions() -> dict:
    """Return Apache's functions by their names.

    :raises Unusable: if httpd lacks one.
    """
    if not _found:
        # symbols of data have their right address there alone
        lib = ctypes.CDLL(None)
        try:
            found = {name: getattr(lib, name) for name in _SIGNATURES}
            found["ap_allow_methods"] = lib.ap_allow_methods
        except AttributeError as error:
            raise Unusable(f"this httpd lacks a function: {error}") from None
        for name, (result, *arguments) in _SIGNATURES.items():
            found[name].restype, found[name].argtypes = result, arguments
        found["ap_allow_methods"].restype = None
        _found.update(found)
    return _found


def _call(name, *arguments):
    for argument in arguments:
        if argument.__class__ is bytes and b"\0" in argument:
            raise ValueError("embedded null byte")
    return _functions()[name](*arguments)


def check_process() -> None:
    """Go on if this process is an httpd whose layout is declared here.

    :raises Unusable: otherwise.
    """
    try:
        module = Module.in_dll(ctypes.CDLL(None), "core_module")
    except ValueError:
        raise Unusable("this process is no httpd") from None
    check_magic(module.version)
    _functions()


def check_magic(version: int) -> None:
    """Go on if this major magic number is the one whose layout is declared here.

    :raises Unusable: otherwise.
    """
    if version != MAGIC:
        raise Unusable(f"its module magic number is {version}, not {MAGIC}")
    if _POINTER != 8:
        raise Unusable("the layout was measured on 64-bit systems only")


def query_generation() -> int:
    """Return how often httpd was restarted since its start."""
    generation = _I()
    # AP_MPMQ_GENERATION
    _call("ap_mpm_query", 15, ctypes.byref(generation))
    return generation.value


def restart_time() -> int:
    """Return when httpd was started or restarted last, in microseconds since 1970.

    :raises Unusable: if the scoreboard is not laid out as it is declared here.
    """
    board = ctypes.c_void_p.in_dll(ctypes.CDLL(None), "ap_scoreboard_image").value
    score = Score.from_address(ctypes.c_void_p.from_address(board).value)
    if score.generation != query_generation():
        raise Unusable("the scoreboard has another layout")
    return score.restart_time


def open_request(environ: dict, check) -> Record:
    """Return the request_rec of the request that *environ* describes.

    :param check: is called once in a process, with a record and the environment, and raises
        Unusable if the two differ.
    :raises Unusable: if there is none, or it cannot be read in this process.
    """
    capsule = environ.get("apache.request_rec")
    if capsule is None:
        if environ.get("mod_wsgi.process_group"):
            raise Unusable("a daemon process has no structures of Apache's")
        raise Unusable("WSGIPassApacheRequest On does not hold")
    address = _address(capsule)
    if not _verdict:
        _verdict.append(_fault(RequestRec, address, lambda found: check(found, environ)))
    if _verdict[0]:
        raise Unusable(_verdict[0])
    return Record(RequestRec, address, Life())


def _address(capsule) -> int:
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = _P, (ctypes.py_object, _S)
    try:
        return get(capsule, None)
    except (ValueError, TypeError) as error:
        raise Unusable(f"apache.request_rec is no address: {error}") from None


def _fault(kind, address: int, check) -> str:
    """Return why the structures of this process cannot be read, empty if they can."""
    probe = _Probe()
    try:
        check_process()
        check(Record(kind, address, Life(), probe))
    except Unusable as error:
        return str(error)
    finally:
        probe.close()
    return ""


class Stream:
    """The bytes of a connection, below HTTP.

    :param connection: its conn_rec.
    """

    # APR_EOF
    _END = 70014

    def __init__(self, connection: Record):
        self._connection = connection
        allocator = connection.get("bucket_alloc")
        self._brigade = _call("apr_brigade_create", connection.get("pool"), allocator)
        self._rest = b""

    def read(self, size: int, by_line: bool = False) -> bytes:
        """Return up to *size* bytes, at least one, or as many of a line; nothing at the end.

        :raises OSError: if the connection fails, or nothing comes within Apache's Timeout.
        """
        if not self._rest:
            self._rest = self._received(size, by_line)
        end = self._rest.find(b"\n") + 1 if by_line else 0
        end = min(end or size, size)
        block, self._rest = self._rest[:end], self._rest[end:]
        return block

    def _received(self, size, by_line):
        chain, mode = self._connection.get("input_filters"), int(by_line)
        status = _call("ap_get_brigade", chain, self._brigade, mode, 0, size)
        if status == self._END:
            return b""
        if status:
            raise OSError(status, "the connection can't be read")
        # a line may be longer than what was asked for
        length = ctypes.c_int64()
        _call("apr_brigade_length", self._brigade, 1, ctypes.byref(length))
        room, taken = ctypes.create_string_buffer(length.value), ctypes.c_size_t(length.value)
        _call("apr_brigade_flatten", self._brigade, room, ctypes.byref(taken))
        _call("apr_brigade_cleanup", self._brigade)
        return room.raw[: taken.value]

    def write(self, data: bytes) -> None:
        """Send *data* at once.

        :raises OSError: if the client has gone.
        """
        chain = self._connection.get("output_filters")
        _functions()["apr_brigade_write"](self._brigade, None, None, data, len(data))
        status = _call("ap_fflush", chain, self._brigade)
        _call("apr_brigade_cleanup", self._brigade)
        if status:
            raise OSError(status, "the connection can't be written to")


# what Apache calls must not be collected
_hooks: list = []


def hook_connections(answer, check) -> None:
    """Have *answer* called with the conn_rec of each connection, before HTTP is spoken on it.

    Apache calls it in the main interpreter, so this is for that one alone; it is for the start of a
    child. A second call puts another function in the place of the first one's.

    :param answer: returns OK, and the connection is closed, or DECLINED, and it goes on.
    :param check: is called once with a conn_rec, and raises Unusable if it can't be one.
    :raises Unusable: if it can't be done in this process.
    """
    check_process()
    functions = _functions()
    verdict: list[str] = []

    def process(address):
        if not verdict:
            verdict.append(_fault(ConnRec, address, check))
        life = Life()
        try:
            return answer(Record(ConnRec, address, life) if not verdict[0] else None, verdict[0])
        finally:
            life.end()

    if _hooks:
        _hooks[0] = process
        return
    _hooks.append(process)
    called = ctypes.CFUNCTYPE(_I, _P)(lambda address: _hooks[0](address))
    _hooks.append(called)
    # APR_HOOK_MIDDLE, which is before mod_http
    functions["ap_hook_process_connection"](called, None, None, 10)
    functions["apr_hook_sort_all"]()
