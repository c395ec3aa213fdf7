"""Connections to MySQL and MariaDB, by PyMySQL."""

import configparser
import contextlib
import datetime
import re
import socket
import ssl
import struct
from collections.abc import Iterator, Mapping, Sequence

import pymysql
from pymysql.constants import CLIENT, CR, ER, FIELD_TYPE
from pymysql.converters import conversions
from pymysql.cursors import SSCursor

from .errors import (
    URL_WORDS,
    Contended,
    DatabaseAway,
    DatabaseMisconfigured,
    Duplicate,
    Lost,
    ReadOnly,
    TooLarge,
)
from .hosts import Hosts
from .text import percent_style, storable
from .url import URL

# what a server answers to an account that may not do what it asks for
DENIED = {ER.TABLEACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR, ER.SPECIFIC_ACCESS_DENIED_ERROR}
COLUMN_DENIED = ER.COLUMNACCESS_DENIED_ERROR
# errors of MariaDB and newer MySQL that PyMySQL has no names for
_ACCESS_DENIED_NO_PASSWORD = 1698
_READ_ONLY_TRANSACTION = 1792
_READ_ONLY_MODE = 1836
_READ_ONLY_INNODB = 1874
_CONNECTION_KILLED = 1927
_SESSION_KILLED = 3169
_DISCONNECTED_WHEN_IDLE = 4031
_OFFLINE_MODE = 3032
# a node of Galera that has lost the others
_NOT_PREPARED = 1047
_VARIABLES = (
    "SELECT @@global.read_only, @@innodb_read_only, @@max_allowed_packet",
    # a server without InnoDB
    "SELECT @@global.read_only, 0, @@max_allowed_packet",
)
# the id's characters do not exist in the column's character set
_INCOMPARABLE = {ER.CANT_AGGREGATE_2COLLATIONS, ER.INVALID_CHARACTER_STRING}
_ACCOUNT = {
    ER.ACCESS_DENIED_ERROR,
    ER.BAD_DB_ERROR,
    ER.DBACCESS_DENIED_ERROR,
    ER.NO_DB_ERROR,
    _ACCESS_DENIED_NO_PASSWORD,
}
_MISSING = {ER.NO_SUCH_TABLE: "table", ER.BAD_FIELD_ERROR: "column"}
_REFUSALS = DENIED | {
    CR.CR_AUTH_PLUGIN_CANNOT_LOAD,
    CR.CR_SSL_CONNECTION_ERROR,
    CR.CR_UNKNOWN_HOST,
    ER.ACCESS_DENIED_ERROR,
    ER.BAD_DB_ERROR,
    ER.BAD_FIELD_ERROR,
    ER.COLUMNACCESS_DENIED_ERROR,
    ER.HOST_NOT_PRIVILEGED,
    ER.NON_UNIQ_ERROR,
    ER.NO_DB_ERROR,
    ER.NO_SUCH_TABLE,
    ER.PARSE_ERROR,
    ER.SYNTAX_ERROR,
    ER.UNKNOWN_CHARACTER_SET,
    ER.UNKNOWN_TABLE,
    ER.VIEW_INVALID,
    _ACCESS_DENIED_NO_PASSWORD,
}
_LOST = {
    0,
    CR.CR_SERVER_GONE_ERROR,
    CR.CR_SERVER_LOST,
    ER.SERVER_SHUTDOWN,
    _CONNECTION_KILLED,
    _DISCONNECTED_WHEN_IDLE,
    _SESSION_KILLED,
}
_READ_ONLY = {
    ER.OPEN_AS_READONLY,
    _NOT_PREPARED,
    _OFFLINE_MODE,
    _READ_ONLY_INNODB,
    _READ_ONLY_MODE,
    _READ_ONLY_TRANSACTION,
}
_CONTENDED = {ER.LOCK_DEADLOCK, ER.LOCK_WAIT_TIMEOUT}
_TOO_LARGE = {ER.NET_PACKET_TOO_LARGE, ER.DATA_TOO_LONG}
# a BIT comes as bytes, which would look like text
_CONVERSIONS = {**conversions, FIELD_TYPE.BIT: lambda data: int.from_bytes(data, "big")}
# PyMySQL names the plugin as text, bytes, or its own method for it
_PLUGIN = re.compile(r"plugin '(?:b')?([\w.-]+)'|for (\w+?)(?:_password)?(?: or| auth|$)")
_PACKAGE = re.compile(r"'(\w+)' package is required")


