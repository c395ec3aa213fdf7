"""A database that is asked for rows: connections, hosts, time limits, outages."""

import contextlib
import datetime
import functools
import os
import threading
import time
import weakref
from collections.abc import Iterator

from handlers.database.hosts import STANDBY, Hosts

from . import updated
from .errors import DatabaseAway, DatabaseMisconfigured
from .options import Options
from .outage import Outage
from .row import Row, Skipped, reader
from .updated import Mark

# held while a process begins to have a session: all its threads take turns in that one
_opening = threading.Lock()


class Database:
    """Rows from one database, of which one host or several may be away.

    It connects when it is first asked, and closes the connection when it was idle for
    ``lookup.idle`` seconds. The connection is not shared through fork: a child that asks gets its
    own. Threads take turns, and none waits longer than a single-host question may last
    (``connect_timeout`` + ``timeout``) for its turn.

    A connection that was lost is made anew once, on the same host and then on the others in their
    order. If that fails, too, or a time limit is over, nothing is asked during a pause that grows
    up to ``lookup.longest_pause``: see :class:`~handlers.lookup.outage.Outage`, which also logs.
    A host that stalls costs its time limit once for each attempt: ``timeout`` seconds, as it takes
    connections and does not answer, or ``connect_timeout`` if it does not even take them.
    """

    def __init__(self, options: Options):
        self.name = str(options.database)
        self._options = options
        self._hosts = Hosts(options.database)
        self._outage = Outage(self.name, options.longest_pause, options.verdict)
        self._session = None
        self._reading = None

    @property
    def is_away(self) -> bool:
        """True from a failure until the database has answered again."""
        return self._outage.lasts

    @property
    def retry_after(self) -> float:
        """Seconds until the database will be asked again; 0 if it is not away."""
        return self._outage.retry_after

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for this thread's turn to ask :meth:`one`, for the length of a with block.

        While the database is away, only one thread waits for it; the others get the error at once.

        :raises DatabaseAway: during a pause, or if the turn does not come in time.
        :raises DatabaseMisconfigured: during a pause.
        """
        self._outage.check()
        session = self._own_session()
        patience = (
            0 if self._outage.lasts else self._options.connect_timeout + self._options.timeout
        )
        if not session.lock.acquire(timeout=patience):
            raise DatabaseAway("other threads are waiting for it", retry_after=1.0)
        try:
            # the thread that was before this one may have met the end of the database
            self._outage.check()
            yield
        finally:
            session.lock.release()

    def one(self, id: str) -> Row | None:
        """Return the row whose id is exactly *id*, or None; to be called in a :meth:`turn`.

        :raises DatabaseAway: if no host answers in time.
        :raises DatabaseMisconfigured: if the query or the account is refused.
        """
        try:
            names, values = self._ask(self._session, id)
            rows = (
                map(
                    reader(names, self._options.is_id, self._options.queries.private_column), values
                )
                if names
                else ()
            )
            # The database may compare otherwise than exactly: 012 as a number, case, blanks. The
            # last of several rows of one id counts, as it does when all are read.
            row = None
            for found, candidate in rows:
                if found == id:
                    row = candidate
        except (DatabaseAway, DatabaseMisconfigured) as error:
            self._failed(error)
            raise
        self._outage.end()
        return row

    def rows(self, skipped: Skipped) -> Iterator[tuple[str, Row]]:
        """Read all rows, as (id, Row), streaming in bounded memory.

        It has a connection of its own, which is closed at the end. Rows that no caller can ask for
        are left out, see :func:`handlers.lookup.row.reader`, and *skipped* counts them.

        :raises DatabaseAway: also in the middle of the rows.
        :raises DatabaseMisconfigured: before the first row.
        """
        self._outage.check()
        try:
            connection, (names, values) = self._hosts.first(
                self._connect, lambda connection: connection.stream(self._options.queries.all)
            )
            with contextlib.closing(connection):
                read = self._reader(names)
                for value in values:
                    id, row = read(value)
                    skipped.total += 1
                    if row is None:
                        skipped.add(id)
                    else:
                        yield id, row
        except (DatabaseAway, DatabaseMisconfigured) as error:
            self._failed(error)
            raise
        self._outage.end(is_rare=True)

    @contextlib.contextmanager
    def reading(self) -> Iterator["Reading"]:
        """Read much of the table, all of it at one state, on a connection of its own.

        A failure is an outage, as it is with single rows.

        :raises DatabaseAway: here, and from what is read.
        :raises DatabaseMisconfigured: the same.
        """
        self._outage.check()
        try:
            connection, _ = self._hosts.first(self._connect, lambda connection: connection.begin())
            self._reading = connection
            try:
                yield Reading(connection, self._options)
            finally:
                self._reading = None
                connection.close()
        except (DatabaseAway, DatabaseMisconfigured) as error:
            self._hosts.skip()
            self._failed(error)
            raise
        self._outage.end(is_rare=True)

    def abort(self) -> None:
        """Make what another thread reads in :meth:`reading` end soon, with an error."""
        connection = self._reading
        if connection is not None:
            connection.abort()

    def close(self) -> None:
        """Close this process's connection; the next question makes a new one."""
        session = self._session
        if session is not None:
            session.end()

    def _failed(self, error: DatabaseAway | DatabaseMisconfigured) -> None:
        if isinstance(error, DatabaseMisconfigured):
            error.cure = error.cure or self._options.queries.cure(error.missing)
            error.name_option("lookup.database")
        self._outage.begin(error)

    def _ask(self, session: "_Session", id: str):
        query, given, idle = self._options.queries.one, {"id": id}, self._options.idle
        attempts = len(self._hosts)
        lost = None
        if session.connection is not None:
            try:
                if session.is_usable(idle, attempts > 1):
                    answer = session.connection.select(query, given)
                    session.used = time.monotonic()
                    return answer
                if attempts > 1:
                    self._hosts.skip()
            except DatabaseAway as error:
                lost = error
            except DatabaseMisconfigured:
                session.drop()
                raise
            session.drop()
        if lost is not None and lost.timed_out:
            # To connect to the same host would cost its time limit once more.
            self._hosts.skip()
            attempts -= 1
            if not attempts:
                raise lost
        connection, answer = self._hosts.first(
            self._connect, lambda connection: connection.select(query, given), attempts
        )
        session.keep(connection, idle)
        return answer

    def _reader(self, names):
        return reader(names, self._options.is_id, self._options.queries.private_column)

    def _connect(self, host):
        options = self._options
        if options.database.scheme == "sqlite":
            from handlers.database import sqlite

            return sqlite.Connection(options.database, options.timeout)
        # Sites on SQLite need not have PyMySQL in every child's memory.
        from handlers.database import mysql

        return mysql.Connection(
            options.database,
            host,
            options.connect_timeout,
            options.timeout,
            ask_variables=len(self._hosts) > 1,
        )

    def _own_session(self) -> "_Session":
        session = self._session
        if session is None or session.pid != os.getpid():
            with _opening:
                session = self._session
                if session is None or session.pid != os.getpid():
                    inherited, session = session, _Session()
                    session.inherited = inherited
                    weakref.finalize(self, session.end)
                    self._session = session
        return session


