"""Connections to SQLite, by the standard library."""

import contextlib
import itertools
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote

from handlers import access

from .errors import URL_WORDS, DatabaseAway, DatabaseMisconfigured
from .text import storable
from .url import URL

_CORRECT = f"correct {URL_WORDS}"
_MISSING = re.compile(r"no such (table|column): (.+)")
_INTEGER = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_NOT_OPENED = ("unable to open database file", "attempt to write a readonly database")
_TEMPORARY = ("database is locked", "database table is locked", "disk i/o error", "interrupted")


class Connection:
    """A read-only connection; one thread at a time may use it.

    :cvar trusted: seconds after its use for which :meth:`alive` need not be asked.
    :cvar read_only: what :class:`~handlers.database.hosts.Hosts` asks of a server; always False.
    :param timeout: seconds to wait for a writer's lock.
    :raises DatabaseMisconfigured: if there is no such file, or it is no database.
    """

    trusted = 0.0
    read_only = False

    def __init__(self, url: URL, timeout: float):
        self._path = url.path
        with self._translating_errors():
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
        with self._translating_errors():
            self._connection.execute("BEGIN")

    def select(self, query: str, parameters: Mapping[str, str]) -> tuple[Sequence[str], list]:
        """Return the column names and rows of *query*, with *parameters* for ``:name``.

        If there are none, ids that are stored as bytes (a BLOB) are looked for, and as numbers:
        SQLite compares a column without a type as it is.
        """
        with self._translating_errors():
            execute = self._connection.execute
            cursor = execute(query, {name: storable(text) for name, text in parameters.items()})
            found = cursor.fetchall()
            for other in () if found else (_bytes, _number):
                given = {name: other(text) for name, text in parameters.items()}
                if not found and None not in given.values():
                    cursor = execute(query, given)
                    found = cursor.fetchall()
            return _names(cursor), found

    def stream(
        self, query: str, parameters: Mapping[str, object] | None = None
    ) -> tuple[Sequence[str], Iterator]:
        """Return the column names of *query*, and its rows one by one in bounded memory.

        :param parameters: what stands in for ``:name``.
        """
        with self._translating_errors():
            cursor = self._connection.execute(query, parameters or {})
            return _names(cursor), self._rows(cursor)

    def clock(self) -> None:
        """There is no clock but this machine's."""

    def alive(self) -> bool:
        """Tell whether the path still names the file that is open."""
        with contextlib.suppress(OSError):
            return _identity(self._path) == self._file
        return False

    def abort(self) -> None:
        """Break off what another thread reads on this connection; that gets an error."""
        self._connection.interrupt()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _rows(self, cursor: sqlite3.Cursor) -> Iterator:
        with self._translating_errors():
            # who stops halfway may have closed the connection: a chain does not close the cursor
            yield from itertools.chain(cursor)

    @contextlib.contextmanager
    def _translating_errors(self):
        try:
            yield
        except sqlite3.Error as error:
            raise _meaning(self._path, error) from error
        except OSError as error:
            raise DatabaseMisconfigured(
                access.why_unreadable(self._path, error), cure=_CORRECT
            ) from error


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _number(text: str) -> int | None:
    return int(text) if _INTEGER.fullmatch(text) and -(1 << 63) <= int(text) < 1 << 63 else None


def _names(cursor: sqlite3.Cursor) -> list[str]:
    return [column[0] for column in cursor.description or ()]


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


def _meaning(path: str, error: sqlite3.Error) -> DatabaseAway | DatabaseMisconfigured:
    text = str(error)
    if text.lower().startswith(_TEMPORARY):
        return DatabaseAway(text, timed_out="locked" in text)
    missing = _MISSING.fullmatch(text)
    if missing is not None:
        return DatabaseMisconfigured(text, missing=(missing[1], missing[2]))
    if text == "file is not a database":
        return DatabaseMisconfigured("not an SQLite database", cure=_CORRECT)
    if text in _NOT_OPENED:
        return DatabaseMisconfigured(*_why_not_opened(path, text))
    return DatabaseMisconfigured(text)


def _why_not_opened(path: str, text: str) -> tuple:
    """Return the arguments of DatabaseMisconfigured for a file that SQLite cannot open."""
    cure = _CORRECT
    try:
        with open(path, "rb") as file:
            # the versions of the file's format: 2 is write-ahead logging (Database File Format)
            if file.read(20)[18:] == b"\2\2":
                directory = os.path.dirname(path)
                text = f"it is in WAL mode, and {access.user()} may not write in {directory}"
                cure = f"let that user write there, or: sqlite3 {path} 'PRAGMA journal_mode=DELETE'"
        if os.path.exists(path + "-journal"):
            text = "a program was killed while it wrote"
            cure = f"let one that may write go back to what was before: sqlite3 {path} .tables"
    except IsADirectoryError:
        text = "a directory, not a file"
    except OSError as error:
        text = access.why_unreadable(path, error)
        if " may not " in text:
            cure = f"give it the right to, or {_CORRECT}"
    return text, 0.0, None, cure
