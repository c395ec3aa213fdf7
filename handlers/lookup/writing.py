"""How a snapshot is written: from the whole table, or from the one before and what changed.

What changed in a large table goes into a layer above it (see :mod:`.snapshot`), until that has many
rows: then both are written into one new file.

It is written under a name of its own and then renamed, so that the snapshot is whole or not there.
A writer that is killed leaves ``<snapshot>.new``, which the next one removes. The caller holds the
lock. Rows wait for their order in SQLite's temporary files (in ``SQLITE_TMPDIR``, else /var/tmp),
which vanish with the process; memory stays below 100 MB for any number of rows.
"""

import contextlib
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from handlers.database.text import storable

from . import updated
from .row import Row, Skipped
from .snapshot import ANCHOR, LAYER, Snapshot, bits, connect_uri, require_layer
from .updated import Mark

_CACHE_KB = 16_000
# Requests of the same process wait for the interpreter lock between two pauses: a millisecond.
_WITHOUT_PAUSE = 256
_PAUSE = 50e-6
_TABLES = """
CREATE TABLE rows (id TEXT PRIMARY KEY, path, private, focus_x, focus_y, placeholder) WITHOUT ROWID;
CREATE TABLE anchors (place INTEGER PRIMARY KEY, id TEXT);
CREATE TABLE changed (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
"""
_LAYER_TABLES = """
CREATE TABLE rows (id TEXT PRIMARY KEY, path, private, focus_x, focus_y, placeholder, was_public)
 WITHOUT ROWID;
CREATE TABLE changed (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
"""
# rows from which a snapshot is so large that its changes go into a layer
LAYERED_FROM = 20_000
# rows of a layer, at most: this many, half a megabyte, and a tenth of the rows below it
_LARGEST_LAYER = 10_000
_LARGEST_SHARE = 10
# bytes that tell which ids may have passed already
_PASSED = 1 << 20
_COLUMNS = "id, path, private, focus_x, focus_y, placeholder"
_STAGE = f"CREATE TEMP TABLE stage ({_COLUMNS.replace('id', 'id TEXT', 1)})"
# The last of several rows of one id is the one that counts, as in a dict.
_STAGED = "INSERT INTO stage VALUES (?, ?, ?, ?, ?, ?)"
_SORT = f"INSERT OR REPLACE INTO main.rows SELECT {_COLUMNS} FROM stage ORDER BY id, stage.rowid"
_DIFFERS = (
    "n.path IS NOT o.path OR n.private IS NOT o.private"
    " OR n.focus_x IS NOT o.focus_x OR n.focus_y IS NOT o.focus_y"
)
# what was made of a row is none of its placeholder's business
_BLURRED_ANEW = "n.placeholder IS NOT o.placeholder"
_KNOWN = "differs AND (was_readable OR path IS NOT NULL)"
_CHANGED = (
    "INSERT OR IGNORE INTO main.changed SELECT o.id FROM {old}.rows AS o"
    f" LEFT JOIN main.rows AS n ON n.id = o.id WHERE o.path IS NOT NULL AND ({_DIFFERS})"
)
_NOT_IN_LAYER = " AND NOT EXISTS (SELECT 1 FROM lay.rows AS l WHERE l.id = {row}.id)"
# Somebody may have looked at a new row before, when it was public or had another path.
_NEW = (
    "INSERT OR IGNORE INTO main.changed SELECT n.id FROM main.rows AS n"
    " LEFT JOIN old.rows AS o ON o.id = n.id WHERE n.path IS NOT NULL AND o.path IS NULL"
)
_NEW_ABOVE = (
    "INSERT OR IGNORE INTO main.changed SELECT l.id FROM lay.rows AS l"
    " JOIN main.rows AS n ON n.id = l.id WHERE n.path IS NOT NULL AND l.path IS NULL"
)
_PUBLIC = "path IS NOT NULL AND NOT private"
_ANCHORS = (
    "INSERT INTO anchors SELECT place, id FROM (SELECT id, row_number() OVER (ORDER BY id) - 1"
    f" AS place FROM rows WHERE {_PUBLIC}) WHERE place % {ANCHOR} = 0"
)

Record = tuple[str, Row | None, object]


class DeletedRows(Exception):
    """The count of rows tells that some went away: the whole table must be read."""


