"""A snapshot of the table: one file that all children map, for reading.

It is an SQLite database that nobody writes to once it has its name, so it needs no locks: all
children read the same pages of the system's cache, and none has a copy.

======== ==========================================================================================
table    holds
======== ==========================================================================================
rows     every row by its id; ``path`` is NULL for those that no caller can ask for
anchors  each thousandth public id in the order of ids, to find a page
changed  ids that are new, whose row differs from the snapshot before, or is no longer there
meta     ``fingerprint`` of the configuration, ``serial``, counts, ``mark`` (see ``updated``),
         ``began``
======== ==========================================================================================
"""

import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from urllib.parse import quote

from handlers.database.text import readable, storable

from .options import Options
from .row import Row

ANCHOR = 1000
# SQLite cuts it to what it was built for, mostly 2 GB; what lies behind is read instead of mapped.
_MAPPED = 1 << 40
_FORMAT = 2
_ONE = "SELECT path, private, focus_x, focus_y FROM rows WHERE id = ?"
_PAGE = (
    "SELECT id FROM rows WHERE id >= ? AND path IS NOT NULL AND NOT private"
    " ORDER BY id LIMIT ? OFFSET ?"
)
_READABLE = "SELECT id, path, private, focus_x, focus_y FROM rows WHERE path IS NOT NULL"
_IDS = "SELECT id FROM rows WHERE path IS NOT NULL"
_PAGE_OF_ALL = f"{_IDS} ORDER BY id LIMIT ? OFFSET ?"


class Unusable(Exception):
    """The file is no snapshot, not a whole one, or one of another configuration.

    :ivar foreign: True in the last case.
    """

    def __init__(self, message: str, foreign: bool = False):
        super().__init__(message)
        self.foreign = foreign


class Replaced(Exception):
    """Another file has the snapshot's name by now: open that one."""


def fingerprint(options: Options) -> str:
    """Return what a snapshot of this configuration is known by; the password has no part in it."""
    queries = options.queries
    parts = [_FORMAT, str(options.database), queries.all, queries.updated]
    if options.encode_ids:
        parts.append("encode_ids")
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def identity(path: str) -> tuple[int, int] | None:
    """Return what tells the file *path* from those before it, or None if there is none.

    As long as a process has a file open, no other one can have the same identity.
    """
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def connect_uri(path: str) -> str:
    """Return the URI by which SQLite reads *path* and trusts that nobody writes to it."""
    return f"file:{quote(os.fsencode(path))}?mode=ro&immutable=1"


class Snapshot:
    """The rows of one snapshot file; any thread may use it, no forked child may.

    :param path: the file.
    :param wanted: the fingerprint it must have.
    :ivar identity: see :func:`identity`.
    :ivar rows: how many rows there are.
    :ivar public: how many of them are not private.
    :ivar total: how many rows the database gave, with those that nobody can ask for.
    :ivar serial: a name that no other snapshot has.
    :ivar began: when the table was read for it, in nanoseconds since 1970.
    :ivar mark: up to where the column ``updated`` was seen, or None.
    :raises FileNotFoundError: if there is no such file.
    :raises Unusable: if it cannot be read, or its fingerprint is another.
    """

    def __init__(self, path: str, wanted: str):
        self.path = path
        self._local = threading.local()
        status = os.stat(path)
        self.identity = status.st_dev, status.st_ino
        self.size = status.st_size
        self.written = status.st_mtime
        try:
            execute = self._execute()
            meta = dict(execute("SELECT name, value FROM meta").fetchall())
            found = meta["fingerprint"]
            pages, page = (
                execute(f"PRAGMA {n}").fetchone()[0] for n in ("page_count", "page_size")
            )
            self.rows, self.public, self.total = (
                int(meta[name]) for name in ("rows", "public", "total")
            )
            self.serial = meta["serial"]
            self.mark = json.loads(meta["mark"])
            self.began = int(meta["began"])
        except (sqlite3.Error, KeyError, ValueError) as error:
            raise Unusable(f"it is no snapshot ({error})") from error
        if pages * page != self.size:
            raise Unusable(f"it has {self.size} bytes instead of {pages * page}")
        if found != wanted:
            raise Unusable("it is of another configuration", foreign=True)

    def get(self, id: str) -> Row | None:
        """Return the row of *id*, or None.

        :raises Replaced: if this thread had not used it, and the file's name is another's by now.
        :raises Unusable: if the file is damaged.
        """
        try:
            found = self._execute()(_ONE, (storable(id),)).fetchone()
        except sqlite3.Error as error:
            raise Unusable(f"it is damaged ({error})") from error
        if found is None:
            return None
        path, private, x, y = found
        if path.__class__ is str:
            return Row(path, private == 1, x, y)
        return None if path is None else Row(readable(path), private == 1, x, y)

    def all(self) -> Iterator[tuple[str, Row]]:
        """Yield (id, Row) of every row, in the order of ids."""
        for id, path, private, x, y in self._stream(_READABLE):
            yield readable(id), Row(readable(path), private == 1, x, y)

    def ids(self) -> Iterator[str]:
        """Yield every id, in order."""
        for (id,) in self._stream(_IDS):
            yield readable(id)

    def changed(self) -> Iterator[str]:
        """Yield the ids that are new, whose row differs from the snapshot before, or is gone."""
        for (id,) in self._stream("SELECT id FROM changed"):
            yield readable(id)

    def page(self, start: int, count: int, private: bool = False) -> tuple[list[str], int]:
        """Return *count* ids from the place *start* on, in the order of ids, and the number of all.

        :param private: with those that are private.
        """
        try:
            if private:
                found = self._execute()(_PAGE_OF_ALL, (count, start)).fetchall()
                return [readable(id) for (id,) in found], self.rows
            return self._public_page(start, count), self.public
        except sqlite3.Error as error:
            raise Unusable(f"it is damaged ({error})") from error

    def _public_page(self, start: int, count: int) -> list[str]:
        place = start - start % ANCHOR
        execute = self._execute()
        anchor = execute("SELECT id FROM anchors WHERE place = ?", (place,)).fetchone()
        if anchor is None:
            return []
        return [
            readable(id) for (id,) in execute(_PAGE, (*anchor, count, start % ANCHOR)).fetchall()
        ]

    def _execute(self):
        try:
            return self._local.execute
        except AttributeError:
            self._local.reader = reader = self._reader()
            self._local.execute = reader.execute
            return reader.execute

    def _stream(self, query: str) -> Iterator[tuple]:
        # a connection of its own: a thread may ask for rows before it has come to the end
        try:
            reader = self._reader()
            yield from reader.execute(query)
        except sqlite3.Error as error:
            raise Unusable(f"it is damaged ({error})") from error

    def _reader(self) -> "_Reader":
        reader = _Reader(self.path)
        if identity(self.path) != self.identity:
            raise Replaced(self.path)
        return reader


class _Reader:
    """A connection that is closed with the last reference to it, that is, with its thread."""

    def __init__(self, path: str):
        self._connection = sqlite3.connect(
            connect_uri(path), uri=True, isolation_level=None, check_same_thread=False
        )
        self._connection.execute(f"PRAGMA mmap_size={_MAPPED}")
        # The mapped pages are the cache.
        self._connection.execute("PRAGMA cache_size=-64")
        self.execute = self._connection.cursor().execute

    def __del__(self):
        connection = self.__dict__.get("_connection")
        if connection is not None:
            connection.close()
