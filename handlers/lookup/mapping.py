"""The lookup itself: a read-only mapping of ids to rows."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from time import monotonic

from . import options as _options
from .current import Current
from .database import Database
from .errors import DatabaseAway, DatabaseMisconfigured, Unavailable
from .limit import Limit
from .memory import Memory
from .refresh import Refresher
from .row import Row, Skipped
from .snapshot import Replaced, Snapshot, Unusable

logger = logging.getLogger(__name__)

_opened: dict[frozenset, "Lookup"] = {}
_opening = threading.Lock()
# seconds between two looks for the first snapshot of all, if somebody waits for it
_POLL = 0.02
# seconds after which an id that was not asked for is worth another request
_UNASKED_RETRY = 1.0
# seconds between two lines in the log that say so
_QUIET = 60.0


def open(options: Mapping[str, str]) -> "Lookup":
    """Return this process's Lookup for the ``lookup.*`` entries of *options*.

    Handlers that are configured alike share one, whatever thread they run in. It is not warmed.

    :raises BadOption: for a wrong name or value.
    :raises BadURL: for a database URL that cannot be understood.
    """
    key = frozenset(item for item in options.items() if item[0].startswith("lookup."))
    lookup = _opened.get(key)
    if lookup is None:
        with _opening:
            lookup = _opened.get(key)
            if lookup is None:
                lookup = _opened[key] = Lookup.from_options(options)
    return lookup


class Lookup(Mapping):
    """id -> :class:`Row`, from memory, and from the database for what memory does not know.

    ``lookup[id]``, ``lookup.get(id)`` and ``id in lookup`` answer a known id from a dict, without a
    lock, or from the snapshot that all children share. An id that neither knows costs one query,
    and the answer is remembered: a row until the next :meth:`warm` or the next snapshot, and that
    there is none for ``lookup.missing_ttl`` seconds. The database is asked for ``lookup.queries``
    such ids in a second; for the others :class:`Unavailable` is raised, as nobody knows whether
    they exist. What cannot stand in a URL, see ``lookup.encode_ids``, is not there and costs
    nothing. If the database is needed and away, all three raise :class:`Unavailable`.

    Without ``lookup.snapshot``, ``len()`` and iteration tell what the dict holds. With it, they
    tell what the snapshot holds, whatever its size, and a thread of this process sees to it that
    the snapshot is kept up to date, by this process or another one. A new one is taken between two
    questions, at most a second after it appeared.

    Any thread may use it. After a fork it may be used in both processes: the child takes the rows
    with it, or opens the snapshot anew, and makes a connection of its own.
    """

    def __init__(self, options: _options.Options):
        self._options = options
        self._is_id = options.is_id
        self._database = Database(options)
        self._current = Current(options)
        self._limit = Limit(options.queries_per_second)
        self._quiet_until = 0.0
        self._warming = threading.Lock()
        self._found = 0
        self._not_found = 0
        self._not_asked = 0
        self._unavailable = 0

    @property
    def on_change(self) -> Callable[[Iterator[str]], None] | None:
        """What is to be told of rows that changed or went away; to be set before :meth:`warm`.

        It is called in one of all processes, with an iterator of their ids, when there is a new
        snapshot and no child answers from the old one any more: what was made of those rows can be
        removed. All ids come, in one call, however many; they come again in another call if it
        raises or its process dies.
        """
        return self._current.on_change

    @on_change.setter
    def on_change(self, told: Callable[[Iterator[str]], None] | None) -> None:
        self._current.on_change = told

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> "Lookup":
        """Make a Lookup from the ``lookup.*`` entries of *options*, without asking the database.

        :raises BadOption: for a wrong name or value.
        :raises BadURL: for a database URL that cannot be understood.
        """
        return cls(_options.from_mapping(options))

    def get(self, id: str, default=None) -> Row | None:
        """Return the row of *id*, or *default* if there is none.

        :raises Unavailable: if memory does not know and the database cannot tell, or is not asked.
        """
        current = self._current
        if monotonic() >= current.look_at:
            current.look()
        row = current.memory.rows.get(id)
        if row is not None:
            return row
        row = self._find(id)
        return default if row is None else row

    def __getitem__(self, id: str) -> Row:
        row = self.get(id)
        if row is None:
            raise KeyError(id)
        return row

    def __contains__(self, id) -> bool:
        return self.get(id) is not None

    def __iter__(self) -> Iterator[str]:
        snapshot = self._current_snapshot()
        if snapshot is not None:
            return snapshot.ids()
        # a copy, as another thread may add a row meanwhile
        return iter(list(self._current.memory.rows))

    def __len__(self) -> int:
        snapshot = self._current_snapshot()
        return len(self._current.memory.rows) if snapshot is None else snapshot.rows

    def __repr__(self):
        return f"<Lookup of {self._database.name}, {len(self._current.memory)} rows in memory>"

    def warm(self) -> int:
        """Prepare for the first request; return the number of rows that are known.

        To be called once per child. With ``lookup.snapshot`` it opens the snapshot, which takes no
        more than some milliseconds and no database; if there is none yet, it returns 0, and until
        there is one, rows are asked for one by one. Without, it reads all rows into memory, in
        place of what is there; meanwhile other threads are answered from what memory held before.

        It raises nothing for a database that is away or misconfigured: that is logged once, what
        memory held is kept, and 0 is returned.
        """
        with self._warming:
            if self._options.snapshot:
                self._current.look(wait=True)
                snapshot = self._current.memory.snapshot
                return 0 if snapshot is None else snapshot.rows
            return self._warm()

    def load(self, lock_timeout: float) -> int:
        """Know all rows, or raise: what a command does in place of :meth:`warm`.

        With ``lookup.snapshot`` it writes the first one if there is none.

        :param lock_timeout: seconds to wait for another process that writes it.
        :return: the number of rows that are known.
        :raises handlers.locks.LockTimeout: if that takes longer.
        :raises DatabaseAway, DatabaseMisconfigured: if the database is needed and does not answer.
        :raises OSError, sqlite3.Error, Unusable: if the snapshot cannot be written.
        """
        if self._options.snapshot:
            Refresher(self._options).ensure(lock_timeout)
            return self.warm()
        with self._warming:
            return self._read_all()

    def page(self, start: int, count: int, private: bool = False) -> tuple[list[str], int]:
        """Return *count* ids from the place *start* on, and how many there are to page through.

        They come in the order of ids if there is a snapshot, else in the order in which the
        database gave them to :meth:`warm`, which is done first if it never succeeded. The first
        snapshot of all is waited for as long as one would for the database.

        :param private: with the ids of what is private; late pages of a large snapshot then take
            longer, as they are counted off from the first one.
        :raises Unavailable: if it does not succeed now.
        """
        if self._options.snapshot:
            return self._snapshot_page(start, count, private)
        if not self._current.memory.complete:
            with self._warming:
                if not self._current.memory.complete:
                    self._warm()
            if not self._current.memory.complete:
                self._unavailable += 1
                raise Unavailable("the table was never read", self._database.retry_after)
        memory = self._current.memory
        ids = list(memory.rows) if private else memory.public
        return ids[start : start + count], len(ids)

    def stats(self) -> dict[str, str | int | float | bool]:
        """Return counts since this process began, for a page or a log line.

        ``rows`` and ``missing`` are what the dict holds; ``warmed`` rows were known after the last
        :meth:`warm` or change of snapshot, which took ``warm_seconds``; ``found`` and ``not_found``
        count answers of the database to single questions, ``not_asked`` those not put to it,
        ``unavailable`` questions that it could not answer; ``database`` is its URL without the
        password, ``away`` tells whether it is away; ``snapshot`` is the file, or empty.
        """
        memory = self._current.memory
        return {
            "rows": len(memory),
            "missing": len(memory.missing),
            "warmed": self._current.warmed,
            "warm_seconds": round(self._current.warm_seconds, 4),
            "found": self._found,
            "not_found": self._not_found,
            "not_asked": self._not_asked,
            "unavailable": self._unavailable,
            "database": self._database.name,
            "away": self._database.is_away,
            "snapshot": memory.snapshot.path if memory.snapshot else "",
        }

    def close(self) -> None:
        """Close the connection and end the thread; what memory holds stays.

        The next question of the database connects anew.
        """
        self._current.close()
        self._database.close()

    def _warm(self) -> int:
        try:
            return self._read_all()
        except (DatabaseAway, DatabaseMisconfigured):
            return 0

    def _read_all(self) -> int:
        start = time.monotonic()
        skipped = Skipped(self._options.encode_ids)
        rows = dict(self._database.rows(skipped))
        self._current.put(rows, time.monotonic() - start)
        logger.info(
            "lookup: %d rows from %s in %.0f ms",
            len(rows),
            self._database.name,
            self._current.warm_seconds * 1000,
        )
        for line in skipped.lines():
            logger.warning("lookup: %s", line)
        return len(rows)

    def _find(self, id) -> Row | None:
        """Return the row of an id that is not in the first dict, or None."""
        if not (isinstance(id, str) and self._is_id(id)):
            return None
        memory, row = self._current.find(id)
        if row is not None or id in memory.missing:
            return row
        if memory.complete and not self._limit.take():
            self._turn_away(id)
        return self._ask(id, memory)

    def _turn_away(self, id: str) -> None:
        wait = _UNASKED_RETRY
        if self._database.is_away:
            self._unavailable += 1
            wait = max(wait, self._database.retry_after)
        else:
            self._not_asked += 1
            now = monotonic()
            if now >= self._quiet_until:
                self._quiet_until = now + _QUIET
                logger.info(
                    "lookup: more than %d unknown ids in a second: the others are answered 503 "
                    "(lookup.queries)",
                    self._options.queries_per_second,
                )
        raise Unavailable(f"{id}: the database was not asked, as for too many others", wait)

    def _ask(self, id: str, memory: Memory) -> Row | None:
        try:
            with self._database.turn() as turn:
                # Another thread may have asked the same while this one waited.
                row = memory.rows.get(id)
                if row is not None or id in memory.missing:
                    return row
                row = turn.one(id)
                if row is None:
                    memory.missing.add(id)
                    self._not_found += 1
                else:
                    memory.keep(id, row)
                    self._found += 1
                return row
        except (DatabaseAway, DatabaseMisconfigured) as error:
            self._unavailable += 1
            raise Unavailable(f"{id}: {error}", error.retry_after) from error

    def _current_snapshot(self) -> Snapshot | None:
        if monotonic() >= self._current.look_at:
            self._current.look()
        return self._current.memory.snapshot

    def _snapshot_page(self, start: int, count: int, private: bool) -> tuple[list[str], int]:
        current = self._current
        deadline = monotonic() + self._options.connect_timeout + self._options.timeout
        while True:
            if monotonic() >= current.look_at:
                current.look()
            memory = current.memory
            if memory.snapshot is not None:
                try:
                    return memory.snapshot.page(start, count, private)
                except (Replaced, Unusable) as error:
                    current.give_up(memory, error)
            elif monotonic() >= deadline or self._database.is_away:
                self._unavailable += 1
                raise Unavailable("there is no snapshot yet", max(1.0, self._database.retry_after))
            else:
                time.sleep(_POLL)
                current.look()