@dataclass
class Written:
    """What became of a refresh.

    :ivar new: whether there is a new snapshot; False if the old one says the same.
    :ivar read: how many rows the database gave.
    :ivar changed: how many ids changed or went away.
    :ivar mark: up to where the column ``updated`` was seen.
    """

    new: bool
    read: int
    changed: int
    mark: Mark | None


def write_all(
    path: str,
    fingerprint: str,
    records: Iterable[Record],
    began: int,
    old: Snapshot | None,
    untold: bool,
    skipped: Skipped,
) -> Written:
    """Write a snapshot of *records*, all rows of the table.

    :param began: a time before the state of the table that they show, in nanoseconds since 1970.
    :param old: the snapshot that is to be replaced, to find what changed.
    :param untold: whether its own changes are still to be told, and so pass to the new one.
    :param skipped: counts the records that no caller can ask for.
    :raises OSError: if it cannot be written.
    :raises sqlite3.Error: the same, as SQLite says it; full disks as well.
    """
    tally = _Tally(old.mark if old else None, skipped)
    with _new_file(path) as (new, connection):
        connection.executescript(_TABLES)
        connection.execute(_STAGE)
        connection.execute("BEGIN")
        connection.executemany(_STAGED, tally.values(records))
        connection.execute(_SORT)
        connection.execute("COMMIT")
        changed = 0
        rows = _one(connection, "SELECT count(*) FROM rows WHERE path IS NOT NULL")
        skipped.repeated = max(0, tally.total - skipped.count - rows)
        if old is not None:
            _attach(connection, old)
            connection.execute("BEGIN")
            changed = _note_changes(connection, old)
            if untold:
                connection.execute(_told_before(old))
            connection.execute("COMMIT")
            is_like = (rows, tally.total) == (old.rows, old.total)
            if not changed and is_like and not _is_blurred_anew(connection, old):
                return Written(False, tally.total, 0, tally.mark)
        _finish(connection, fingerprint, tally.total, tally.mark, began)
        _publish(connection, new, path)
    _remove_layer(path)
    return Written(True, tally.total, changed, tally.mark)


def _note_changes(connection: sqlite3.Connection, old: Snapshot) -> int:
    """Fill ``changed`` by comparing the new rows with those of *old*; return how many differ."""
    below = _CHANGED.format(old="old")
    if old.layer is None:
        changed = connection.execute(below).rowcount
        connection.execute(_NEW)
        return changed
    changed = connection.execute(below + _NOT_IN_LAYER.format(row="o")).rowcount
    changed += connection.execute(_CHANGED.format(old="lay")).rowcount
    connection.execute(_NEW + _NOT_IN_LAYER.format(row="n"))
    connection.execute(_NEW_ABOVE)
    return changed


def _is_blurred_anew(connection: sqlite3.Connection, old: Snapshot) -> bool:
    """Tell whether a placeholder differs from that in *old*."""
    differing = (
        "SELECT EXISTS (SELECT 1 FROM {}.rows AS o JOIN main.rows AS n ON n.id = o.id"
        f" WHERE {_BLURRED_ANEW}"
    )
    if old.layer is None:
        return bool(_one(connection, differing.format("old") + ")"))
    below = differing.format("old") + _NOT_IN_LAYER.format(row="o") + ")"
    return bool(_one(connection, below) or _one(connection, differing.format("lay") + ")"))


def _told_before(old: Snapshot) -> str:
    """Return the statement that takes over what *old* has changed."""
    source = "old" if old.layer is None else "lay"
    return f"INSERT OR IGNORE INTO main.changed SELECT id FROM {source}.changed"


