"""req.connection, as far as the WSGI environment tells of it."""

from . import global_locks
from .constants import (
    AP_CONN_CLOSE,
    AP_CONN_KEEPALIVE,
    AP_CONN_UNKNOWN,
    AP_MPMQ_MAX_THREADS,
    APLOG_ERR,
)
from .log import log_error
from .server_configuration import mpm_query
from .table import Table


def address(environ: dict, ip: str, port: str) -> tuple[str, int]:
    """Return (ip, port) from the variables *ip* and *port* of the environment.

    :raises AttributeError: if the server did not say.
    """
    try:
        return environ[ip], int(environ[port])
    except (KeyError, ValueError):
        raise AttributeError(f"the server does not tell {ip} and {port}") from None


def told(environ: dict, name: str) -> str:
    """Return a variable of the environment; its absence is an absent attribute."""
    try:
        return environ[name]
    except KeyError:
        raise AttributeError(f"the server does not tell {name}") from None


class Connection:
    """The client's connection.

    Under mod_remoteip the client's address is the one that the proxy told, in all four members:
    the WSGI environment has no other.

    :ivar double_reverse: 0, as no name is looked up twice.
    """

    __slots__ = ("_environ", "_keepalive", "_request", "notes")

    double_reverse = 0

    def __init__(self, environ: dict, request):
        self._environ = environ
        self._request = request
        self._keepalive = None
        self.notes = Table()

    @property
    def client_ip(self) -> str:
        """Address of the client."""
        return told(self._environ, "REMOTE_ADDR")

    @property
    def client_addr(self) -> tuple[str, int]:
        """Address and port of the client."""
        return address(self._environ, "REMOTE_ADDR", "REMOTE_PORT")

    remote_ip = client_ip
    remote_addr = client_addr

    @property
    def local_ip(self) -> str:
        """Address that the client connected to."""
        return told(self._environ, "SERVER_ADDR")

    @property
    def local_addr(self) -> tuple[str, int]:
        """Address and port that the client connected to."""
        return address(self._environ, "SERVER_ADDR", "mod_wsgi.listener_port")

    @property
    def remote_host(self) -> str | None:
        """Name of the client where the server looks names up, else None."""
        return self._environ.get("REMOTE_HOST")

    @property
    def remote_logname(self) -> str | None:
        """Name of the user by RFC 1413 where the server asks for it, else None."""
        return self._environ.get("REMOTE_IDENT")

    @property
    def local_host(self) -> None:
        """None: Apache looks up no name of its own address."""
        return None

    @property
    def aborted(self) -> int:
        """1 once a write has found that the client closed the connection, else 0."""
        return int(self._request.client_gone())

    @property
    def keepalive(self) -> int:
        """One of ``AP_CONN_*``: unknown until the headers are out, then as the client asked for."""
        if self._keepalive is not None:
            return self._keepalive
        if not self._request.started():
            return AP_CONN_UNKNOWN
        wish = self._environ.get("HTTP_CONNECTION", "").lower()
        stays = self._request.proto_num >= 1001 and self._request.server.keep_alive
        return AP_CONN_KEEPALIVE if stays and "close" not in wish else AP_CONN_CLOSE

    @keepalive.setter
    def keepalive(self, value: int):
        self._keepalive = value

    @property
    def keepalives(self) -> int:
        """1 once this request leaves the connection open, else 0; others are not counted."""
        return int(self.keepalive == AP_CONN_KEEPALIVE)

    @property
    def id(self) -> int:
        """A number that no other open connection has: that of the thread which serves it."""
        own = global_locks.process_number(self._request.server.get_options())
        threads = mpm_query(AP_MPMQ_MAX_THREADS)
        return own * threads + int(self._environ.get("mod_wsgi.thread_id", 0)) % threads

    @property
    def base_server(self):
        """The server that the connection came to, before the client had named a host."""
        return self._request.server.of_connection()

    def log_error(self, message: str, level: int = APLOG_ERR) -> None:
        """Write *message* to the error log at one of the ``APLOG_*`` levels."""
        log_error(message, level)


# as real mod_python names its type
Connection.__name__ = Connection.__qualname__ = "mp_conn"
Connection.__module__ = "builtins"
