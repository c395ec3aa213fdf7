"""req.server and apache.main_server: what the WSGI environment tells, and httpd's own files."""

import contextlib

from . import server_configuration as httpd
from .connection import told
from .constants import APLOG_DEBUG, APLOG_ERR, APLOG_WARNING
from .log import log_error
from .options import get_config, get_options, is_directive, of_server
from .process import register_cleanup
from .table import Table
from .variables import bare_host

_LEVELS = ("emerg", "alert", "crit", "error", "warn", "notice", "info", "debug")


class _Setting:
    """A member of a server that one directive sets, there or outside of all virtual hosts."""

    def __init__(self, doc: str, directive: str, default, convert):
        self.__doc__ = doc
        self._directive = directive
        self._default = default
        self._convert = convert

    def __get__(self, server, owner=None):
        if server is None:
            return self
        for host in _own_first(server.host()):
            words = [words for words in host.words(self._directive) if words]
            if words:
                return self._convert(words[-1])
        return self._default


def main_host() -> httpd.Host:
    """Return the main server, as httpd's files describe it outside of all virtual hosts.

    :raises AttributeError: if they cannot be read.
    """
    try:
        return httpd.main_host()
    except OSError as error:
        raise AttributeError(f"httpd's files can't be read: {error}") from error


def _own_first(host: httpd.Host) -> list[httpd.Host]:
    main = main_host()
    return [host] if host is main else [host, main]


def _number(words):
    return int(words[0])


def _seconds(words):
    number, is_short = words[0].lower().removesuffix("s"), words[0].lower().endswith("ms")
    return float(number.removesuffix("m")) / (1000 if is_short else 1)


def _level(words):
    for word in words:
        if word.lower() in _LEVELS:
            return _LEVELS.index(word.lower())
        if word.lower().startswith("trace"):
            return APLOG_DEBUG
    return APLOG_WARNING


