"""Database URLs.

::

    sqlite:///relative/path                 sqlite:////absolute/path
    mysql://user:password@host:3306/name    mysql://user@/name?unix_socket=/run/mysqld/mysqld.sock
    mysql://user:password@host1:3306,host2:3307,[::1]/name?charset=utf8mb4&ssl_ca=/etc/ssl/ca.pem
    mysql:///name?read_default_file=/etc/handlers/my.cnf

User, password, path and parameter values are percent-decoded, as in RFC 3986: a password with one
of ``: / ? # @ %`` in it must be percent-encoded.
"""

import os
import re
from dataclasses import dataclass, field
from urllib.parse import unquote, unquote_to_bytes

from handlers import kinds
from handlers.errors import Misconfigured

_PORT = 3306
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>[^#]*)")
_HOST = re.compile(
    r"(?P<host>[A-Za-z0-9_.-]+|\[(?P<address>[0-9A-Fa-f:.]+)\])(?::(?P<port>[0-9]+))?"
)
_TEXTS = {
    "charset",
    "read_default_file",
    "read_default_group",
    "ssl_ca",
    "ssl_cert",
    "ssl_key",
    "unix_socket",
}
# In any other one, sjis or gbk, the second byte of a character can be a quote or a backslash.
_CHARSETS = ("utf8mb4", "utf8", "latin1", "ascii")
_SWITCHES = {"ssl_disabled", "ssl_verify_cert", "ssl_verify_identity"}


class BadURL(Misconfigured):
    """A database URL that cannot be understood; its text never shows the password."""


@dataclass(frozen=True)
class URL:
    """A database URL, taken apart; ``str()`` gives it back without the password.

    :ivar scheme: ``sqlite`` or ``mysql``.
    :ivar path: absolute path of the SQLite file, empty for MySQL.
    :ivar hosts: (host, port) in the order in which they are tried; empty for a unix socket or a
        host that ``read_default_file`` names.
    :ivar parameters: what PyMySQL's ``connect`` gets by the same names.
    """

    scheme: str
    path: str = ""
    hosts: tuple[tuple[str, int], ...] = ()
    user: str = ""
    password: str = field(default="", repr=False)
    name: str = ""
    parameters: dict[str, str | bool] = field(default_factory=dict)

    def arguments(self, host: tuple[str, int] | None) -> dict[str, object]:
        """Return the arguments of PyMySQL's ``connect`` for one of the hosts, without its options.

        :param host: (host, port), or None for the unix socket or what ``read_default_file`` says.
        """
        arguments = {"charset": "utf8mb4", **self.parameters}
        if host is not None:
            arguments["host"], arguments["port"] = host
        if "unix_socket" in arguments and not any(name.startswith("ssl") for name in arguments):
            arguments["ssl_disabled"] = True
        # PyMySQL would take the file and then not look at the server's certificate.
        if "ssl_ca" in arguments:
            arguments.setdefault("ssl_verify_cert", True)
        # PyMySQL encodes text as Latin-1, servers expect UTF-8
        return {
            "user": self.user or None,
            "password": self.password.encode(),
            "database": self.name or None,
            **arguments,
        }

    def __str__(self):
        if self.scheme == "sqlite":
            return f"sqlite://{'/' + self.path}"
        where = ",".join(_host_text(host, port) for host, port in self.hosts)
        text = f"mysql://{self.user + '@' if self.user else ''}{where}/{self.name}"
        place = "unix_socket" if "unix_socket" in self.parameters else "read_default_file"
        if not where and place in self.parameters:
            text += f"?{place}={self.parameters[place]}"
        return text


def holds_password(url: str) -> bool:
    """Tell whether the text of a database URL holds a password."""
    credentials, at, _ = url.partition("@")
    return bool(at) and ":" in credentials.partition("://")[2]


def parse(text: str) -> URL:
    """Take the database URL *text* apart.

    :raises BadURL: for a scheme, host, port or parameter that is not known or makes no sense.
    """
    match = _URL.fullmatch(text.strip())
    # an @ further on: a / or ? of the password was taken for the end of the hosts
    if match is None or ("@" in match["rest"] and "@" not in match["authority"]):
        raise BadURL(
            "the database URL must look like sqlite:////path/to/file or "
            "mysql://user:password@host:3306/name (percent-encode : / ? # @ % in the password)"
        )
    scheme = match["scheme"].lower()
    path, _, query = match["rest"].partition("?")
    if scheme == "sqlite":
        return _sqlite(match["authority"], path, query)
    if scheme == "mysql":
        return _mysql(match["authority"], path, query)
    raise BadURL(f"the database URL's scheme {scheme!r} is unknown: use sqlite or mysql")


def _sqlite(authority: str, path: str, query: str) -> URL:
    if authority:
        raise BadURL("an sqlite URL has three slashes and a path, or four and an absolute path")
    if query:
        raise BadURL("an sqlite URL takes no parameters")
    path = os.fsdecode(unquote_to_bytes(path[1:]))
    if not path or "\0" in path or path == ":memory:":
        raise BadURL("an sqlite URL must name a file, as in sqlite:////path/to/file")
    return URL("sqlite", path=os.path.abspath(path))


def _mysql(authority: str, path: str, query: str) -> URL:
    account, _, hosts = authority.rpartition("@")
    user, _, password = account.partition(":")
    parameters = _parameters(query)
    url = URL(
        "mysql",
        hosts=_hosts(hosts),
        user=unquote(user),
        password=unquote(password),
        name=unquote(path[1:]),
        parameters=parameters,
    )
    if url.hosts and "unix_socket" in parameters:
        raise BadURL("a mysql URL names either hosts or a unix_socket")
    if "read_default_file" not in parameters:
        if not url.name:
            raise BadURL("the mysql URL names no database: add /name")
        if not url.hosts and "unix_socket" not in parameters:
            raise BadURL("the mysql URL names neither a host nor a unix_socket")
    return url


def _hosts(text: str) -> tuple[tuple[str, int], ...]:
    hosts = []
    for part in text.split(",") if text else ():
        match = _HOST.fullmatch(part)
        port = int(match["port"] or _PORT) if match else 0
        # What stands here may be half a password, so it is not shown.
        if not 0 < port < 65536:
            raise BadURL(
                "a host of the mysql URL is not host or host:port (percent-encode : / ? # @ % "
                "in the password)"
            )
        hosts.append((match["address"] or match["host"], port))
    return tuple(hosts)


def _parameters(query: str) -> dict[str, str | bool]:
    parameters: dict[str, str | bool] = {}
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        value = unquote(value)
        if name not in _TEXTS | _SWITCHES:
            known = ", ".join(sorted(_TEXTS | _SWITCHES))
            shown = name if re.fullmatch(r"\w{1,40}", name) else "with a strange name"
            raise BadURL(f"the mysql URL's parameter {shown} is unknown: there are {known}")
        if name in parameters:
            raise BadURL(f"the mysql URL's parameter {name} is given twice")
        if not value:
            raise BadURL(f"the mysql URL's parameter {name} has no value")
        if name in _SWITCHES:
            try:
                parameters[name] = kinds.flag(value)
            except ValueError:
                raise BadURL(f"the mysql URL's parameter {name} is neither on nor off") from None
        else:
            parameters[name] = value.lower() if name == "charset" else value
    if parameters.get("charset", "utf8mb4") not in _CHARSETS:
        raise BadURL(f"the mysql URL's charset must be one of {', '.join(_CHARSETS)}")
    return parameters


def _host_text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
