"""req.connection and req.server, as far as the WSGI environment tells of them."""

import threading

from .constants import AP_CONN_UNKNOWN, APLOG_ERR
from .log import log_error
from .options import get_config, get_options, of_server
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

    :ivar keepalive: one of ``AP_CONN_*``; unknown, as Apache decides it when it sends headers.
    :ivar double_reverse: 0, as no name is looked up twice.
    """

    __slots__ = ("_environ", "_request", "keepalive", "notes")

    double_reverse = 0

    def __init__(self, environ: dict, request):
        self._environ = environ
        self._request = request
        self.keepalive = AP_CONN_UNKNOWN
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
    def id(self) -> int:
        """A number that no other open connection has: that of the thread that serves it."""
        return threading.get_native_id()

    @property
    def base_server(self) -> "Server":
        """The server that the connection came to: that of the request."""
        return self._request.server

    def log_error(self, message: str, level: int = APLOG_ERR) -> None:
        """Write *message* to the error log at one of the ``APLOG_*`` levels."""
        log_error(message, level)


# as real mod_python names its type
Connection.__name__ = Connection.__qualname__ = "mp_conn"
Connection.__module__ = "builtins"


class Server:
    """The virtual host."""

    __slots__ = ("_environ", "_register_cleanup")

    def __init__(self, environ: dict, register_cleanup):
        self._environ = environ
        self._register_cleanup = register_cleanup

    @property
    def server_hostname(self) -> str:
        """SERVER_NAME; under ``UseCanonicalName Off`` that is the name the client asked for."""
        return told(self._environ, "SERVER_NAME")

    @property
    def server_admin(self) -> str:
        """ServerAdmin's value."""
        return told(self._environ, "SERVER_ADMIN")

    @property
    def port(self) -> int:
        """Port that the request came in by; mod_python gives that of ServerName, or 0."""
        port = self._environ.get("mod_wsgi.listener_port") or told(self._environ, "SERVER_PORT")
        return int(port)

    def get_options(self) -> Table:
        """Return PythonOption of the virtual host; see :func:`handlers.runtime.options.of_server`.

        Without those variables it is as the request sees it: Apache has merged the levels already.
        """
        return get_options(of_server(self._environ))

    def get_config(self) -> Table:
        """Return the directives of the virtual host, as :meth:`get_options` does."""
        return get_config(of_server(self._environ))

    def log_error(self, message: str, level: int = APLOG_ERR) -> None:
        """Write *message* to the error log at one of the ``APLOG_*`` levels."""
        log_error(message, level)

    def register_cleanup(self, request, callable, data=None) -> None:
        """Call ``callable(data)`` when this process ends."""
        self._register_cleanup(callable, data)


# as real mod_python names its type
Server.__name__ = Server.__qualname__ = "mp_server"
Server.__module__ = "builtins"
