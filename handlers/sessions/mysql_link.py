"""One connection of the session store to MySQL or MariaDB, with the locks taken on it."""

import contextlib
import os
import threading
import time

from handlers.database.errors import DatabaseAway, DatabaseMisconfigured, TooLarge
from handlers.database.hosts import STANDBY, Hosts
from handlers.database.mysql import Connection
from handlers.database.url import URL
from handlers.sessions.store import RecordTooLarge, StoreUnavailable, TableMissing

# bytes of a statement besides its values, with room to spare
_STATEMENT = 1024
# PyMySQL writes two bytes for each of these
_ESCAPED = (b"\0", b"\n", b"\r", b"\x1a", b'"', b"'", b"\\")
_SETTINGS = (
    # a change of partitions must not queue everybody behind a long transaction
    "SET SESSION lock_wait_timeout = 1, innodb_lock_wait_timeout = 5,"
    " sql_mode = 'STRICT_ALL_TABLES'",
    # a repeatable read would lock the gaps between sessions
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
)


class Refused(StoreUnavailable):
    """Raised when the server answers with an error; *code* is its number."""

    def __init__(self, error: DatabaseMisconfigured):
        super().__init__(f"{error} ({error.code})")
        self.code = error.code


class Link:
    """A connection to one of the URL's hosts; see :class:`~handlers.database.hosts.Hosts`.

    :ivar held: names of the locks taken on this connection.
    :raises StoreUnavailable: if no host takes it.
    """

    def __init__(self, url: URL, hosts: Hosts, timeout: float):
        self.held: set[str] = set()
        self._hosts = hosts
        self._pid = os.getpid()
        self._since = time.monotonic()
        # a lock may be given back from another thread than the one that took it
        self._turn = threading.Lock()

        def connect(host):
            return Connection(
                url,
                host,
                timeout,
                timeout,
                ask_variables=True,
                # rows that an update leaves as they were count as found
                found_rows=True,
                statements=_SETTINGS,
            )

        try:
            self._connection, _ = hosts.first(connect)
        except (DatabaseAway, DatabaseMisconfigured) as error:
            raise StoreUnavailable(f"{url}: {error}") from error

    def run(self, query: str, args: tuple) -> tuple[int, list[tuple]]:
        """Run one statement; see :class:`handlers.sessions.sql.Link`."""
        most = self._connection.max_packet
        size = _size(args) if most else 0
        if size > most:
            # the server would close the connection, as if it were lost
            raise RecordTooLarge(f"{size} bytes, and the server's max_allowed_packet is {most}")
        try:
            with self._turn:
                return self._connection.run(query, args)
        except TooLarge as error:
            raise RecordTooLarge(str(error)) from error
        except DatabaseMisconfigured as error:
            if error.missing and error.missing[0] == "table":
                raise TableMissing(str(error)) from error
            raise Refused(error) from error

    def is_worth_keeping(self) -> bool:
        """Tell whether to go on with it: not for long while its server takes no changes."""
        if not self._connection.read_only or len(self._hosts) == 1:
            return True
        return time.monotonic() - self._since < STANDBY

    def release(self, name: str) -> None:
        """Give a lock back; one whose connection has ended is free already."""
        self.held.discard(name)
        if self._pid == os.getpid():
            with contextlib.suppress(DatabaseAway, StoreUnavailable):
                self.run("DO RELEASE_LOCK(%s)", (name,))

    def close(self) -> None:
        """Close the connection; raises nothing."""
        self._connection.close()


def _size(args: tuple) -> int:
    """Return the bytes of a statement with these values, about."""
    size = _STATEMENT
    for value in args:
        if isinstance(value, bytes):
            size += len(value) + sum(map(value.count, _ESCAPED))
    return size