class Connection:
    """A connection to one host, in autocommit mode; one thread at a time may use it.

    :cvar trusted: seconds after its use for which :meth:`alive` need not be asked.
    :ivar read_only: whether the server takes no changes; only asked with *ask_variables*.
    :ivar max_packet: bytes of the longest statement that the server takes, 0 if it was not asked.
    :param host: (host, port), or None for the unix socket or what ``read_default_file`` says.
    :param connect_timeout: seconds to wait for the host to take the connection.
    :param timeout: seconds to wait for the next part of an answer.
    :param ask_variables: ask for :attr:`read_only` and :attr:`max_packet`.
    :param found_rows: count rows that an UPDATE finds, and not only those that it changes.
    :param statements: to run before anything else.
    :raises DatabaseAway: if the host does not take the connection.
    :raises DatabaseMisconfigured: if it refuses the account or the database's name.
    """

    trusted = 1.0

    def __init__(
        self,
        url: URL,
        host: tuple[str, int] | None,
        connect_timeout: float,
        timeout: float,
        *,
        ask_variables: bool = False,
        found_rows: bool = False,
        statements: Sequence[str] = (),
    ):
        self.read_only = False
        self.max_packet = 0
        self._ask_variables = ask_variables
        arguments = url.arguments(host)
        with translating_errors():
            _check(arguments)
            self._connection = pymysql.connect(
                connect_timeout=connect_timeout,
                read_timeout=timeout,
                write_timeout=timeout,
                # A repeatable read would show the first query's state for ever.
                autocommit=True,
                conv=_CONVERSIONS,
                client_flag=CLIENT.FOUND_ROWS if found_rows else 0,
                **arguments,
            )
        try:
            if ask_variables:
                self._look()
            for statement in statements:
                self.run(statement)
        except BaseException:
            self.close()
            raise

    def begin(self) -> None:
        """Make all that follows see one state of the tables, as far as they are InnoDB's."""
        self.run("START TRANSACTION WITH CONSISTENT SNAPSHOT")

    def run(self, query: str, arguments: Sequence | None = None) -> tuple[int, list[tuple]]:
        """Run one statement with ``%s`` marks; return how many rows it touched, and its rows.

        :raises DatabaseAway: if there is no answer; see its subclasses.
        :raises DatabaseMisconfigured: if the statement is refused.
        :raises Contended, Duplicate, TooLarge: for what these say.
        """
        with translating_errors(), self._connection.cursor() as cursor:
            count = cursor.execute(query, arguments)
            return count, list(cursor.fetchall())

    def run_many(self, query: str, rows: Sequence[Sequence]) -> None:
        """Run one statement for each of *rows*; raises as :meth:`run` does."""
        with translating_errors(), self._connection.cursor() as cursor:
            cursor.executemany(query, rows)

    def select(self, query: str, parameters: Mapping[str, str]) -> tuple[Sequence[str], list]:
        """Return the column names and rows of *query*, with *parameters* for ``:name``.

        There are no rows if a parameter has characters that the column it is compared with cannot
        have, or the connection.
        """
        given = {name: storable(text) for name, text in parameters.items()}
        try:
            for text in parameters.values():
                text.encode(self._connection.encoding, "surrogateescape")
        except UnicodeEncodeError:
            return (), []
        with translating_errors(), self._connection.cursor() as cursor:
            try:
                cursor.execute(percent_style(query, given), given)
            except pymysql.Error as error:
                if error.args and error.args[0] in _INCOMPARABLE:
                    return (), []
                raise
            return _names(cursor), list(cursor.fetchall())

    def stream(
        self, query: str, parameters: Mapping[str, object] | None = None
    ) -> tuple[Sequence[str], Iterator]:
        """Return the column names of *query*, and its rows one by one in bounded memory.

        Close the connection afterwards, unless all rows were read.

        :param parameters: what stands in for ``:name``.
        """
        with translating_errors():
            cursor = self._connection.cursor(_Stream)
            if parameters:
                cursor.execute(percent_style(query, parameters), dict(parameters))
            else:
                cursor.execute(query)
            return _names(cursor), _rows(cursor)

    def clock(self) -> tuple[datetime.datetime, datetime.datetime] | None:
        """Return the time by the server's clock, in its own zone and in UTC."""
        return self.run("SELECT NOW(), UTC_TIMESTAMP()")[1][0]

    def alive(self) -> bool:
        """Ask the server whether the connection still stands.

        With *ask_variables* it is not worth keeping either if the server takes no changes any more.

        :raises DatabaseAway: if the server does not answer within the timeout.
        """
        was_read_only = self.read_only
        try:
            if self._ask_variables:
                self._look()
            else:
                with translating_errors():
                    self._connection.ping(reconnect=False)
        except DatabaseAway as error:
            if error.timed_out:
                raise
            return False
        return was_read_only or not self.read_only

    def abort(self) -> None:
        """Break off what another thread waits for on this connection; that gets an error."""
        raw = getattr(self._connection, "_sock", None)
        if raw is not None:
            with contextlib.suppress(OSError, ValueError):
                raw.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection; raises nothing."""
        with contextlib.suppress(pymysql.Error, OSError):
            self._connection.close()

    def _look(self) -> None:
        # a server of another kind, which speaks the protocol, may have none of the variables
        for query in _VARIABLES:
            with contextlib.suppress(DatabaseMisconfigured):
                ((*read_only, packet),) = self.run(query)[1]
                # an enumeration in later versions of MariaDB
                self.read_only = any(str(text).upper() not in ("0", "OFF") for text in read_only)
                self.max_packet = int(packet)
                return


def connected(url: URL, connect_timeout: float, timeout: float) -> Connection:
    """Return a connection to the first host of *url* that answers; see :class:`.hosts.Hosts`.

    :raises DatabaseAway: if none answers.
    :raises DatabaseMisconfigured: the same, if one of them refuses what is configured.
    """
    hosts = Hosts(url)
    several = len(hosts) > 1
    return hosts.first(
        lambda host: Connection(url, host, connect_timeout, timeout, ask_variables=several)
    )[0]


class _Stream(SSCursor):
    # SSCursor reads what is left when it is closed, even a million rows or a dead connection.
    def close(self):
        if self._result is not None:
            self._result.unbuffered_active = False
        self.connection = None

    __del__ = close


def _rows(cursor: SSCursor) -> Iterator:
    with translating_errors():
        while (row := cursor.fetchone()) is not None:
            yield row


def _names(cursor) -> list[str]:
    return [column[0] for column in cursor.description or ()]


def _check(parameters: Mapping[str, object]) -> None:
    # PyMySQL passes over a file that it cannot read, and is then refused for a missing password.
    for name in ("read_default_file", "ssl_ca", "ssl_cert", "ssl_key"):
        if name in parameters:
            with open(parameters[name], "rb"):
                pass


@contextlib.contextmanager
def translating_errors():
    """Turn what PyMySQL raises within a with block into :mod:`handlers.database.errors`."""
    try:
        yield
    except pymysql.Error as error:
        raise _meaning(error) from error
    except configparser.Error as error:
        # its text quotes the line, which may hold the password
        raise DatabaseMisconfigured("read_default_file is no option file") from error
    except OSError as error:
        file = f" {error.filename}" if error.filename else ""
        raise DatabaseMisconfigured(f"cannot read{file}: {error.strerror or error}") from error
    except UnicodeEncodeError as error:
        text = "a text has characters that the connection's character set does not have"
        raise DatabaseMisconfigured(text, cure=f"write charset=utf8mb4 in {URL_WORDS}") from error
    except RuntimeError as error:
        raise _unknown_plugin(str(error)) or DatabaseMisconfigured(str(error)) from error
    except (AssertionError, IndexError, UnboundLocalError, struct.error) as error:
        # PyMySQL believes the lengths that it is sent
        text = f"what answers speaks neither MySQL nor MariaDB ({error})"
        raise DatabaseAway(text) from error
    except ValueError as error:
        # such as a value in the option file
        raise DatabaseMisconfigured(str(error)) from error


def _meaning(error: pymysql.Error) -> Exception:
    code, text = (*error.args, "", "")[:2]
    text = str(text or code or type(error).__name__)
    code = code if isinstance(code, int) else -1
    cause = error.__context__
    if code == CR.CR_AUTH_PLUGIN_CANNOT_LOAD and (unknown := _unknown_plugin(text)):
        return unknown
    if code in _REFUSALS or isinstance(cause, ssl.SSLCertVerificationError):
        return _refused(code, text)
    if code in _READ_ONLY or (code == ER.OPTION_PREVENTS_STATEMENT and "read" in text):
        return ReadOnly(text, code=code)
    if code in _CONTENDED:
        return Contended(text)
    if code == ER.DUP_ENTRY:
        return Duplicate(text)
    if code in _TOO_LARGE:
        return TooLarge(text)
    if isinstance(error, pymysql.err.ProgrammingError):
        return DatabaseMisconfigured(text, code=code)
    if isinstance(cause, TimeoutError):
        return DatabaseAway(text, timed_out=True, code=code)
    if code in _LOST:
        return Lost(text, code=code)
    return DatabaseAway(text, code=code)


def _refused(code: int, text: str) -> DatabaseMisconfigured:
    quoted = re.search(r"'([^']+)'", text)
    if code in _MISSING and quoted:
        return DatabaseMisconfigured(text, missing=(_MISSING[code], quoted[1]), code=code)
    cure = f"correct {URL_WORDS}" if code in _ACCOUNT else ""
    return DatabaseMisconfigured(text, cure=cure, code=code)


def _unknown_plugin(text: str) -> DatabaseMisconfigured | None:
    """Say which way of signing in the account wants, if PyMySQL's *text* is about that."""
    found = _PLUGIN.search(text)
    if found is None:
        return None
    plugin, package = found[1] or found[2], _PACKAGE.search(text)
    cure = "let the account use mysql_native_password"
    if package:
        cure = f"install the Python package {package[1]} beside this one, or {cure}"
    return DatabaseMisconfigured(
        f"the account signs in by {plugin}, which PyMySQL cannot do{' alone' if package else ''}",
        cure=cure,
        code=CR.CR_AUTH_PLUGIN_CANNOT_LOAD,
    )
