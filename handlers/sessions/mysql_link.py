"""One connection to MySQL or MariaDB, and what its errors mean for a session store."""

import contextlib
import os
import threading

import pymysql
from pymysql.constants import CLIENT, CR, ER

from handlers.database.url import URL
from handlers.sessions.sql import Busy, Duplicate, Lost
from handlers.sessions.store import RecordTooLarge, StoreUnavailable, TableMissing

#: what a server answers to an account that may not do what it asks for
DENIED = {ER.TABLEACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR, ER.SPECIFIC_ACCESS_DENIED_ERROR}
# MariaDB's ER_CONNECTION_KILLED, which PyMySQL has no name for
_CONNECTION_KILLED = 1927
_LOST = {
    0,
    CR.CR_SERVER_GONE_ERROR,
    CR.CR_SERVER_LOST,
    ER.SERVER_SHUTDOWN,
    _CONNECTION_KILLED,
}
_BUSY = {ER.LOCK_DEADLOCK, ER.LOCK_WAIT_TIMEOUT}
_TOO_LARGE = {ER.NET_PACKET_TOO_LARGE, ER.DATA_TOO_LONG}
_SETTINGS = (
    # a change of partitions must not queue everybody behind a long transaction
    "SET SESSION lock_wait_timeout = 1, innodb_lock_wait_timeout = 5,"
    " sql_mode = 'STRICT_ALL_TABLES'",
    # a repeatable read would lock the gaps between sessions
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
)


class Refused(StoreUnavailable):
    """Raised when the server answers with an error; *code* is its number."""

    def __init__(self, code: int, text: str):
        super().__init__(f"{text} ({code})")
        self.code = code


class Link:
    """A connection to the first of the URL's hosts that takes it.

    :ivar held: names of the locks taken on this connection.
    :raises StoreUnavailable: if none does.
    """

    def __init__(self, url: URL, timeout: float):
        self.held: set[str] = set()
        self._pid = os.getpid()
        # a lock may be given back from another thread than the one that took it
        self._turn = threading.Lock()
        for host in url.hosts or (None,):
            try:
                self._connection = _connect(url, host, timeout)
                return
            except (pymysql.Error, OSError) as error:
                failure = error
        raise StoreUnavailable(f"{url}: {failure}") from failure

    def run(self, query: str, args: tuple) -> tuple[int, list[tuple]]:
        """Run one statement; see :class:`handlers.sessions.sql.Link`."""
        try:
            with self._turn, self._connection.cursor() as cursor:
                count = cursor.execute(query, args)
                return count, list(cursor.fetchall())
        except pymysql.Error as error:
            code, text = (*error.args, "", "")[:2]
            if isinstance(error.__context__, TimeoutError):
                raise StoreUnavailable(f"no answer in time: {text}") from error
            if code in _LOST:
                raise Lost(str(text)) from error
            if code in _BUSY:
                raise Busy(str(text)) from error
            if code == ER.DUP_ENTRY:
                raise Duplicate(str(text)) from error
            if code in _TOO_LARGE:
                raise RecordTooLarge(str(text)) from error
            if code == ER.NO_SUCH_TABLE:
                raise TableMissing(str(text)) from error
            raise Refused(code, str(text)) from error
        except UnicodeEncodeError as error:
            raise Refused(0, "text that the connection's character set does not have") from error

    def release(self, name: str) -> None:
        """Give a lock back; one whose connection has ended is free already."""
        self.held.discard(name)
        if self._pid == os.getpid():
            with contextlib.suppress(Lost, StoreUnavailable):
                self.run("DO RELEASE_LOCK(%s)", (name,))

    def close(self) -> None:
        with contextlib.suppress(pymysql.Error, OSError):
            self._connection.close()


def _connect(url: URL, host: tuple[str, int] | None, timeout: float) -> pymysql.Connection:
    connection = pymysql.connect(
        connect_timeout=timeout,
        read_timeout=timeout,
        write_timeout=timeout,
        autocommit=True,
        # rows that an update leaves as they were count as found
        client_flag=CLIENT.FOUND_ROWS,
        **url.arguments(host),
    )
    with connection.cursor() as cursor:
        for setting in _SETTINGS:
            cursor.execute(setting)
    return connection
