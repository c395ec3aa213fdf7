"""What a child knows of the table without asking the database."""

import math
import time

from handlers.invalidation import Invalidations, slot

from .missing import Missing
from .options import Options
from .row import Row
from .snapshot import Snapshot

# nanoseconds that a clock may be corrected by without being set back
_AHEAD = 10**9


class Memory:
    """A dict of rows, a snapshot behind it, and the ids that are not in the database.

    It belongs to one state of the table: with a new snapshot comes a new Memory, and what a thread
    puts into the old one is forgotten with it. Rows from the snapshot are kept in two dicts. When
    the first is full it becomes the second, and the second is dropped: whatever was asked for of
    late is in one of them, without a lock or a list of uses.

    A row that an admin's command has invalidated since the state of the table is not believed.

    :param rows: to begin with; with a snapshot, all of its rows or none.
    :param began: when the table was read for *rows* without a snapshot, in nanoseconds since 1970.
    :ivar rows: the dict to look into first, by any thread.
    :ivar complete: whether an id that is not here was not in the table a while ago.
    :ivar hidden: ids that are missing or private: what visitors asked for who may not see more.
    :ivar public: the ids of what is not private, in the order of *rows*; not with a snapshot.
    """

    __slots__ = (
        "_began",
        "_forgotten",
        "_invalidations",
        "_learned",
        "_limit",
        "_older",
        "_stale",
        "complete",
        "hidden",
        "missing",
        "public",
        "rows",
        "snapshot",
    )

    def __init__(
        self,
        options: Options,
        rows: dict[str, Row] | None = None,
        snapshot: Snapshot | None = None,
        invalidations: Invalidations | None = None,
        began: int = 0,
    ):
        self.complete = rows is not None or snapshot is not None
        self.rows = rows or {}
        self.snapshot = snapshot
        self.missing = Missing(options.missing_ttl, options.missing_limit)
        self.hidden = Missing(options.missing_ttl, options.missing_limit)
        self.public = []
        self._older: dict[str, Row] = {}
        # ids that the snapshot does not answer for
        self._learned: set[str] = set()
        self._invalidations = invalidations or Invalidations(None)
        self._began = began if snapshot is None else snapshot.began
        if self._began > time.time_ns() + _AHEAD:
            # The clock was set back: what was invalidated before and since cannot be told apart.
            self._began = 0
        self._stale: set[int] = set()
        # odd while something is being forgotten, and never again the same number
        self._forgotten = 0
        if options.snapshot is None:
            # the dict is all there is while the database is away
            self.public = [id for id, row in self.rows.items() if not row.private]
            self._limit = math.inf
        else:
            self._limit = len(self.rows) + max(1, options.hot // 2)
        self.forget(self._invalidations.after(self._began))

    def __len__(self) -> int:
        return len(self.rows) + len(self._older)

    def find(self, id: str) -> Row | None:
        """Return the row of *id*, which is not in :attr:`rows`, or None.

        :raises handlers.lookup.snapshot.Replaced: as :meth:`Snapshot.get` does.
        :raises handlers.lookup.snapshot.Unusable: the same.
        """
        forgotten = self._forgotten
        row = self._older.get(id)
        if row is None:
            row = self._of_snapshot(id)
        return row if row is None else self._kept(id, row, forgotten)

    def find_newest(self, id: str) -> Row | None:
        """Return the row of *id* as the snapshot has it, or None; raises as :meth:`find` does."""
        forgotten = self._forgotten
        row = self._of_snapshot(id)
        return row if row is None else self._kept(id, row, forgotten)

    def is_stale(self, id: str) -> bool:
        """Tell whether *id* was invalidated since the table was read."""
        if self._invalidations.moment(id) > self._began:
            return True
        return bool(self._stale) and slot(id) in self._stale

    def known(self, id: str) -> Row | None:
        """Return the row of *id* without keeping it; raises as :meth:`find` does."""
        return self.rows.get(id) or self._older.get(id) or self._of_snapshot(id)

    def keep(self, id: str, row: Row) -> None:
        """Put the row of *id* into the dict."""
        # Two threads may both turn it over; the rows that are lost are found again.
        if len(self.rows) >= self._limit:
            self._older, self.rows = self.rows, {}
        self.rows[id] = row

    def learn(self, id: str, row: Row | None, asked: int, is_hidden: bool = False) -> None:
        """Keep what the database said of *id*; None: that it has no such row.

        :param asked: when it was asked, in nanoseconds since 1970.
        :param is_hidden: whether :attr:`hidden` is to take in what not everybody may see.
        """
        if row is None:
            self._drop(id)
            self.missing.add(id)
        else:
            if self.snapshot is not None:
                self._learned.add(id)
            self.keep(id, row)
        if is_hidden and (row is None or row.private):
            self.hidden.add(id)
        if self._invalidations.moment(id) > asked:
            # the answer is of the time before
            self._drop(id)
            self.missing.discard(id)
            self.hidden.discard(id)

    def forget(self, slots: set[int]) -> None:
        """Forget the rows of these slots of :mod:`handlers.invalidation`."""
        if not slots:
            return
        self._forgotten += 1
        # whatever the clock showed when the table was read
        self._stale |= slots
        for rows in (self.rows, self._older):
            for id in [id for id in list(rows) if slot(id) in slots]:
                rows.pop(id, None)
        self.missing.clear()
        self.hidden.clear()
        self._forgotten += 1

    def forget_learned(self) -> None:
        """Forget the rows that the database was asked for one by one.

        The snapshot was refreshed since, and would have them if they were still there.
        """
        learned, self._learned = self._learned, set()
        for id in learned:
            self._drop(id)

    def _of_snapshot(self, id: str) -> Row | None:
        if self.snapshot is None or self.is_stale(id):
            return None
        return self.snapshot.get(id)

    def _kept(self, id: str, row: Row, forgotten: int) -> Row | None:
        """Keep the row of *id*, unless it has been invalidated since it was looked for.

        :param forgotten: what ``_forgotten`` was before that.
        """
        self.keep(id, row)
        if (forgotten % 2 or self._forgotten != forgotten) and self.is_stale(id):
            # another thread may have forgotten the row before it was kept
            self._drop(id)
            return None
        return row

    def _drop(self, id: str) -> None:
        self.rows.pop(id, None)
        self._older.pop(id, None)
