"""A snapshot of the table: one file that all children map, for reading.

It is an SQLite database whose tables nobody writes to once it has its name, so it needs no locks:
all children read the same pages of the system's cache, and none has a copy.

======== ==========================================================================================
table    holds
======== ==========================================================================================
rows     every row by its id; ``path`` is NULL for those that no caller can ask for
anchors  each thousandth public id in the order of ids, to find a page
changed  ids that are new, whose row differs from the snapshot before, or is no longer there
meta     ``fingerprint`` of the configuration, ``serial``, counts, ``mark`` (see ``updated``),
         ``began``
======== ==========================================================================================

What changes in a large table does not have this file written anew. It goes into a second one beside
it, ``<snapshot>.changes``, the layer: rows in place of those of the same id, and ``changed`` and
``meta`` in place of those of the file below, which ``meta`` names by its serial. A layer over
another file is no layer. Its ``meta`` has ``bits`` as well: an id whose bit is not set has no row
in it.

The layers over one file are numbered, and the header of that file has the number of the last one
(``PRAGMA user_version``): without it, or with an earlier one, the file is not to be used, as a
picture that has become private would be public again. The state file names the last snapshot of
all, so that an earlier one is recognized that somebody has put back.
"""

import hashlib
import json
import os
import sqlite3
import struct
import threading
import zlib
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import quote

from handlers.database.text import readable, storable

from .options import Options
from .row import Row

ANCHOR = 1000
# SQLite cuts it to what it was built for, mostly 2 GB; what lies behind is read instead of mapped.
_MAPPED = 1 << 40
_FORMAT = 4
#: What the layer's file is called beside the snapshot's.
LAYER = ".changes"
# where the header of an SQLite file has its user_version (Database File Format, section 1.3)
_NUMBER_AT, _NUMBER = 60, struct.Struct(">i")
# 32 KB: of the ids that a layer of 10,000 rows does not have, one in 26 is looked for in vain
_BITS = 1 << 18
_ONE = "SELECT path, private, focus_x, focus_y, placeholder FROM main.rows WHERE id = ?"
_ONE_OF_LAYER = _ONE.replace("main.rows", "lay.rows")
_READABLE = "path IS NOT NULL"
_PUBLIC = "path IS NOT NULL AND NOT private"
# how far the layer moves what follows an id, in the order of public ids
_MOVED = f"SELECT total({_PUBLIC}) - total(was_public) FROM lay.rows WHERE id < ?"

# what came through fork, kept from being closed
_inherited: list["_Reader"] = []


def _select(columns: str, condition: str, layered: bool) -> str:
    """Return the query for the rows that are true of *condition*, in the order of ids."""
    below = f"SELECT {columns} FROM main.rows AS b WHERE {condition}"
    if not layered:
        return f"{below} ORDER BY id"
    return (
        f"SELECT {columns} FROM lay.rows WHERE {condition} UNION ALL {below}"
        " AND NOT EXISTS (SELECT 1 FROM lay.rows AS l WHERE l.id = b.id) ORDER BY id"
    )


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


class Identity(NamedTuple):
    """What tells the files of a snapshot from those before them; a layer belongs to them.

    As long as a process has the files open, no others can have the same numbers. Their times tell
    that somebody has written into them, for example by putting back a backup with ``cp``.
    """

    device: int
    number: int
    time: int
    #: 0 if there is no layer.
    layer_number: int = 0
    layer_time: int = 0

    def is_over(self, other: "Identity") -> bool:
        """Tell whether one of the files is the same one as in *other*, with something else in it.

        A process that has that one open reads what was written since.
        """
        file, other_file = (found[:2] for found in (self, other))
        return (file == other_file and self.time != other.time) or (
            0 != self.layer_number == other.layer_number and self.layer_time != other.layer_time
        )


def identity(path: str) -> Identity | None:
    """Return the identity of the file *path* and its layer, or None if there is no such file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    found = Identity(status.st_dev, status.st_ino, status.st_mtime_ns)
    try:
        layer = os.stat(path + LAYER)
    except OSError:
        return found
    return found._replace(layer_number=layer.st_ino, layer_time=layer.st_mtime_ns)


def require_layer(path: str, number: int) -> None:
    """Let the snapshot *path* be unusable without its layer of this *number*, or a later one.

    Those who have it open do not mind: they look at that number first of all, and the time of the
    file stays as it is.

    :raises OSError: if it cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        os.pwrite(descriptor, _NUMBER.pack(number), _NUMBER_AT)
        os.utime(descriptor, ns=(found.st_atime_ns, found.st_mtime_ns))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def connect_uri(path: str) -> str:
    """Return the URI by which SQLite reads *path* and trusts that nobody writes to it."""
    return f"file:{quote(os.fsencode(path))}?mode=ro&immutable=1"


