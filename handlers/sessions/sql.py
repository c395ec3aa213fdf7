"""Sessions in a table: what MySQL, MariaDB and SQLite have in common.

One row per session. ``sweep_after`` is the expiry rounded up to half an hour, so that most saves
change no index and, where the table is partitioned by it, move no row.
"""

import contextlib
import os
import random
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from handlers.database.errors import Contended, DatabaseAway, Duplicate, Lost, ReadOnly
from handlers.sessions import sid as sids
from handlers.sessions.store import (
    AHEAD,
    REPLACED,
    Conflict,
    Entry,
    Held,
    Record,
    Stats,
    Store,
    StoreUnavailable,
)
from handlers.sessions.sweep import Pace, Swept

TABLE = "sessions"
PERIOD = 1800
DELETE_STEP = 100
_PAGE = 1000
_TRIES = 4
# no date beyond it is told apart; the row still holds the true timeout
_LAST_TIME = 2**40
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")


def period_end(time: float) -> int:
    """Return the end of the period of PERIOD seconds that *time* lies in."""
    return int(min(time, _LAST_TIME) // PERIOD + 1) * PERIOD


class Link(Protocol):
    """One connection, used by one thread at a time, in autocommit mode."""

    def run(self, query: str, args: tuple) -> tuple[int, list[tuple]]:
        """Run one statement with ``%s`` marks; return how many rows matched, and the rows.

        :raises DatabaseAway, Contended, Duplicate, StoreError: and nothing else.
        """

    def close(self) -> None:
        """Close the connection; never raises."""


class SqlStore(Store):
    """A table of sessions. Each process and thread has its own connection, made when needed.

    A save is one statement, or two for a new session. With *expected* it is a compare-and-swap
    within the statement, exact between any number of machines and without a lock.

    :param table: letters, digits and underscores.
    """

    def __init__(self, table: str, *, max_size: int, clock: Callable[[], float] = time.time):
        super().__init__(max_size=max_size, clock=clock)
        if not _NAME.fullmatch(table):
            raise ValueError(f"not a table's name: {table!r}")
        self.table = table
        self._links = threading.local()

    def create(self) -> None:
        """Make the table if it is not there."""
        raise NotImplementedError

    def load(self, sid: str, held: Held | None = None) -> Record | None:
        # two machines that stored a new session at once may have made two rows in two partitions
        _, rows = self._run(
            "SELECT data, created, accessed, timeout, username, version FROM {table}"
            " WHERE id = %s ORDER BY accessed DESC LIMIT 1",
            sids.key(sid),
        )
        if not rows:
            return None
        data, *rest = rows[0]
        record = Record(bytes(data), *rest)
        return None if record.expired(self.clock()) else record

    def save(
        self, sid: str, record: Record, expected: int | None = None, held: Held | None = None
    ) -> int:
        self._check(record)
        key = sids.key(sid)
        data, created, accessed, timeout, user, _ = record
        version = secrets.randbits(62)
        after = self._sweep_after(accessed + timeout)
        values = (after, created, accessed, timeout, version, user, data)
        if expected is None:
            self._upsert(key, values)
        # a statement repeated on a new connection may find its own version
        elif not self._update(key, values, " AND version IN (%s, %s)", expected, version):
            raise Conflict("saved or deleted by another since it was loaded")
        return version

    def touch(self, sid: str, accessed: float) -> bool:
        key = sids.key(sid)
        _, rows = self._run("SELECT timeout FROM {table} WHERE id = %s", key)
        if not rows:
            return False
        # two rows of one session cannot both move to one place: the newer one may be there already
        with contextlib.suppress(Duplicate):
            self._run(
                "UPDATE {table} SET accessed = %s, sweep_after = %s"
                " WHERE id = %s AND (accessed < %s OR accessed > %s)",
                accessed,
                self._sweep_after(accessed + rows[0][0]),
                key,
                accessed,
                self.clock() + AHEAD,
            )
        return True

    def sweep(self, pace: Pace, grace: float = 0) -> Swept | None:
        return self._delete_expired(pace, self.clock() - grace)

    def entries(self, user: str | None = None) -> Iterator[Entry]:
        now = self.clock()
        last = ""
        which, args = ("", ()) if user is None else (" AND username = %s", (user,))
        which += " AND data <> %s"
        while True:
            _, rows = self._run(
                "SELECT id, username, created, accessed, timeout, LENGTH(data) FROM {table}"
                f" WHERE id > %s{which} ORDER BY id LIMIT {_PAGE}",
                last,
                *args,
                REPLACED,
            )
            for row in rows:
                entry = Entry(*row)
                # MySQL compares text without the spaces at its end
                if now - entry.accessed <= entry.timeout and user in (None, entry.user):
                    yield entry
            if len(rows) < _PAGE:
                return
            last = rows[-1][0]

    def stats(self) -> Stats:
        _, rows = self._run(
            "SELECT COUNT(*), COALESCE(SUM(accessed + timeout < %s), 0) FROM {table}", self.clock()
        )
        total, expired = map(int, rows[0])
        return Stats(total - expired, expired, self._size())

    def count(self) -> int:
        # an index tells of all but those whose time ends within half an hour, or has ended
        now = self.clock()
        _, rows = self._run(
            "SELECT (SELECT COUNT(*) FROM {table} WHERE sweep_after > %s) + (SELECT COUNT(*)"
            " FROM {table} WHERE sweep_after <= %s AND accessed + timeout >= %s)",
            period_end(now),
            period_end(now),
            now,
        )
        return int(rows[0][0])

    def close(self) -> None:
        link, pid = getattr(self._links, "link", None), getattr(self._links, "pid", 0)
        self._links.link = None
        if link is not None and pid == os.getpid():
            link.close()

    def _connect(self) -> Link:
        raise NotImplementedError

    def _size(self) -> int:
        raise NotImplementedError

    def _sweep_after(self, expires: float) -> int:
        return period_end(expires)

    def _run(self, query: str, *args) -> tuple[int, list[tuple]]:
        """Run a statement, again on a new connection if the old one is gone; names the table."""
        query = query.replace("{table}", self.table)
        for left in reversed(range(_TRIES)):
            try:
                return self._link().run(query, args)
            except Contended as error:
                if not left:
                    raise StoreUnavailable(str(error)) from error
                time.sleep(random.uniform(0, 0.02))
            except DatabaseAway as error:
                self.close()
                if error.timed_out:
                    self._failed()
                    raise StoreUnavailable(f"no answer in time: {error}") from error
                if not isinstance(error, (Lost, ReadOnly)) or not left:
                    raise StoreUnavailable(str(error)) from error
                if isinstance(error, ReadOnly):
                    self._failed()
        raise AssertionError("the last try returns or raises")

    def _failed(self) -> None:
        """Begin with another host, where there are several."""

    def _link(self) -> Link:
        if getattr(self._links, "link", None) is None or self._links.pid != os.getpid():
            if getattr(self._links, "link", None) is not None:
                # another process's: not even to be closed here
                self._links.inherited = self._links.link
            self._links.link = None
            self._links.link = self._connect()
            self._links.pid = os.getpid()
        return self._links.link

    def _upsert(self, key: str, values: tuple) -> None:
        for _ in range(_TRIES):
            try:
                if self._update(key, values):
                    return
                self._run(
                    "INSERT INTO {table} (id, sweep_after, created, accessed, timeout, version,"
                    " username, data) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                    key,
                    *values,
                )
                return
            except Duplicate:
                # inserted by another at the same moment, or two rows of one session became one
                if self._count(key) > 1:
                    self._delete(key)
        raise StoreUnavailable("others keep saving the same session")

    def _update(self, key: str, values: tuple, condition: str = "", *args) -> int:
        after, *others = values
        columns = (
            "created = %s, accessed = %s, timeout = %s, version = %s, username = %s, data = %s"
        )
        # half the cost of the second: it looks into one partition, and the row stays in its place
        return (
            self._run(
                f"UPDATE {{table}} SET {columns} WHERE id = %s AND sweep_after = %s{condition}",
                *others,
                key,
                after,
                *args,
            )[0]
            or self._run(
                f"UPDATE {{table}} SET {columns}, sweep_after = %s WHERE id = %s{condition}",
                *others,
                after,
                key,
                *args,
            )[0]
        )

    def _count(self, key: str) -> int:
        return self._run("SELECT COUNT(*) FROM {table} WHERE id = %s", key)[1][0][0]

    def _delete(self, key: str) -> bool:
        return self._run("DELETE FROM {table} WHERE id = %s", key)[0] > 0

    def _delete_step(self, before: float) -> int:
        """Delete at most DELETE_STEP rows that expired before that time; return how many."""
        raise NotImplementedError

    def _delete_expired(self, pace: Pace, before: float) -> Swept:
        started = time.monotonic()
        deleted = 0
        while True:
            step = self._delete_step(before)
            deleted += step
            going_on = pace.go_on(step)
            if step < DELETE_STEP or not going_on:
                seconds = time.monotonic() - started
                return Swept(deleted, deleted, seconds, step < DELETE_STEP)
