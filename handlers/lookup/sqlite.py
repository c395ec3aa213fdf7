"""Connections to SQLite, by the standard library."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from urllib.parse import quote

from handlers.database_url import URL

from .errors import DatabaseAway, DatabaseMisconfigured

_TEMPORARY = ("database is locked", "database table is locked", "disk i/o error", "interrupted")


class Connection:
    """A read-only connection; one thread at a time may use it.

    :cvar trusted: seconds after its use for which ``alive`` need not be asked.
    :param timeout: seconds to wait for a writer's lock.
    :raises DatabaseMisconfigured: if there is no such file, or it is no database.
    """

    trusted = 0.0

    def __init__(self, url: URL, timeout: float):
        self._path = url.path
        with _unified():
            self._connection = sqlite3.connect(
                f"file:{quote(os.fsencode(url.path))}?mode=ro",
                uri=True,
                timeout=timeout,
                isolation_level=None,
                check_same_thread=False,
            )
            self._connection.text_factory = _decode
            self._file = _identity(url.path)

    def begin(self) -> None:
        """Make all that follows see one state of the tables."""
        with _unified():
            self._connection.execute("BEGIN")

    def select(self, query: str, id: str) -> tuple[Sequence[str], list]:
        """Return the column names and rows of *query*, with *id* for ``:id``."""
        with _unified():
            cursor = self._connection.execute(query, {"id": id})
            return _names(cursor), cursor.fetchall()

    def stream(self, query: str, since=None) -> tuple[Sequence[str], Iterator]:
        """Return the column names of *query*, and its rows one by one in bounded memory.

        :param since: what stands in for ``:since``, if there is one in *query*.
        """
        with _unified():
            cursor = self._connection.execute(query, {"since": since})
            return _names(cursor), _rows(cursor)

    def alive(self) -> bool:
        """Tell whether the path still names the file that is open."""
        with contextlib.suppress(OSError):
            return _identity(self._path) == self._file
        return False

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _rows(cursor: sqlite3.Cursor) -> Iterator:
    with _unified():
        yield from cursor


def _names(cursor: sqlite3.Cursor) -> list[str]:
    return [column[0] for column in cursor.description or ()]


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


@contextlib.contextmanager
def _unified():
    try:
        yield
    except sqlite3.Error as error:
        text = str(error)
        if text.lower().startswith(_TEMPORARY):
            raise DatabaseAway(text, timed_out="locked" in text) from error
        raise DatabaseMisconfigured(text) from error
    except OSError as error:
        raise DatabaseMisconfigured(error.strerror or str(error)) from error