def write_changes(
    path: str,
    fingerprint: str,
    records: Iterable[Record],
    count: Callable[[], int] | None,
    began: int,
    old: Snapshot,
    untold: bool,
    skipped: Skipped,
) -> Written:
    """Write a snapshot of what *old* has and *records*, the rows that may have changed since.

    :param count: tells how many rows the database has, of the same state; asked after *records*.
        None believes that no row is gone.
    :raises DeletedRows: if that many cannot be explained by *records*.
    :raises OSError: if it cannot be written.
    :raises sqlite3.Error: the same.
    """
    tally = _Tally(old.mark, skipped)
    with contextlib.closing(sqlite3.connect("", uri=True, isolation_level=None)) as connection:
        connection.executescript(_TABLES)
        connection.execute(_STAGE)
        connection.execute("BEGIN")
        connection.executemany(_STAGED, _differing(tally.values(records), old))
        connection.execute(_SORT)
        connection.execute("COMMIT")
        _attach(connection, old)
        connection.execute(
            "CREATE TEMP TABLE before (id TEXT PRIMARY KEY, path, private, focus_x, focus_y,"
            " placeholder) WITHOUT ROWID"
        )
        for source in ("old", "lay") if old.layer else ("old",):
            connection.execute(
                "INSERT OR REPLACE INTO before SELECT"
                " o.id, o.path, o.private, o.focus_x, o.focus_y, o.placeholder"
                f" FROM main.rows AS n JOIN {source}.rows AS o ON o.id = n.id"
            )
        joined = "FROM main.rows AS n LEFT JOIN before AS o ON o.id = n.id"
        added = _one(connection, f"SELECT count(*) {joined} WHERE o.id IS NULL")
        total = old.total + added if count is None else count()
        if old.total + added != total:
            raise DeletedRows(f"{total} rows instead of {old.total + added}")
        differing = f"{joined} WHERE o.id IS NULL OR {_DIFFERS} OR {_BLURRED_ANEW}"
        fresh, changed = connection.execute(
            f"SELECT count(*), total(o.path IS NOT NULL AND ({_DIFFERS})) {differing}"
        ).fetchone()
        if not fresh:
            return Written(False, tally.total, 0, tally.mark)
        connection.execute(
            "CREATE TEMP TABLE fresh AS SELECT n.id, n.path, n.private, n.focus_x, n.focus_y,"
            " n.placeholder, o.path IS NOT NULL AS was_readable,"
            f" (o.id IS NULL OR {_DIFFERS}) AS differs,"
            f" coalesce(o.path IS NOT NULL AND NOT o.private, 0) AS was_public {differing}"
        )
        most = min(_LARGEST_LAYER, old.total // _LARGEST_SHARE)
        if old.total >= LAYERED_FROM and old.layered + fresh <= most:
            _write_layer(path, connection, total, tally.mark, began, old, untold)
        else:
            _write_merged(path, fingerprint, connection, total, tally.mark, began, old, untold)
    return Written(True, tally.total, int(changed), tally.mark)


def _differing(values: Iterable[tuple], old: Snapshot) -> Iterable[tuple]:
    """Pass over the rows that *old* has as they are: after an import that is a whole table."""
    passed = bytearray(_PASSED)
    for row in values:
        place = hash(row[0]) % _PASSED
        # the last of several rows of one id must follow those before it
        if passed[place] or row[1:] != old.stored(row[0]):
            passed[place] = 1
            yield row


def _write_merged(path, fingerprint, source, total, mark, began, old, untold) -> None:
    """Write one file of *old*, its layer and the table ``fresh`` of the connection *source*."""
    with _new_file(path, copied_from=old.path) as (new, target):
        if old.layer is not None:
            target.execute("ATTACH ? AS lay", (connect_uri(old.layer),))
        target.execute("BEGIN")
        if not untold or old.layer is not None:
            target.execute("DELETE FROM main.changed")
        if old.layer is not None:
            if untold:
                target.execute(_told_before(old))
            target.execute(
                f"INSERT OR REPLACE INTO main.rows SELECT {_COLUMNS} FROM lay.rows ORDER BY id"
            )
        target.execute(
            "CREATE TEMP TABLE fresh (id TEXT, path, private, focus_x, focus_y, placeholder, known)"
        )
        rows = source.execute(f"SELECT {_COLUMNS}, {_KNOWN} FROM fresh ORDER BY id")
        target.executemany("INSERT INTO fresh VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        target.execute("INSERT OR IGNORE INTO main.changed SELECT id FROM fresh WHERE known")
        target.execute(f"INSERT OR REPLACE INTO main.rows SELECT {_COLUMNS} FROM fresh")
        target.execute("DELETE FROM anchors")
        target.execute("DELETE FROM main.meta")
        target.execute("COMMIT")
        if old.layer is not None:
            target.execute("DETACH lay")
        _finish(target, fingerprint, total, mark, began)
        _publish(target, new, path)
    _remove_layer(path)


def _write_layer(path, source, total, mark, began, old, untold) -> None:
    """Write a layer of that of *old* and the table ``fresh`` of the connection *source*."""
    number = max(old.number, old.required) + 1
    with _new_file(path + LAYER) as (new, target):
        target.executescript(_LAYER_TABLES)
        target.execute("BEGIN")
        if old.layer is not None:
            rows = source.execute("SELECT * FROM lay.rows")
            target.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        if untold:
            changed = source.execute(f"SELECT id FROM {'lay' if old.layer else 'old'}.changed")
            target.executemany("INSERT INTO changed VALUES (?)", changed)
        rows = source.execute(
            "SELECT f.id, f.path, f.private, f.focus_x, f.focus_y, f.placeholder,"
            f" coalesce((SELECT {_PUBLIC} FROM old.rows AS b WHERE b.id = f.id), 0) FROM fresh AS f"
        )
        target.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        known = source.execute(f"SELECT id FROM fresh WHERE {_KNOWN}")
        target.executemany("INSERT OR IGNORE INTO changed VALUES (?)", known)
        readable, public = source.execute(
            "SELECT total(path IS NOT NULL) - total(was_readable),"
            f" total({_PUBLIC}) - total(was_public) FROM fresh"
        ).fetchone()
        meta = {
            "base": old.base,
            "serial": os.urandom(16).hex(),
            "rows": old.rows + int(readable),
            "public": old.public + int(public),
            "total": total,
            "mark": json.dumps(mark),
            "began": began,
            "layered": _one(target, "SELECT count(*) FROM rows"),
            "number": number,
            "bits": bits(id for (id,) in target.execute("SELECT id FROM rows")),
        }
        target.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        target.execute("COMMIT")
        _publish(target, new, path + LAYER)
    # Not before: a reader must never miss a layer that is still to come.
    require_layer(path, number)


def _remove_layer(path: str) -> None:
    # above another file it is none, so nothing is lost if this is never reached
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path + LAYER)


class _Tally:
    """Counts the records that pass, and sees the latest value of their column ``updated``."""

    def __init__(self, mark: Mark | None, skipped: Skipped):
        self.total = 0
        self.skipped = skipped
        self._before = mark
        self._latest = None

    @property
    def mark(self) -> Mark | None:
        latest = updated.encode(self._latest)
        return self._before if latest is None else latest

    def values(self, records: Iterable[Record]):
        for id, row, moment in records:
            self.total += 1
            self.skipped.total += 1
            if not self.total % _WITHOUT_PAUSE:
                time.sleep(_PAUSE)
            if moment is not None:
                self._latest = updated.later(self._latest, moment)
            if row is None:
                self.skipped.add(id)
                yield storable(id), None, 0, None, None, None
            else:
                path, private, x, y, placeholder = row
                yield storable(id), storable(path), int(private), x, y, placeholder


@contextlib.contextmanager
def _new_file(path: str, copied_from: str | None = None):
    """Yield the name of a new file and a connection to it; what is still there at the end goes."""
    new = path + ".new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    try:
        # Paths of private pictures are nobody else's business.
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        if copied_from:
            shutil.copyfile(copied_from, new)
        with contextlib.closing(sqlite3.connect(new, uri=True, isolation_level=None)) as connection:
            # Whoever finds it half written throws it away, so nothing is journalled.
            for setting in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE"):
                connection.execute(f"PRAGMA {setting}").fetchall()
            for schema in ("main", "temp"):
                connection.execute(f"PRAGMA {schema}.cache_size=-{_CACHE_KB}")
            yield new, connection
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)


