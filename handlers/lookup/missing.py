"""Memory of ids that the database does not have."""

import threading
import time
from collections import OrderedDict


class Missing:
    """A set of ids, each for a limited time, bounded in number; the oldest goes first.

    May be used by any thread.

    :param ttl: seconds for which an id is kept; 0 keeps none.
    :param limit: how many ids are kept at most.
    """

    def __init__(self, ttl: float, limit: int):
        self._ttl = ttl
        self._limit = limit
        self._lock = threading.Lock()
        self._until: OrderedDict[str, float] = OrderedDict()

    def __contains__(self, id: str) -> bool:
        until = self._until.get(id)
        return until is not None and time.monotonic() < until

    def __len__(self) -> int:
        return len(self._until)

    def add(self, id: str) -> None:
        """Remember *id* from now."""
        if not self._ttl:
            return
        now = time.monotonic()
        with self._lock:
            self._until[id] = now + self._ttl
            self._until.move_to_end(id)
            # Every id has the same time to live, so the first ones are those that are over.
            while len(self._until) > self._limit or next(iter(self._until.values())) <= now:
                self._until.popitem(last=False)

    def discard(self, id: str) -> None:
        """Forget *id*, if it is there."""
        with self._lock:
            self._until.pop(id, None)

    def clear(self) -> None:
        """Forget all ids."""
        with self._lock:
            self._until.clear()
