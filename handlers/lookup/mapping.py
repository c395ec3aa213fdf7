"""The lookup itself: a read-only mapping of ids to rows."""

import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from time import monotonic

from . import options as _options
from . import verdict
from .database import Database
from .errors import DatabaseAway, DatabaseMisconfigured, Unavailable
from .memory import Memory
from .questions import Questions
from .refresh import Refresher
from .row import Row, Skipped
from .snapshot import Replaced, Snapshot, Unusable
from .watcher import SnapshotWatcher

logger = logging.getLogger(__name__)

_opened: dict[frozenset, "Lookup"] = {}
_opening = threading.Lock()
# seconds between two looks for the first snapshot of all, if somebody waits for it
_POLL = 0.02


def open(options: Mapping[str, str]) -> "Lookup":
    """Return this process's Lookup for the ``lookup.*`` entries of *options*.

    Handlers that are configured alike share one, whatever thread they run in. It is not warmed. It
    heeds what is invalidated in the cache that ``thumbnail.cache`` names.

    :raises BadOption: for a wrong name or value.
    :raises BadURL: for a database URL that cannot be understood.
    """
    cache = options.get("thumbnail.cache")
    key = frozenset(
        (
            *(item for item in options.items() if item[0].startswith("lookup.")),
            ("thumbnail.cache", cache and os.path.abspath(cache)),
        )
    )
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
    and the answer is remembered: a row until the next :meth:`warm` or refresh, and that there is
    none for ``lookup.missing_ttl`` seconds. The database is asked for ``lookup.queries`` such ids
    in a second; for the others :class:`Unavailable` is raised, as nobody knows whether they exist.
    What cannot stand in a URL, see ``lookup.encode_ids``, is not there and costs nothing. If the
    database is needed and away, all three raise :class:`Unavailable`.

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
        warm = weakref.WeakMethod(self._warm_again)
        self._watcher = SnapshotWatcher(options, lambda: (method := warm()) and method())
        self._questions = Questions(self._database, options.queries_per_second)
        self._warming = threading.Lock()

    @property
    def on_change(self) -> Callable[[Iterator[str]], None] | None:
        """What is told of rows that are new, changed or went away; set it before :meth:`warm`.

        It is called in one of all processes, with an iterator of their ids, when there is a new
        snapshot and no child answers from the old one any more: what was made of those rows can be
        removed. All ids come, in one call, however many; they come again in another call if it
        raises or its process dies.
        """
        return self._watcher.on_change

    @on_change.setter
    def on_change(self, told: Callable[[Iterator[str]], None] | None) -> None:
        self._watcher.on_change = told

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> "Lookup":
        """Make a Lookup for *options* as :func:`open` does, without asking the database.

        :raises BadOption: for a wrong name or value.
        :raises BadURL: for a database URL that cannot be understood.
        """
        return cls(_options.from_mapping(options))

    def get(self, id: str, default=None) -> Row | None:
        """Return the row of *id*, or *default* if there is none.

        :raises Unavailable: if memory does not know and the database cannot tell, or is not asked.
        """
        watcher = self._watcher
        if monotonic() >= watcher.look_at:
            watcher.look()
        row = watcher.memory.rows.get(id)
        if row is not None:
            return row
        row = self._find(id)
        return default if row is None else row

    def in_memory(self, id: str) -> Row | None:
        """Return the row of *id* if memory has it; the database is not asked."""
        watcher = self._watcher
        if monotonic() >= watcher.look_at:
            watcher.look()
        row = watcher.memory.rows.get(id)
        if row is None and self._is_possible(id):
            _, row = watcher.find(id)
        return row

    def public(self, id: str) -> Row | None:
        """Return the row of *id* if everybody may see the picture, else None.

        An id that is private takes the same way as one that does not exist: the database is asked
        for both, both answers are remembered for ``lookup.missing_ttl`` seconds, and neither the
        time nor an outage tells one from the other.

        :raises Unavailable: if memory has no public row, and the database cannot tell.
        """
        row = self.in_memory(id)
        if row is not None and not row.private:
            return row
        if not self._is_possible(id):
            return None
        memory = self._watcher.memory
        if id in memory.hidden:
            return None
        row = self._questions.ask_limited(id, memory, memory.hidden)
        return None if row is None or row.private else row

    def reread(self, id: str) -> Row | None:
        """Return the row of *id* as it is now, for what is to be kept for long.

        That is the row of the newest snapshot; without a snapshot, for what it does not hold, and
        for what was invalidated since, that of the database. While the database is away, it is the
        row that memory has.

        :raises Unavailable: if memory has none, or none that can be believed.
        """
        watcher = self._watcher
        watcher.look(wait=True)
        if not self._is_possible(id):
            return None
        memory = watcher.memory
        row = self._in_snapshot(memory, id)
        if row is not None:
            return row
        try:
            return self._questions.ask(id, memory, None)
        except Unavailable:
            row = memory.known(id)
            if row is None or memory.is_stale(id):
                raise
            return row

    @property
    def refreshed(self) -> float:
        """When the snapshot was last compared with the table, in seconds since 1970.

        0 if that is not known, and without ``lookup.snapshot``.
        """
        return self._watcher.refreshed()

    @property
    def verdict(self) -> verdict.Verdict:
        """What the processes of the site have last found out of the database."""
        path = self._options.verdict
        return verdict.Verdict() if path is None else verdict.read(path)

    def newest(self, ids: Collection[str]) -> dict[str, Row | None] | None:
        """Return the rows of *ids* as the newest snapshot has them, with None for what it has not.

        Without a snapshot it returns what :meth:`asked` does, and so it does for ids that were
        invalidated since the snapshot. None instead of all means that it cannot be told now. It
        changes nothing in memory.
        """
        self._watcher.look()
        memory = self._watcher.memory
        if memory.snapshot is None:
            return self.asked(ids)
        try:
            stale = [id for id in ids if memory.is_stale(id)]
            rows = self.asked(stale) if stale else {}
            if rows is None:
                return None
            return {id: rows[id] if id in rows else memory.snapshot.get(id) for id in ids}
        except (Replaced, Unusable) as error:
            self._watcher.give_up(memory, error)
            return None

    def asked(self, ids: Collection[str]) -> dict[str, Row | None] | None:
        """Return the rows of *ids* as the database has them, with None for what it has not.

        Each costs a query. None instead of all means that the database is away. It changes nothing
        in memory.
        """
        rows = {}
        try:
            for id in ids:
                rows[id] = None
                if self._is_possible(id):
                    # a turn for each, as requests want theirs, too
                    with self._database.turn():
                        rows[id] = self._database.one(id)
        except (DatabaseAway, DatabaseMisconfigured):
            return None
        return rows

    def __getitem__(self, id: str) -> Row:
        row = self.get(id)
        if row is None:
            raise KeyError(id)
        return row

    def __contains__(self, id) -> bool:
        return self.get(id) is not None

    def __iter__(self) -> Iterator[str]:
        ids = self._watcher.ids()
        if ids is None:
            raise self._without_snapshot("the snapshot is written anew")
        return ids

    def __len__(self) -> int:
        snapshot = self._newest_snapshot()
        return len(self._watcher.memory.rows) if snapshot is None else snapshot.rows

    def __repr__(self):
        return f"<Lookup of {self._database.name}, {len(self._watcher.memory)} rows in memory>"

    def warm(self, again: bool = True) -> int:
        """Prepare for the first request; return the number of rows that are known.

        To be called once per child. With ``lookup.snapshot`` it opens the snapshot, which takes no
        more than some milliseconds and no database; if there is none yet, it returns 0, and until
        there is one, rows are asked for one by one. Without, it reads all rows into memory, in
        place of what is there; meanwhile other threads are answered from what memory held before.

        It raises nothing for a database that is away or misconfigured: that is logged once, what
        memory held is kept, and 0 is returned.

        :param again: whether to read all rows, too, if :meth:`page` has read them already.
        """
        with self._warming:
            if self._options.snapshot:
                self._watcher.look(wait=True)
                snapshot = self._watcher.memory.snapshot
                return 0 if snapshot is None else snapshot.rows
            memory = self._watcher.memory
            if memory.complete and not again:
                return len(memory.rows)
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
            ids, total = self._snapshot_page(start, count, private)
            return self._visible(ids, private), total
        if not self._watcher.memory.complete:
            with self._warming:
                if not self._watcher.memory.complete:
                    self._warm()
            if not self._watcher.memory.complete:
                raise self._questions.unanswered(
                    "the table was never read", self._database.retry_after
                )
        memory = self._watcher.memory
        ids = list(memory.rows) if private else memory.public
        return self._visible(ids[start : start + count], private), len(ids)

    def stats(self) -> dict[str, str | int | float | bool]:
        """Return counts since this process began, for a page or a log line.

        ``rows`` and ``missing`` are what the dict holds; ``warmed`` rows were known after the last
        :meth:`warm` or change of snapshot, which took ``warm_seconds``; ``found`` and ``not_found``
        count answers of the database to single questions, ``not_asked`` those not put to it,
        ``unavailable`` questions that it could not answer; ``database`` is its URL without the
        password, ``away`` tells whether it is away; ``snapshot`` is the file, or empty.
        """
        memory, questions = self._watcher.memory, self._questions
        return {
            "rows": len(memory),
            "missing": len(memory.missing),
            "warmed": self._watcher.warmed,
            "warm_seconds": round(self._watcher.warm_seconds, 4),
            "found": questions.found,
            "not_found": questions.not_found,
            "not_asked": questions.not_asked,
            "unavailable": questions.unavailable,
            "database": self._database.name,
            "away": self._database.is_away,
            "snapshot": memory.snapshot.path if memory.snapshot else "",
        }

    def close(self) -> None:
        """Close the connection and end the thread, within seconds; what memory holds stays.

        The next question of the database connects anew.
        """
        self._watcher.close()
        self._database.close()

    def _warm_again(self) -> None:
        """Read the rows of a lookup without a snapshot anew; memory serves meanwhile."""
        with self._warming:
            self._warm()

    def _warm(self) -> int:
        try:
            return self._read_all()
        except (DatabaseAway, DatabaseMisconfigured):
            return 0

    def _read_all(self) -> int:
        start, began = time.monotonic(), time.time_ns()
        skipped = Skipped(self._options.encode_ids)
        rows = dict(self._database.rows(skipped))
        skipped.repeated = skipped.total - skipped.count - len(rows)
        self._watcher.put(rows, time.monotonic() - start, began)
        logger.info(
            "lookup: %d rows from %s in %.0f ms%s",
            len(rows),
            self._database.name,
            self._watcher.warm_seconds * 1000,
            f", {skipped.count} left out" if skipped.count else "",
        )
        for line in skipped.lines():
            logger.warning("lookup: %s", line)
        return len(rows)

    def _find(self, id) -> Row | None:
        """Return the row of an id that is not in the first dict, or None."""
        if not self._is_possible(id):
            return None
        memory, row = self._watcher.find(id)
        if row is not None or id in memory.missing:
            return row
        return self._questions.ask_limited(id, memory, memory.missing)

    def _is_possible(self, id) -> bool:
        return isinstance(id, str) and self._is_id(id)

    def _in_snapshot(self, memory: Memory, id: str) -> Row | None:
        try:
            return memory.find_newest(id)
        except (Replaced, Unusable) as error:
            self._watcher.give_up(memory, error)
        return None

    def _visible(self, ids: list[str], private: bool) -> list[str]:
        """Return *ids* without those that were invalidated and are not public any more."""
        memory = self._watcher.memory
        if private or not any(map(memory.is_stale, ids)):
            return ids
        visible = []
        for id in ids:
            with contextlib.suppress(Unavailable):
                if not memory.is_stale(id) or self.public(id) is not None:
                    visible.append(id)
        return visible

    def _newest_snapshot(self) -> Snapshot | None:
        if monotonic() >= self._watcher.look_at:
            self._watcher.look()
        return self._watcher.memory.snapshot

    def _snapshot_page(self, start: int, count: int, private: bool) -> tuple[list[str], int]:
        watcher = self._watcher
        deadline = monotonic() + self._options.connect_timeout + self._options.timeout
        while True:
            if monotonic() >= watcher.look_at:
                watcher.look()
            memory = watcher.memory
            if memory.snapshot is not None:
                try:
                    return memory.snapshot.page(start, count, private)
                except (Replaced, Unusable) as error:
                    watcher.give_up(memory, error)
                    if watcher.memory is not memory:
                        continue
            if monotonic() >= deadline or self._database.is_away:
                raise self._without_snapshot("there is no snapshot yet")
            time.sleep(_POLL)
            watcher.look()

    def _without_snapshot(self, why: str) -> Unavailable:
        return self._questions.unanswered(why, max(1.0, self._database.retry_after))