def _attach(connection: sqlite3.Connection, old: Snapshot) -> None:
    connection.execute("ATTACH ? AS old", (connect_uri(old.path),))
    if old.layer is not None:
        connection.execute("ATTACH ? AS lay", (connect_uri(old.layer),))


def _finish(
    connection: sqlite3.Connection, fingerprint: str, total: int, mark: Mark | None, began: int
) -> None:
    connection.execute("BEGIN")
    connection.execute(_ANCHORS)
    meta = {
        "fingerprint": fingerprint,
        "serial": os.urandom(16).hex(),
        "rows": _one(connection, "SELECT count(*) FROM rows WHERE path IS NOT NULL"),
        "public": _one(connection, f"SELECT count(*) FROM rows WHERE {_PUBLIC}"),
        "total": total,
        "mark": json.dumps(mark),
        "began": began,
    }
    connection.executemany("INSERT INTO main.meta VALUES (?, ?)", meta.items())
    # the copy of a file that had layers
    connection.execute("PRAGMA main.user_version=0")
    connection.execute("COMMIT")


def _publish(connection: sqlite3.Connection, new: str, path: str) -> None:
    connection.close()
    descriptor = os.open(new, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # or a power cut could leave an empty file under the final name
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(new, path)


def _one(connection: sqlite3.Connection, query: str):
    return connection.execute(query).fetchone()[0]