def bits(ids: Iterator[str | bytes]) -> bytes:
    """Return the bits of a layer that has rows of these *ids*, as they are stored."""
    found = bytearray(_BITS // 8)
    for id in ids:
        bit = zlib.crc32(id.encode() if isinstance(id, str) else id) % _BITS
        found[bit >> 3] |= 1 << (bit & 7)
    return bytes(found)


def _text(value: str | bytes) -> str:
    """Return text as :func:`handlers.database.text.readable` does.

    :raises Unusable: for another value, of which the file has none unless it is damaged.
    """
    if isinstance(value, str | bytes):
        return readable(value)
    raise Unusable(f"it is damaged (a {type(value).__name__} in place of text)")


class Snapshot:
    """The rows of one snapshot file; any thread may use it, no forked child may.

    :param path: the file.
    :param wanted: the fingerprint it must have.
    :ivar identity: the :class:`Identity` of the files that are open.
    :ivar rows: how many rows there are.
    :ivar public: how many of them are not private.
    :ivar total: how many rows the database gave, with those that nobody can ask for.
    :ivar serial: a name that no other snapshot has.
    :ivar began: when the table was read for it, in nanoseconds since 1970.
    :ivar base: the serial of the file below the layer.
    :ivar layer: the path of the layer, None if there is none.
    :ivar layered: how many rows it has.
    :ivar number: which layer over that file it is, 0 for none.
    :ivar required: which one the file asks for.
    :ivar mark: up to where the column ``updated`` was seen, or None.
    :raises FileNotFoundError: if there is no such file.
    :raises Unusable: if it cannot be read, its fingerprint is another, or its layer is missing.
    :raises Replaced: if that happens just now.
    """

    def __init__(self, path: str, wanted: str):
        self.path = path
        self._local = threading.local()
        status = os.stat(path)
        self.identity = identity(path)
        self.size = status.st_size
        self.written = status.st_mtime
        self.layer = path + LAYER if self.identity and self.identity.layer_number else None
        self.layered = self.number = self.required = 0
        self._bits: bytes | None = None
        try:
            meta = self._meta()
            self.rows, self.public, self.total = (
                int(meta[name]) for name in ("rows", "public", "total")
            )
            self.serial = meta["serial"]
            self.mark = json.loads(meta["mark"])
            self.began = int(meta["began"])
            is_wanted = meta["fingerprint"] == wanted
        except (sqlite3.Error, KeyError, ValueError, TypeError) as error:
            self.check_replaced()
            raise Unusable(f"it is no snapshot ({error})") from error
        # as long as a connection has the files open, no others get their numbers
        self._execute()
        self._kept = self._local.reader
        if not is_wanted:
            raise Unusable("it is of another configuration", foreign=True)
        if self.number < self.required:
            self.check_replaced()
            has = "is an earlier one" if self.number else "is missing"
            raise Unusable(f"its file {os.path.basename(path)}{LAYER} {has}")

    def _meta(self) -> dict:
        """Return what the file says of itself, and the layer in its place if there is one."""
        execute = self._execute()
        meta = dict(execute("SELECT name, value FROM main.meta").fetchall())
        self.base = meta["serial"]
        (self.required,) = execute("PRAGMA main.user_version").fetchone()
        self._check_size("main", self.size)
        if self.layer is not None:
            above = dict(execute("SELECT name, value FROM lay.meta").fetchall())
            if above["base"] == self.base:
                status = os.stat(self.layer)
                self._check_size("lay", status.st_size)
                self.size += status.st_size
                self.written = max(self.written, status.st_mtime)
                self.layered, self.number = int(above["layered"]), int(above["number"])
                self._bits = above["bits"]
                meta.update(above)
            else:
                # what a process that was killed has left above the file before
                self.layer = None
                del self._local.execute, self._local.reader
        return meta

    def _check_size(self, schema: str, size: int) -> None:
        execute = self._execute()
        pages, page = (
            execute(f"PRAGMA {schema}.{name}").fetchone()[0] for name in ("page_count", "page_size")
        )
        if pages * page != size:
            raise Unusable(f"it has {size} bytes instead of {pages * page}")

    def get(self, id: str) -> Row | None:
        """Return the row of *id*, or None.

        :raises Replaced: if this thread had not used it, and the file's name is another's by now.
        :raises Unusable: if the file is damaged.
        """
        found = self.stored(storable(id))
        if found is None:
            return None
        path, private, x, y, placeholder = found
        if path.__class__ is str:
            return Row(path, private != 0, x, y, placeholder)
        return None if path is None else Row(_text(path), private != 0, x, y, placeholder)

    def stored(self, id: str | bytes) -> tuple | None:
        """Return the columns of a row as they lie in the file, whether or not it can be asked for.

        Raises as :meth:`get` does.

        :param id: as :func:`handlers.database.text.storable` makes it.
        """
        try:
            if self._bits is not None:
                bit = zlib.crc32(id.encode() if id.__class__ is str else id) % _BITS
                if self._bits[bit >> 3] & (1 << (bit & 7)):
                    found = self._execute()(_ONE_OF_LAYER, (id,)).fetchone()
                    if found is not None:
                        return found
            return self._execute()(_ONE, (id,)).fetchone()
        except sqlite3.Error as error:
            raise Unusable(f"it is damaged ({error})") from error

    def all(self) -> Iterator[tuple[str, Row]]:
        """Yield (id, Row) of every row, in the order of ids."""
        columns = "id, path, private, focus_x, focus_y, placeholder"
        query = _select(columns, _READABLE, self.layer is not None)
        for id, path, private, x, y, placeholder in self._stream(query):
            yield _text(id), Row(_text(path), private != 0, x, y, placeholder)

    def ids(self) -> Iterator[str]:
        """Yield every id, in order."""
        for (id,) in self._stream(_select("id", _READABLE, self.layer is not None)):
            yield _text(id)

    def changed(self) -> Iterator[str]:
        """Yield the ids that are new, whose row differs from the snapshot before, or is gone."""
        for (id,) in self._stream(f"SELECT id FROM {'lay' if self.layer else 'main'}.changed"):
            yield _text(id)

    def page(self, start: int, count: int, private: bool = False) -> tuple[list[str], int]:
        """Return *count* ids from the place *start* on, in the order of ids, and the number of all.

        :param private: with those that are private.
        """
        try:
            if private:
                query = _select("id", _READABLE, self.layer is not None) + " LIMIT ? OFFSET ?"
                found = self._execute()(query, (count, start)).fetchall()
                return [_text(id) for (id,) in found], self.rows
            return self._public_page(start, count), self.public
        except sqlite3.Error as error:
            raise Unusable(f"it is damaged ({error})") from error

    def _public_page(self, start: int, count: int) -> list[str]:
        if start >= self.public:
            # a place that a visitor has made up may lie behind a billion of anchors
            return []
        execute = self._execute()
        place = start - start % ANCHOR
        while True:
            anchor = execute("SELECT id FROM main.anchors WHERE place = ?", (place,)).fetchone()
            moved = 0
            if anchor is not None and self.layer is not None:
                moved = int(execute(_MOVED, anchor).fetchone()[0])
            if place <= 0 or (anchor is not None and place + moved <= start):
                break
            # the rows of the layer push it behind the place, or the file below ends before it
            place -= ANCHOR
        if place <= 0:
            # what the layer has before the first anchor counts, too
            anchor, place, moved = ("",), 0, 0
        query = _select("id", f"id >= ?1 AND {_PUBLIC}", self.layer is not None)
        found = execute(f"{query} LIMIT ?2 OFFSET ?3", (*anchor, count, start - place - moved))
        return [_text(id) for (id,) in found.fetchall()]

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
        try:
            reader = _Reader(self.path, self.layer)
        except sqlite3.Error:
            # one that somebody has removed is not damaged
            self.check_replaced()
            raise
        self.check_replaced()
        return reader

    def check_replaced(self) -> None:
        """Return if the file's name, and its layer's, are still those of the files that are open.

        :raises Replaced: if not.
        """
        if identity(self.path) != self.identity:
            raise Replaced(self.path)


class _Reader:
    """A connection that is closed with the last reference to it, that is, with its thread.

    A forked process has none of its parent's other threads, and their connections may be locked for
    ever: it closes none of them.
    """

    def __init__(self, path: str, layer: str | None):
        self._pid = os.getpid()
        self._connection = sqlite3.connect(
            connect_uri(path), uri=True, isolation_level=None, check_same_thread=False
        )
        self._connection.execute(f"PRAGMA mmap_size={_MAPPED}")
        # The mapped pages are the cache.
        self._connection.execute("PRAGMA cache_size=-64")
        if layer is not None:
            self._connection.execute("ATTACH ? AS lay", (connect_uri(layer),))
        self.execute = self._connection.cursor().execute

    def __del__(self):
        connection = self.__dict__.get("_connection")
        if connection is None:
            return
        if self._pid == os.getpid():
            connection.close()
        else:
            _inherited.append(self)