class Reading:
    """One state of the table, as :meth:`Database.reading` shows it."""

    def __init__(self, connection, options: Options):
        self._connection = connection
        self._queries = options.queries
        self._is_id = options.is_id

    @functools.cached_property
    def _clock(self) -> tuple[datetime.datetime, datetime.datetime] | None:
        return self._connection.clock()

    @property
    def zone(self) -> float:
        """Seconds that the database's time of day is ahead of UTC; 0 if it has none of its own."""
        if self._clock is None or self._queries.updated is None:
            return 0.0
        local, utc = self._clock
        return (local - utc).total_seconds()

    def all(self) -> Iterator[tuple[str, Row | None, object]]:
        """Yield (id, Row, value of the column ``updated``) of every row.

        The Row is None if no caller can ask for it, see :func:`handlers.lookup.row.reader`.
        """
        return self._records(self._queries.all)

    def since(
        self, mark: Mark, overlap: float, most: int | None = None
    ) -> Iterator[tuple[str, Row | None, object]]:
        """Yield the same of the rows that may have changed since *mark*.

        :param overlap: seconds before it, see :func:`.updated.since`.
        :param most: how many of them, at most; None for all.
        """
        queries = self._queries
        query = queries.updated if most is None else queries.first_updated(most)
        return self._records(query, self._begins(mark, overlap))

    def after(self, mark: Mark) -> Iterator[tuple[str, Row | None, object]]:
        """Yield the same of the rows that say they have changed later than *mark*."""
        return self._records(self._queries.updated, {"since": updated.after(mark)})

    def count(self) -> int:
        """Return the number of rows."""
        return self._number(self._queries.count)

    def count_since(self, mark: Mark, overlap: float) -> int:
        """Return the number of the rows that :meth:`since` yields."""
        return self._number(self._queries.count_updated, self._begins(mark, overlap))

    def _number(self, query: str, parameters: dict[str, Mark] | None = None) -> int:
        ((number,),) = self._connection.stream(query, parameters)[1]
        return int(number)

    def _begins(self, mark: Mark, overlap: float) -> dict[str, Mark]:
        latest = max(self._clock) if self._clock else None
        return {"since": updated.since(mark, overlap, latest)}

    def _records(self, query: str, parameters: dict[str, Mark] | None = None):
        names, values = self._connection.stream(query, parameters)
        read = reader(names, self._is_id, self._queries.private_column)
        place = None
        if self._queries.updated is not None:
            lowered = [name.lower() for name in names]
            if "updated" not in lowered:
                raise DatabaseMisconfigured("the query returns no column named updated")
            place = lowered.index("updated")
        for value in values:
            yield *read(value), None if place is None else value[place]


