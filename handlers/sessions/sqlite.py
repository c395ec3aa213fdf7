"""Sessions in an SQLite file, for one machine.

One writer at a time, so that saves of different sessions wait for each other; a thousand saves a
second are no trouble, several thousand belong into the file store. The journal is a write-ahead
log, without a sync for each save: a killed process loses nothing, a power cut the last moments.
"""

import contextlib
import errno
import os
import sqlite3
import stat
import time
from collections.abc import Callable

from handlers import locks
from handlers.database.errors import Contended, Duplicate, Lost
from handlers.locks import LockTimeout
from handlers.sessions import directory
from handlers.sessions.sql import DELETE_STEP, TABLE, SqlStore
from handlers.sessions.store import MAX_SIZE, Held, StoreUnavailable

_BUSY_WAIT = 10.0
_TABLE = """
CREATE TABLE IF NOT EXISTS {table} (
    id TEXT PRIMARY KEY,
    sweep_after INTEGER NOT NULL,
    created REAL NOT NULL,
    accessed REAL NOT NULL,
    timeout REAL NOT NULL,
    version INTEGER NOT NULL,
    username TEXT,
    data BLOB NOT NULL
) WITHOUT ROWID
"""
_INDEXES = (
    "CREATE INDEX IF NOT EXISTS {table}_after ON {table} (sweep_after)",
    "CREATE INDEX IF NOT EXISTS {table}_user ON {table} (username) WHERE username IS NOT NULL",
)

# what came through fork, kept from being closed
_inherited: list["_Link"] = []


class SqliteStore(SqlStore):
    """Sessions in the table of an SQLite file; file and table are made when they are missing, also
    when somebody has removed them.

    Session locks are bytes of a lock file beside it.

    :param path: the file, in a directory to which nobody else can write.
    :param create: make directory, file and table now, if they are missing.
    :raises StoreRefused: if others can write to the directory, or it is another user's.
    """

    def __init__(
        self,
        path: str,
        table: str = TABLE,
        *,
        max_size: int = MAX_SIZE,
        clock: Callable[[], float] = time.time,
        create: bool = True,
    ):
        super().__init__(table, max_size=max_size, clock=clock)
        folder, name = os.path.split(os.path.abspath(path))
        self._directory = directory.Private(folder, create)
        self.path = os.path.join(self._directory.path, name)
        self._locks = f"{self.path}.locks"
        if create:
            self.create()

    def create(self) -> None:
        self._link()
        # a child that is forked later must not inherit an open database
        self.close()

    def _connect(self) -> "_Link":
        self._directory.check()
        link = _Link(self.path)
        for statement in (_TABLE, *_INDEXES):
            link.run(statement.replace("{table}", self.table), ())
        return link

    def _link(self) -> "_Link":
        link = getattr(self._links, "link", None)
        if link is not None and not link.is_there():
            # SQLite would go on writing into the file that was removed
            self.close()
        return super()._link()

    def _size(self) -> int:
        _, rows = self._run(
            "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
        )
        return rows[0][0]

    def _delete_step(self, before: float) -> int:
        return self._run(
            "DELETE FROM {table} WHERE id IN (SELECT id FROM {table}"
            f" WHERE sweep_after <= %s AND accessed + timeout < %s LIMIT {DELETE_STEP})",
            before,
            before,
        )[0]

    def _acquire(self, name: str, timeout: float | None) -> Held:
        self._directory.check()
        try:
            fd = locks.acquire(self._locks, locks.key_offset(f"{self.table}.{name}"), timeout)
        except LockTimeout:
            raise
        except OSError as error:
            raise StoreUnavailable(f"{self._locks}: {error.strerror}") from error
        return Held(lambda: os.close(fd))


def _make(path: str) -> None:
    """Make the file, for this user alone, if there is none.

    SQLite would make it readable for all, as far as the umask lets it. Nobody may open and close it
    beside SQLite: that gives back the locks of all connections of this process (SQLite, "How To
    Corrupt An SQLite Database File", 2.2), and another process, which then takes itself for the
    only one, deletes the write-ahead log. mknod(2) opens nothing.

    :raises OSError: if it cannot be made, is a symbolic link or a directory, or may not be read and
        written; SQLite would not say which.
    """
    with contextlib.suppress(FileExistsError):
        os.mknod(path, stat.S_IFREG | 0o600)
    mode, number = os.lstat(path).st_mode, 0
    if stat.S_ISLNK(mode):
        number = errno.ELOOP
    elif stat.S_ISDIR(mode):
        number = errno.EISDIR
    elif not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        number = errno.EACCES
    if number:
        raise OSError(number, os.strerror(number), path)


class _Link:
    def __init__(self, path: str):
        self._path = path
        self._pid = os.getpid()
        try:
            _make(path)
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_WAIT, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._identity = self._look()
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable(f"{path}: {error}") from error

    def is_there(self) -> bool:
        """Tell whether the path still names the file that is open."""
        try:
            return self._look() == self._identity
        except OSError:
            return False

    def _look(self) -> tuple[int, int]:
        found = os.stat(self._path)
        return found.st_dev, found.st_ino

    def run(self, query: str, args: tuple) -> tuple[int, list[tuple]]:
        try:
            cursor = self._connection.execute(query.replace("%s", "?"), args)
            return cursor.rowcount, cursor.fetchall()
        except sqlite3.IntegrityError as error:
            raise Duplicate(str(error)) from error
        except sqlite3.OperationalError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code == sqlite3.SQLITE_BUSY:
                raise Contended(str(error)) from error
            raise StoreUnavailable(str(error)) from error
        except sqlite3.ProgrammingError as error:
            raise Lost(str(error)) from error
        except sqlite3.Error as error:
            raise StoreUnavailable(str(error)) from error

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def __del__(self):
        # a thread that ends leaves its connection to nobody
        if not hasattr(self, "_connection"):
            return
        if self._pid == os.getpid():
            self.close()
        else:
            # that of a thread which did not come through fork may be locked for ever
            _inherited.append(self)
