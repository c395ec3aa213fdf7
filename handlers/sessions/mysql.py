"""Sessions in MySQL or MariaDB, for several machines, through PyMySQL.

The table is partitioned by the time of expiry, half an hour each, for six hours ahead; the sweep
moves what is still alive out of the oldest partition and drops it, which takes the same few
milliseconds for any number of sessions, where deleting them row by row costs a third of the
server. A session that lives longer is kept in the last partition and moved on when its time
comes. Where the account may not alter the table, or a clock that was ahead has swept it, the
rows are deleted in small steps instead.
"""

import hashlib
import logging
import math
import time
from collections.abc import Callable

from handlers.database.errors import DatabaseAway
from handlers.database.hosts import Hosts
from handlers.database.mysql import DENIED
from handlers.database.url import URL
from handlers.locks import LockTimeout
from handlers.sessions.mysql_link import Link, Refused
from handlers.sessions.sql import (
    DELETE_STEP,
    PERIOD,
    TABLE,
    SqlStore,
    period_end,
)
from handlers.sessions.store import Held
from handlers.sessions.sweep import Pace, Swept

logger = logging.getLogger(__name__)

LARGEST = 4 * 1024 * 1024
AHEAD = 12
_LOOK_AGAIN = 600
# seconds for which a process may go on saving into the partition that it knows as the last one
_KNOWN_AS_LAST = 2 * _LOOK_AGAIN
_LOCK_STEP = 4.0
_SHORT_WAIT = 0.005
_TABLE = """
CREATE TABLE IF NOT EXISTS {table} (
    id CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    sweep_after BIGINT NOT NULL,
    created DOUBLE NOT NULL,
    accessed DOUBLE NOT NULL,
    timeout DOUBLE NOT NULL,
    version BIGINT NOT NULL,
    username VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    data MEDIUMBLOB NOT NULL,
    PRIMARY KEY (id, sweep_after),
    KEY sweep_after (sweep_after),
    KEY username (username)
) ENGINE=InnoDB
"""


