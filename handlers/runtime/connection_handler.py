"""PythonConnectionHandler: handlers that speak with a client themselves, below HTTP.

``modpython-handlers convert --request-rec`` writes the script that calls :func:`serve` at the start
of a child and guards the HTTP of the same ports. It has to run in the main interpreter, since that
is the one in which Apache calls. A handler gets the connection and returns ``OK``, and Apache
closes it, or ``DECLINED``, and Apache goes on with HTTP::

    def connectionhandler(connection):
        connection.write("you said " + connection.readline().decode())
        return apache.OK
"""

import ctypes
import ipaddress
import logging

from handlers import faults

from . import importer
from .apache_objects import ApacheConnection
from .constants import DECLINED, OK
from .dispatch import SERVER_RETURN, find_handler
from .httpd_abi import ConnRec, ServerRec, Unusable, call, check_process, functions
from .log import route_to_apache
from .request_rec import Life, Record, fault_of

_PHASE = "PythonConnectionHandler"
_BLOCK = 8192
_OF_ALL = ("*", "_default_", "")
_logger = logging.getLogger(__name__)
# what Apache calls must not be collected
_hooks: list = []


class Stream:
    """The bytes of a connection, below HTTP.

    :param connection: its conn_rec.
    """

    # APR_EOF
    _END = 70014

    def __init__(self, connection: Record):
        self._connection = connection
        allocator = connection.get("bucket_alloc")
        self._brigade = call("apr_brigade_create", connection.get("pool"), allocator)
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
        status = call("ap_get_brigade", chain, self._brigade, mode, 0, size)
        if status == self._END:
            return b""
        if status:
            raise OSError(status, "the connection can't be read")
        # a line may be longer than what was asked for
        length = ctypes.c_int64()
        call("apr_brigade_length", self._brigade, 1, ctypes.byref(length))
        room, taken = ctypes.create_string_buffer(length.value), ctypes.c_size_t(length.value)
        call("apr_brigade_flatten", self._brigade, room, ctypes.byref(taken))
        call("apr_brigade_cleanup", self._brigade)
        return room.raw[: taken.value]

    def write(self, data: bytes) -> None:
        """Send *data* at once.

        :raises OSError: if the client has gone.
        """
        chain = self._connection.get("output_filters")
        functions()["apr_brigade_write"](self._brigade, None, None, data, len(data))
        status = call("ap_fflush", chain, self._brigade)
        call("apr_brigade_cleanup", self._brigade)
        if status:
            raise OSError(status, "the connection can't be written to")


class HandledConnection(ApacheConnection):
    """A connection with the bytes that go over it."""

    __slots__ = ("_stream",)

    def __init__(self, record: Record, environ: dict):
        super().__init__(record, environ, None)
        self._stream = Stream(record)

    def read(self, length: int = -1) -> bytes:
        """Return up to *length* bytes, at least one unless the client has ended; all without it.

        :raises OSError: if the connection fails.
        """
        if length >= 0:
            return self._stream.read(min(length, 1 << 20)) if length else b""
        blocks = []
        while block := self._stream.read(_BLOCK):
            blocks.append(block)
        return b"".join(blocks)

    def readline(self, length: int = 0) -> bytes:
        """Return the next line, or its first *length* bytes; empty when the client has ended.

        :raises OSError: if the connection fails.
        """
        return self._stream.read(length or _BLOCK, by_line=True)

    def write(self, data: str | bytes) -> None:
        """Send *data* at once; str goes out as UTF-8.

        :raises OSError: if the client has gone.
        """
        self._stream.write(data.encode() if isinstance(data, str) else bytes(data))


HandledConnection.__name__ = HandledConnection.__qualname__ = "mp_conn"
HandledConnection.__module__ = "builtins"


def serve(places: list[dict]) -> bool:
    """Let handlers answer the connections of some places; tell whether they do.

    :param places: for each a dict: ``addresses``, those of its virtual host, none for the server
        itself; ``set``, variables named as the directives; ``directory``, where modules are looked
        for.
    """
    route_to_apache()
    try:
        hook_connections(lambda *found: _answer(places, *found), check)
    except Unusable as error:
        _logger.error("%s does not work, its ports are closed: %s", _PHASE, error)
        return False
    return True


def hook_connections(answer, check) -> None:
    """Have *answer* called with the conn_rec of each connection, before HTTP is spoken on it.

    Apache calls it in the main interpreter, so this is for that one alone; it is for the start of a
    child. A second call puts another function in the place of the first one's.

    :param answer: returns OK, and the connection is closed, or DECLINED, and it goes on.
    :param check: is called once with a conn_rec, and raises Unusable if it can't be one.
    :raises Unusable: if it can't be done in this process.
    """
    check_process()
    verdict: list[str] = []

    def process(address):
        if not verdict:
            verdict.append(fault_of(ConnRec, address, check))
        life = Life()
        try:
            return answer(Record(ConnRec, address, life) if not verdict[0] else None, verdict[0])
        finally:
            life.end()

    if _hooks:
        _hooks[0] = process
        return
    _hooks.append(process)
    called = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(lambda address: _hooks[0](address))
    _hooks.append(called)
    # APR_HOOK_MIDDLE, which is before mod_http
    functions()["ap_hook_process_connection"](called, None, None, 10)
    functions()["apr_hook_sort_all"]()


def check(connection: Record) -> None:
    """Go on if this can be a conn_rec.

    :raises Unusable: otherwise.
    """
    server = connection.follow("base_server", ServerRec)
    if server is None or not connection.get("bucket_alloc") or not connection.get("pool"):
        raise Unusable("conn_rec has no server")
    for name in ("client_ip", "local_ip"):
        try:
            ipaddress.ip_address((connection.text(name) or b"").decode().partition("%")[0])
        except ValueError:
            raise Unusable(f"{name} is no address") from None
    if not server.text("server_hostname") or connection.get("aborted") not in (0, 1):
        raise Unusable("conn_rec has no server with a name")
    connection.rows("notes")


def _answer(places, record: Record | None, fault: str) -> int:
    """Answer one connection: whatever goes wrong closes it."""
    if record is None:
        faults.tell_once(_logger, logging.ERROR, f"{_PHASE} does not work: {fault}")
        return OK
    try:
        ip, port = record.socket_address("local_addr")
        for place in places:
            if _is_at(place["addresses"], ip, port):
                return _run(place, record)
        return DECLINED
    except BaseException:
        _logger.exception("%s failed", _PHASE)
        return OK


def _run(place, record):
    settings = place["set"]
    connection = HandledConnection(record, settings)
    where = importer.place_of(place.get("directory", ""), settings.get("PythonPath", ""))
    result = OK
    for spec in settings[_PHASE].split():
        try:
            result = find_handler(spec, "connectionhandler", where)(connection)
        except SERVER_RETURN as error:
            result = error.args[0] if error.args else None
        if type(result) is not int:
            raise TypeError(f"{_PHASE} {spec} returned {result!r}, which is no int")
        if result != OK:
            break
    return DECLINED if result == DECLINED else OK


def _is_at(addresses, ip, port):
    if not addresses:
        return True
    for address in addresses:
        host, colon, number = address.rpartition(":")
        if not colon or not number.isdigit():
            host, number = address, "*"
        host = host.strip("[]")
        if number not in ("*", str(port)):
            continue
        if host in _OF_ALL or host == ip:
            return True
    return False
