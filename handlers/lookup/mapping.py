"""The lookup itself: a read-only mapping of ids to rows."""

import logging
import threading
import time
from collections.abc import Iterator, Mapping

from . import options as _options
from .database import Database
from .errors import DatabaseAway, DatabaseMisconfigured, Unavailable
from .missing import Missing
from .row import Row, is_id

logger = logging.getLogger(__name__)

_opened: dict[frozenset, "Lookup"] = {}
_opening = threading.Lock()


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
    lock. An id that memory does not know costs one query, and the answer is remembered: a row until
    the next :meth:`warm`, and that there is none for ``lookup.missing_ttl`` seconds. What is not
    ``[A-Za-z0-9_-]{1,128}`` is not there and costs nothing. If the database is needed and away, all
    three raise :class:`Unavailable`. ``len()`` and iteration tell what memory holds.

    Any thread may use it. After a fork it may be used in both processes: the child takes the rows
    with it, and makes a connection of its own.
    """

    def __init__(self, options: _options.Options):
        self._database = Database(options)
        self._rows: dict[str, Row] = {}
        self._missing = Missing(options.missing_ttl, options.missing_limit)
        self._all: list[str] = []
        self._public: list[str] = []
        self._warming = threading.Lock()
        self._is_warm = False
        self._warmed = 0
        self._warm_seconds = 0.0
        self._found = 0
        self._not_found = 0
        self._unavailable = 0

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> "Lookup":
        """Make a Lookup from the ``lookup.*`` entries of *options*, without asking the database.

        :raises BadOption: for a wrong name or value.
        :raises BadURL: for a database URL that cannot be understood.
        """
        return cls(_options.from_mapping(options))

    def get(self, id: str, default=None) -> Row | None:
        """Return the row of *id*, or *default* if there is none.

        :raises Unavailable: if memory does not know and the database cannot tell.
        """
        row = self._rows.get(id)
        if row is not None:
            return row
        row = self._find(id)
        return default if row is None else row

    def __getitem__(self, id: str) -> Row:
        row = self._rows.get(id)
        if row is None:
            row = self._find(id)
            if row is None:
                raise KeyError(id)
        return row

    def __contains__(self, id) -> bool:
        return id in self._rows or self._find(id) is not None

    def __iter__(self) -> Iterator[str]:
        # a copy, as another thread may add a row meanwhile
        return iter(list(self._rows))

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self):
        return f"<Lookup of {self._database.name}, {len(self._rows)} rows in memory>"

    def warm(self) -> int:
        """Read all rows into memory, in place of what is there; return their number.

        To be called once per child, before its first request. It raises nothing for a database
        that is away or misconfigured: that is logged once, what memory held is kept, and 0 is
        returned. Meanwhile other threads are answered from what memory held before.
        """
        with self._warming:
            return self._warm()

    def page(self, start: int, count: int, private: bool = False) -> tuple[list[str], int]:
        """Return *count* ids from the place *start* on, and how many there are to page through.

        They are the ids of what is not private, or with *private* of everything, in the order in
        which the database gave them to :meth:`warm`, which is done first if it never succeeded.

        :raises Unavailable: if it does not succeed now.
        """
        if not self._is_warm:
            with self._warming:
                if not self._is_warm:
                    self._warm()
            if not self._is_warm:
                self._unavailable += 1
                raise Unavailable("the table was never read", self._database.retry_after)
        ids = self._all if private else self._public
        return ids[start : start + count], len(ids)

    def stats(self) -> dict[str, str | int | float | bool]:
        """Return counts since this process began, for a page or a log line.

        ``rows`` and ``missing`` are what memory holds; ``warmed`` rows were read by the last
        :meth:`warm` in ``warm_seconds``; ``found`` and ``not_found`` count answers of the database
        to single questions, ``unavailable`` questions that it could not answer; ``database`` is its
        URL without the password, ``away`` tells whether it is away.
        """
        return {
            "rows": len(self._rows),
            "missing": len(self._missing),
            "warmed": self._warmed,
            "warm_seconds": round(self._warm_seconds, 3),
            "found": self._found,
            "not_found": self._not_found,
            "unavailable": self._unavailable,
            "database": self._database.name,
            "away": self._database.is_away,
        }

    def close(self) -> None:
        """Close the connection; what memory holds stays, and the next question connects anew."""
        self._database.close()

    def _warm(self) -> int:
        start = time.monotonic()
        try:
            rows = dict(self._database.rows())
        except (DatabaseAway, DatabaseMisconfigured):
            return 0
        self._rows = rows
        self._all = list(rows)
        self._public = [id for id, row in rows.items() if not row.private]
        self._missing.clear()
        self._is_warm = True
        self._warmed = len(rows)
        self._warm_seconds = time.monotonic() - start
        logger.info(
            "lookup: %d rows from %s in %.0f ms",
            len(rows),
            self._database.name,
            self._warm_seconds * 1000,
        )
        return len(rows)

    def _find(self, id) -> Row | None:
        """Return the row of an id that is not in the dict, or None."""
        if id in self._missing or not (isinstance(id, str) and is_id(id)):
            return None
        try:
            with self._database.turn() as turn:
                # Another thread may have asked the same while this one waited.
                row = self._rows.get(id)
                if row is not None or id in self._missing:
                    return row
                row = turn.one(id)
                if row is None:
                    self._missing.add(id)
                    self._not_found += 1
                else:
                    self._rows[id] = row
                    self._found += 1
                return row
        except (DatabaseAway, DatabaseMisconfigured) as error:
            self._unavailable += 1
            raise Unavailable(f"{id}: {error}", error.retry_after) from error