class Server:
    """A virtual host, or the server outside of all.

    What the environment of the request does not tell is read from httpd's files: AttributeError if
    Apache's user may not read them.

    :param environ: that of a request; without one all is read from httpd's files.
    :param host: what they say of it; looked for when it is needed, if not given.
    """

    error_fname = _Setting(
        "ErrorLog's value.", "errorlog", "logs/error_log", lambda words: words[0]
    )
    loglevel = _Setting("LogLevel as one of ``APLOG_*``.", "loglevel", APLOG_WARNING, _level)
    timeout = _Setting("Timeout in seconds.", "timeout", 60.0, _seconds)
    keep_alive_timeout = _Setting("In seconds.", "keepalivetimeout", 5.0, _seconds)
    keep_alive_max = _Setting("MaxKeepAliveRequests.", "maxkeepaliverequests", 100, _number)
    keep_alive = _Setting(
        "1 if connections stay open.", "keepalive", 1, lambda words: int(words[0].lower() != "off")
    )
    limit_req_line = _Setting("LimitRequestLine.", "limitrequestline", 8190, _number)
    limit_req_fieldsize = _Setting("LimitRequestFieldSize.", "limitrequestfieldsize", 8190, _number)
    limit_req_fields = _Setting("LimitRequestFields.", "limitrequestfields", 100, _number)

    def __init__(self, environ: dict | None = None, host: httpd.Host | None = None):
        self._environ = environ or {}
        self._host = host
        self._options: Table | None = None

    def host(self) -> httpd.Host:
        """Return what httpd's files say of it.

        :raises AttributeError: if they cannot be read.
        """
        if self._host is None:
            self._host = self._found()
        return self._host

    def _found(self):
        main = main_host()
        if not self._environ:
            return main
        name = bare_host(self._environ.get("HTTP_HOST")) or self._environ.get("SERVER_NAME", "")
        hosts = self._virtual_hosts()
        return next((host for host in hosts if host.answers_to(name)), (hosts or [main])[0])

    def _virtual_hosts(self):
        ip, port = self._environ.get("SERVER_ADDR", ""), self._environ.get("mod_wsgi.listener_port")
        return httpd.virtual_hosts(ip, port or self._environ.get("SERVER_PORT", ""))

    def of_connection(self) -> "Server":
        """Return the server that answers on this address where no virtual host has the name."""
        with contextlib.suppress(OSError):
            hosts = self._virtual_hosts() if self._environ else []
            if not hosts:
                return main_server
            return Server(host=hosts[0])
        return self

    @property
    def server_hostname(self) -> str:
        """SERVER_NAME; under ``UseCanonicalName Off`` that is the name the client asked for."""
        if self._environ:
            return told(self._environ, "SERVER_NAME")
        return self._said("servername", "localhost").rpartition("//")[2].partition(":")[0]

    @property
    def server_admin(self) -> str:
        """ServerAdmin's value."""
        if self._environ:
            return told(self._environ, "SERVER_ADMIN")
        return self._said("serveradmin", "[no address given]")

    @property
    def port(self) -> int:
        """Port that the request came in by; mod_python gives that of ServerName, or 0."""
        if self._environ:
            port = self._environ.get("mod_wsgi.listener_port")
            return int(port or told(self._environ, "SERVER_PORT"))
        return int(self._said("servername", "").rpartition("//")[2].partition(":")[2] or 0)

    def _said(self, directive, default):
        words = [words for words in self.host().words(directive) if words]
        return words[-1][0] if words else default

    @property
    def is_virtual(self) -> int:
        """1 for a virtual host, else 0."""
        return int(bool(self.host().file))

    @property
    def defn_name(self) -> str | None:
        """The file that begins the virtual host, None for the server outside of all."""
        return self.host().file or None

    @property
    def defn_line_number(self) -> int:
        """The line of that file, 0 for the server outside of all virtual hosts."""
        return self.host().line

    @property
    def path(self) -> str | None:
        """ServerPath's value, None for none."""
        words = self.host().words("serverpath")
        return words[-1][0] if words else None

    @property
    def pathlen(self) -> int:
        """The length of ``path``."""
        return len(self.path or "")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of ServerAlias that have no wildcard."""
        return tuple(name for name in self._aliases() if not set("*?") & set(name))

    @property
    def wild_names(self) -> tuple[str, ...]:
        """The names of ServerAlias that have a wildcard."""
        return tuple(name for name in self._aliases() if set("*?") & set(name))

    def _aliases(self):
        return [name for words in self.host().words("serveralias") for name in words]

    def get_options(self) -> Table:
        """Return PythonOption of the virtual host; see :func:`handlers.runtime.options.of_server`.

        Without those variables it is as the request sees it: Apache has merged the levels already.
        What is changed in the options of a server that no request tells of stays changed.
        """
        if self._environ:
            return get_options(of_server(self._environ))
        if self._options is None:
            self._options = get_options(self._variables())
        return self._options

    def get_config(self) -> Table:
        """Return the directives of the virtual host, as :meth:`get_options` does."""
        return get_config(of_server(self._environ) if self._environ else self._variables())

    def _variables(self):
        found: dict[str, str] = {}
        with contextlib.suppress(AttributeError):
            for host in reversed(_own_first(self.host())):
                for words in host.words("setenv"):
                    if words and is_directive(words[0]):
                        found[words[0]] = (words[1:] or [""])[0]
        return found

    def log_error(self, message: str, level: int = APLOG_ERR) -> None:
        """Write *message* to the error log at one of the ``APLOG_*`` levels."""
        log_error(message, level)

    def register_cleanup(self, request, callable, data=None) -> None:
        """Call ``callable(data)`` when this process ends."""
        register_cleanup(callable, data)


# as real mod_python names its type
Server.__name__ = Server.__qualname__ = "mp_server"
Server.__module__ = "builtins"

#: The server outside of all virtual hosts.
main_server = Server()