class MysqlStore(SqlStore):
    """Sessions in a table of MySQL or MariaDB; :meth:`create` makes it.

    Session locks are GET_LOCK's: they hold between all machines of one server (not between the
    nodes of a cluster that writes on several; use *expected* there) and end with the connection.
    A lost connection is made anew within the call, on the other hosts of the URL if need be; a
    lock is lost with it. So it is with a connection to a server that takes no changes any more,
    after a failover; of several hosts one that takes changes is preferred.

    :param url: a ``mysql://`` URL, taken apart.
    :param timeout: seconds to wait for the server to connect or to answer.
    """

    trusted = False

    def __init__(
        self,
        url: URL,
        table: str = TABLE,
        *,
        timeout: float = 10.0,
        max_size: int = LARGEST,
        clock: Callable[[], float] = time.time,
    ):
        super().__init__(table, max_size=max_size, clock=clock)
        if url.scheme != "mysql":
            raise ValueError(f"not a mysql:// URL: {url}")
        self._url = url
        self._hosts = Hosts(url)
        self._timeout = timeout
        self._last_end = 0
        self._looked_at = -math.inf
        # partitions that were the last one, until this process added others at that time
        self._were_last: dict[int, float] = {}

    def create(self, partitioned: bool = True) -> None:
        """Make the table if it is not there.

        :param partitioned: False makes one that is swept row by row.
        """
        query = _TABLE
        if partitioned:
            query += f" PARTITION BY RANGE (sweep_after) ({_partitions(self._wanted())})"
        self._run(query)

    def sweep(self, pace: Pace, grace: float = 0) -> Swept | None:
        try:
            held = self._acquire("sweep", 0)
        except LockTimeout:
            return None
        with held:
            before = self.clock() - grace
            ends = self._partition_ends()
            # after a sweep by a clock that was ahead the first one ends long after its sessions
            if ends and ends[0] <= self.clock() + 2 * PERIOD:
                try:
                    return self._sweep_partitions(ends, before, pace)
                except Refused as error:
                    if error.code not in DENIED:
                        raise
                    logger.info("sessions are deleted row by row: %s", error)
            return self._delete_expired(pace, before)

    def _sweep_partitions(self, ends: list[int], before: float, pace: Pace) -> Swept:
        started = time.monotonic()
        deleted = 0
        missing = [end for end in self._wanted() if end > ends[-1]]
        if missing:
            if not self._alter(f"ADD PARTITION ({_partitions(missing)})"):
                return Swept(0, 0, time.monotonic() - started, False)
            self._were_last[ends[-1]] = time.monotonic()
            ends = ends + missing
            self._last_end = ends[-1]
        finished = True
        # a table must keep one
        for end in ends[:-1]:
            if end > before:
                break
            if time.monotonic() - self._were_last.get(end, -math.inf) < _KNOWN_AS_LAST:
                # where nobody swept for hours, others still save all living sessions into it
                swept = self._delete_expired(pace, before)
                deleted, finished = deleted + swept.deleted, swept.finished
                break
            finished = self._move_living(end, before, pace)
            if not finished:
                break
            count = self._run(f"SELECT COUNT(*) FROM {{table}} PARTITION (p{end})")[1][0][0]
            finished = self._alter(f"DROP PARTITION p{end}")
            if not finished:
                break
            deleted += count
            self._were_last.pop(end, None)
        return Swept(deleted, deleted, time.monotonic() - started, finished)

    def _move_living(self, end: int, before: float, pace: Pace) -> bool:
        """Move on what lives longer than its partition; return False if the pace ran out."""
        while True:
            moved, _ = self._run(
                "UPDATE {table} SET sweep_after ="
                f" LEAST((FLOOR((accessed + timeout) / {PERIOD}) + 1) * {PERIOD}, %s)"
                " WHERE sweep_after = %s AND accessed + timeout >= %s"
                f" LIMIT {DELETE_STEP}",
                self._last_end - 1,
                end - 1,
                before,
            )
            if not pace.go_on(moved):
                return False
            if not moved:
                return True

    def _alter(self, change: str) -> bool:
        """Change the partitions; return False if a long transaction holds the table."""
        try:
            self._link().run(f"ALTER TABLE {self.table} {change}", ())
        except DatabaseAway as error:
            logger.info("change of partitions put off: %s", error)
            return False
        return True

    def _wanted(self) -> list[int]:
        first = period_end(self.clock())
        return list(range(first, first + AHEAD * PERIOD, PERIOD))

    def _partition_ends(self) -> list[int]:
        _, rows = self._run(
            "SELECT partition_name FROM information_schema.partitions"
            " WHERE table_schema = DATABASE() AND table_name = %s AND partition_name IS NOT NULL"
            " ORDER BY partition_ordinal_position",
            self.table,
        )
        ends = [int(name[1:]) for (name,) in rows]
        self._last_end = ends[-1] if ends else 0
        self._looked_at = time.monotonic()
        return ends

    def _sweep_after(self, expires: float) -> int:
        if time.monotonic() - self._looked_at > _LOOK_AGAIN:
            self._partition_ends()
        after = super()._sweep_after(expires)
        # one second before the end marks what may have to be moved on
        return min(after, self._last_end - 1) if self._last_end else after

    def _delete_step(self, before: float) -> int:
        return self._run(
            "DELETE FROM {table} WHERE sweep_after <= %s AND accessed + timeout < %s"
            f" ORDER BY sweep_after LIMIT {DELETE_STEP}",
            before,
            before,
        )[0]

    def _size(self) -> int:
        _, rows = self._run(
            "SELECT data_length + index_length FROM information_schema.tables"
            " WHERE table_schema = DATABASE() AND table_name = %s",
            self.table,
        )
        return int(rows[0][0]) if rows else 0

    def _connect(self) -> Link:
        return Link(self._url, self._hosts, self._timeout)

    def _link(self) -> Link:
        link = getattr(self._links, "link", None)
        if link is not None and not link.held and not link.is_worth_keeping():
            self.close()
        return super()._link()

    def _failed(self) -> None:
        self._hosts.skip()

    def _acquire(self, name: str, timeout: float | None) -> Held:
        text = f"{self._url.name}.{self.table}.{name}"
        # GET_LOCK's names are the server's, and at most 64 characters long
        name = f"mps.{hashlib.sha256(text.encode()).hexdigest()[:48]}"
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        step = min(self._timeout / 2, _LOCK_STEP)
        while True:
            link = self._link()
            # the server would let this connection in twice
            if name in link.held:
                raise LockTimeout("held by this thread itself")
            left = max(deadline - time.monotonic(), 0)
            _, rows = self._run("SELECT GET_LOCK(%s, %s)", name, min(left, step))
            if rows[0][0] == 1:
                break
            if left <= 0:
                raise LockTimeout(f"not free within {timeout:g} s")
            # MySQL takes whole seconds, and a fraction for none
            time.sleep(min(left, _SHORT_WAIT))
        link = self._link()
        link.held.add(name)
        return Held(lambda: link.release(name))


def _partitions(ends: list[int]) -> str:
    return ", ".join(f"PARTITION p{end} VALUES LESS THAN ({end + 1})" for end in ends)
