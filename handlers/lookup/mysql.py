"""Connections to MySQL and MariaDB, by PyMySQL."""

import configparser
import contextlib
import re
import ssl
from collections.abc import Iterator, Sequence

import pymysql
from pymysql.constants import CR, ER
from pymysql.cursors import SSCursor

from handlers.database_url import URL

from .errors import DatabaseAway, DatabaseMisconfigured
from .query import percent_style
from .snapshot import storable

# MariaDB's ER_ACCESS_DENIED_NO_PASSWORD_ERROR, which PyMySQL has no name for
_ACCESS_DENIED_NO_PASSWORD = 1698
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
_REFUSALS = {
    CR.CR_AUTH_PLUGIN_CANNOT_LOAD,
    CR.CR_SSL_CONNECTION_ERROR,
    CR.CR_UNKNOWN_HOST,
    ER.ACCESS_DENIED_ERROR,
    ER.BAD_DB_ERROR,
    ER.BAD_FIELD_ERROR,
    ER.COLUMNACCESS_DENIED_ERROR,
    ER.DBACCESS_DENIED_ERROR,
    ER.HOST_NOT_PRIVILEGED,
    ER.NON_UNIQ_ERROR,
    ER.NO_DB_ERROR,
    ER.NO_SUCH_TABLE,
    ER.PARSE_ERROR,
    ER.SPECIFIC_ACCESS_DENIED_ERROR,
    ER.SYNTAX_ERROR,
    ER.TABLEACCESS_DENIED_ERROR,
    ER.UNKNOWN_CHARACTER_SET,
    ER.UNKNOWN_TABLE,
    ER.VIEW_INVALID,
    _ACCESS_DENIED_NO_PASSWORD,
}


class Connection:
    """A connection to one host, in autocommit mode; one thread at a time may use it.

    :cvar trusted: seconds after its use for which ``alive`` need not be asked.
    :param host: (host, port), or None for the unix socket or what ``read_default_file`` says.
    :param connect_timeout: seconds to wait for the host to take the connection.
    :param timeout: seconds to wait for the next part of an answer.
    :raises DatabaseAway: if the host does not take the connection.
    :raises DatabaseMisconfigured: if it refuses the account or the database's name.
    """

    trusted = 1.0

    def __init__(
        self, url: URL, host: tuple[str, int] | None, connect_timeout: float, timeout: float
    ):
        arguments = url.arguments(host)
        with _unified():
            _check(arguments)
            self._connection = pymysql.connect(
                connect_timeout=connect_timeout,
                read_timeout=timeout,
                write_timeout=timeout,
                # A repeatable read would show the first query's state for ever.
                autocommit=True,
                **arguments,
            )

    def begin(self) -> None:
        """Make all that follows see one state of the tables, as far as they are InnoDB's."""
        with _unified(), self._connection.cursor() as cursor:
            cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")

    def select(self, query: str, id: str) -> tuple[Sequence[str], list]:
        """Return the column names and rows of *query*, with *id* for ``:id``."""
        with _unified(), self._connection.cursor() as cursor:
            try:
                cursor.execute(percent_style(query), {"id": storable(id)})
            except pymysql.Error as error:
                # a client's id of characters that the column cannot have: there is no such row
                if error.args and error.args[0] in _INCOMPARABLE:
                    return ("id", "path"), []
                raise
            return _names(cursor), list(cursor.fetchall())

    def stream(self, query: str, since=None) -> tuple[Sequence[str], Iterator]:
        """Return the column names of *query*, and its rows one by one in bounded memory.

        Close the connection afterwards, unless all rows were read.

        :param since: what stands in for ``:since``, if there is one in *query*.
        """
        with _unified():
            cursor = self._connection.cursor(_Stream)
            if since is None:
                cursor.execute(query)
            else:
                cursor.execute(percent_style(query), {"since": since})
            return _names(cursor), _rows(cursor)

    def alive(self) -> bool:
        """Ask the server whether the connection still stands.

        :raises DatabaseAway: if the server does not answer within the timeout.
        """
        try:
            with _unified():
                self._connection.ping(reconnect=False)
        except DatabaseAway as error:
            if error.timed_out:
                raise
            return False
        return True

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(pymysql.Error, OSError):
            self._connection.close()


class _Stream(SSCursor):
    # SSCursor reads what is left when it is closed, be it a million rows or a dead connection.
    def close(self):
        if self._result is not None:
            self._result.unbuffered_active = False
        self.connection = None

    __del__ = close


def _rows(cursor: SSCursor) -> Iterator:
    with _unified():
        while (row := cursor.fetchone()) is not None:
            yield row


def _names(cursor) -> list[str]:
    return [column[0] for column in cursor.description or ()]


def _check(parameters: dict) -> None:
    # PyMySQL passes over a file that it cannot read, and is then refused for a missing password.
    for name in ("read_default_file", "ssl_ca", "ssl_cert", "ssl_key"):
        if name in parameters:
            with open(parameters[name], "rb"):
                pass


def _refused(code: int, text: str) -> DatabaseMisconfigured:
    quoted = re.search(r"'([^']+)'", text)
    if code in _MISSING and quoted:
        return DatabaseMisconfigured(text, missing=(_MISSING[code], quoted[1]))
    return DatabaseMisconfigured(text, cure="correct lookup.database" if code in _ACCOUNT else "")


@contextlib.contextmanager
def _unified():
    try:
        yield
    except pymysql.Error as error:
        cause = error.__context__
        code, text = (*error.args, "", "")[:2]
        text = str(text or code or type(error).__name__)
        if code in _REFUSALS or isinstance(cause, ssl.SSLCertVerificationError):
            raise _refused(code, text) from error
        if isinstance(error, pymysql.err.ProgrammingError):
            raise DatabaseMisconfigured(text) from error
        raise DatabaseAway(text, timed_out=isinstance(cause, TimeoutError)) from error
    except configparser.Error as error:
        # its text quotes the line, which may hold the password
        raise DatabaseMisconfigured("read_default_file is no option file") from error
    except OSError as error:
        file = f" {error.filename}" if error.filename else ""
        raise DatabaseMisconfigured(f"cannot read{file}: {error.strerror or error}") from error
    except (RuntimeError, ValueError) as error:
        # a missing package for the account's plugin, a value in the option file
        raise DatabaseMisconfigured(str(error)) from error
