"""How a snapshot is written: from the whole table, or from the one before and what changed.

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
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from handlers.database.text import storable

from . import updated
from .row import Row, Skipped
from .snapshot import ANCHOR, Snapshot, connect_uri
from .updated import Mark

_CACHE_KB = 16_000
# Requests of the same process wait for the interpreter lock between two pauses: a millisecond.
_WITHOUT_PAUSE = 256
_PAUSE = 50e-6
_TABLES = """
CREATE TABLE rows (id TEXT PRIMARY KEY, path, private, focus_x, focus_y) WITHOUT ROWID;
CREATE TABLE anchors (place INTEGER PRIMARY KEY, id TEXT);
CREATE TABLE changed (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
"""
_STAGE = "CREATE TEMP TABLE stage (id TEXT, path, private, focus_x, focus_y)"
# The last of several rows of one id is the one that counts, as in a dict.
_SORT = (
    "INSERT OR REPLACE INTO main.rows SELECT id, path, private, focus_x, focus_y"
    " FROM stage ORDER BY id, stage.rowid"
)
_DIFFERS = (
    "n.path IS NOT o.path OR n.private IS NOT o.private"
    " OR n.focus_x IS NOT o.focus_x OR n.focus_y IS NOT o.focus_y"
)
_CHANGED = (
    "INSERT OR IGNORE INTO main.changed SELECT o.id FROM old.rows AS o"
    f" LEFT JOIN main.rows AS n ON n.id = o.id WHERE o.path IS NOT NULL AND ({_DIFFERS})"
)
# Somebody may have looked at a new row before, when it was public or had another path.
_NEW = (
    "INSERT OR IGNORE INTO main.changed SELECT n.id FROM main.rows AS n"
    " LEFT JOIN old.rows AS o ON o.id = n.id WHERE n.path IS NOT NULL AND o.path IS NULL"
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
        connection.executemany("INSERT INTO stage VALUES (?, ?, ?, ?, ?)", tally.values(records))
        connection.execute(_SORT)
        connection.execute("COMMIT")
        changed = 0
        if old is not None:
            _attach(connection, old)
            connection.execute("BEGIN")
            changed = connection.execute(_CHANGED).rowcount
            connection.execute(_NEW)
            if untold:
                connection.execute("INSERT OR IGNORE INTO changed SELECT id FROM old.changed")
            connection.execute("COMMIT")
            rows = _one(connection, "SELECT count(*) FROM rows WHERE path IS NOT NULL")
            if not changed and (rows, tally.total) == (old.rows, old.total):
                return Written(False, tally.total, 0, tally.mark)
        _finish(connection, fingerprint, tally.total, tally.mark, began)
        _publish(connection, new, path)
    return Written(True, tally.total, changed, tally.mark)


def write_changes(
    path: str,
    fingerprint: str,
    records: Iterable[Record],
    count: Callable[[], int],
    began: int,
    old: Snapshot,
    untold: bool,
    skipped: Skipped,
) -> Written:
    """Write a snapshot of what *old* has and *records*, the rows that may have changed since.

    :param count: tells how many rows the database has, of the same state; asked after *records*.
    :raises DeletedRows: if that many cannot be explained by *records*.
    :raises OSError: if it cannot be written.
    :raises sqlite3.Error: the same.
    """
    tally = _Tally(old.mark, skipped)
    with contextlib.closing(sqlite3.connect("", uri=True, isolation_level=None)) as connection:
        connection.executescript(_TABLES)
        connection.execute(_STAGE)
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO stage VALUES (?, ?, ?, ?, ?)", tally.values(records))
        connection.execute(_SORT)
        connection.execute("COMMIT")
        total = count()
        _attach(connection, old)
        joined = "FROM main.rows AS n LEFT JOIN old.rows AS o ON o.id = n.id"
        added = _one(connection, f"SELECT count(*) {joined} WHERE o.id IS NULL")
        if old.total + added != total:
            raise DeletedRows(f"{total} rows instead of {old.total + added}")
        differing = f"{joined} WHERE o.id IS NULL OR {_DIFFERS}"
        fresh, changed = connection.execute(
            f"SELECT count(*), total(o.path IS NOT NULL) {differing}"
        ).fetchone()
        if not fresh:
            return Written(False, tally.total, 0, tally.mark)
        with _new_file(path, copied_from=old.path) as (new, target):
            target.execute("BEGIN")
            if not untold:
                target.execute("DELETE FROM changed")
            target.execute("CREATE TEMP TABLE fresh (id TEXT, path, private, focus_x, focus_y)")
            rows = connection.execute(f"SELECT n.* {differing}")
            target.executemany("INSERT INTO fresh VALUES (?, ?, ?, ?, ?)", rows)
            target.execute(
                "INSERT OR IGNORE INTO changed SELECT f.id FROM fresh AS f LEFT JOIN rows AS r"
                " ON r.id = f.id WHERE coalesce(r.path, f.path) IS NOT NULL"
            )
            target.execute("INSERT OR REPLACE INTO rows SELECT * FROM fresh ORDER BY id")
            target.execute("DELETE FROM anchors")
            target.execute("DELETE FROM meta")
            target.execute("COMMIT")
            _finish(target, fingerprint, total, tally.mark, began)
            _publish(target, new, path)
    return Written(True, tally.total, int(changed), tally.mark)


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
                yield storable(id), None, 0, None, None
            else:
                yield storable(id), storable(row.path), int(row.private), row.focus_x, row.focus_y


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


def _finish(
    connection: sqlite3.Connection, fingerprint: str, total: int, mark: Mark | None, began: int
) -> None:
    connection.execute("BEGIN")
    connection.execute(_ANCHORS)
    meta = {
        "fingerprint": fingerprint,
        "serial": uuid.uuid4().hex,
        "rows": _one(connection, "SELECT count(*) FROM rows WHERE path IS NOT NULL"),
        "public": _one(connection, f"SELECT count(*) FROM rows WHERE {_PUBLIC}"),
        "total": total,
        "mark": json.dumps(mark),
        "began": began,
    }
    connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
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