class _Session:
    """What one process has of a Database: a lock, and perhaps a connection."""

    def __init__(self):
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.connection = None
        self.made = self.used = 0.0
        # SQLite forbids even to close what came through fork, so it is only kept.
        self.inherited = None
        self._ended = threading.Event()

    def keep(self, connection, idle: float) -> None:
        """Keep *connection* until it has been idle for *idle* seconds."""
        self.connection = connection
        self.made = self.used = time.monotonic()
        self._ended = threading.Event()
        closer = threading.Thread(
            target=self._close_when_idle,
            args=(connection, self._ended, idle),
            name="lookup-idle",
            daemon=True,
        )
        # A child that may have no more threads leaves it to the server's own limit.
        with contextlib.suppress(RuntimeError):
            closer.start()

    def is_usable(self, idle: float, has_others: bool) -> bool:
        """Tell whether the connection still stands; asks it only if it was not just used.

        :param has_others: whether there are other hosts, one of which may be the better one.
        """
        now = time.monotonic()
        unused = now - self.used
        # A firewall may have forgotten an older one, and a question would wait for nothing.
        if unused >= idle or (has_others and self.connection.read_only and self._is_old(now)):
            return False
        if has_others and self._is_old(now):
            self.made = now
            return self.connection.alive()
        return unused < self.connection.trusted or self.connection.alive()

    def _is_old(self, now: float) -> bool:
        return now - self.made > STANDBY

    def drop(self) -> None:
        """Close the connection, if there is one."""
        self._ended.set()
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()

    def end(self) -> None:
        """Close the connection, unless a thread is asking or it is another process's."""
        if self.pid != os.getpid():
            return
        self._ended.set()
        if self.lock.acquire(blocking=False):
            try:
                self.drop()
            finally:
                self.lock.release()

    def _close_when_idle(self, connection, ended: threading.Event, idle: float) -> None:
        left = idle
        while not ended.wait(left):
            with self.lock:
                if self.connection is not connection:
                    return
                left = self.used + idle - time.monotonic()
                if left <= 0:
                    self.drop()
                    return


def _after_fork() -> None:
    # another thread of the parent may have held it
    global _opening
    _opening = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
