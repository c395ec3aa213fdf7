"""What a child knows of the table without asking the database."""

import math

from .missing import Missing
from .options import Options
from .row import Row
from .snapshot import Snapshot


class Memory:
    """A dict of rows, a snapshot behind it, and the ids that are not in the database.

    It belongs to one state of the table: with a new snapshot comes a new Memory, and what a thread
    puts into the old one is forgotten with it. Rows from the snapshot are kept in two dicts. When
    the first is full it becomes the second, and the second is dropped: whatever was asked for of
    late is in one of them, without a lock or a list of uses.

    :param rows: to begin with; with a snapshot, all of its rows or none.
    :ivar rows: the dict to look into first, by any thread.
    :ivar complete: whether an id that is not here was not in the table a while ago.
    :ivar public: the ids of what is not private, in the order of *rows*; not with a snapshot.
    """

    __slots__ = ("_limit", "_older", "complete", "missing", "public", "rows", "snapshot")

    def __init__(
        self,
        options: Options,
        rows: dict[str, Row] | None = None,
        snapshot: Snapshot | None = None,
    ):
        self.complete = rows is not None or snapshot is not None
        self.rows = rows or {}
        self.snapshot = snapshot
        self.missing = Missing(options.missing_ttl, options.missing_limit)
        self.public = []
        self._older: dict[str, Row] = {}
        if options.snapshot is None:
            # the dict is all there is while the database is away
            self.public = [id for id, row in self.rows.items() if not row.private]
            self._limit = math.inf
        else:
            self._limit = len(self.rows) + max(1, options.hot // 2)

    def __len__(self) -> int:
        return len(self.rows) + len(self._older)

    def find(self, id: str) -> Row | None:
        """Return the row of *id*, which is not in :attr:`rows`, or None.

        :raises handlers.lookup.snapshot.Replaced: as :meth:`Snapshot.get` does.
        :raises handlers.lookup.snapshot.Unusable: the same.
        """
        row = self._older.get(id)
        if row is None and self.snapshot is not None:
            row = self.snapshot.get(id)
        if row is not None:
            self.keep(id, row)
        return row

    def keep(self, id: str, row: Row) -> None:
        """Put the row of *id* into the dict."""
        # Two threads may both turn it over; the rows that are lost are found again.
        if len(self.rows) >= self._limit:
            self._older, self.rows = self.rows, {}
        self.rows[id] = row
