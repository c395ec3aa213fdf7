"""Sweeping: expired sessions go in small steps, by one elected child, outside every request.

What a sweep costs a busy site is the file system's journal and the database's log, not its CPU
time, so the pace is set by deletions per second; what it costs the child that runs it is the
interpreter's lock, so it works in slices of milliseconds and rests ten times as long.
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from handlers import elected

if TYPE_CHECKING:
    from handlers.sessions.store import Store

logger = logging.getLogger(__name__)

DELETES_PER_SECOND = 600
SHARE = 0.1
INTERVAL = 60.0
_SLICE = 0.002
_SHORTEST_REST = 0.005
_ELECTION = 30.0
_MOST_HASTE = 4
# seconds that the thread gets to end
_LAST_SLICE = 0.5


class Swept(NamedTuple):
    """What a sweep did: since its round began, over all its interruptions, if it is finished.

    :ivar left: how many sessions remain; None if it has not looked at all of them.
    """

    deleted: int
    seen: int
    seconds: float
    finished: bool
    left: int | None = None


class Pace:
    """The speed of a sweep: deletions per second, share of the time, and when to stop.

    :param deletes: how many deletions a second; ``math.inf`` for no limit.
    :param share: how much of one CPU to take, 0 < share <= 1.
    :param limit: stop after so many seconds; None goes through to the end.
    :param stop: an event that ends the sweep early.
    """

    def __init__(
        self,
        deletes: float = DELETES_PER_SECOND,
        share: float = SHARE,
        limit: float | None = None,
        stop: threading.Event | None = None,
    ):
        if deletes <= 0 or not 0 < share <= 1:
            raise ValueError(f"not a pace: {deletes} deletions a second, {share} of the time")
        self._deletes = deletes
        self._rests = 1 / share - 1
        self._stop = stop or threading.Event()
        # CPU time: what a busy server makes the sweep wait is no work of its own
        self._worked_before = time.thread_time()
        self._next_delete = time.monotonic()
        self._end = math.inf if limit is None else self._next_delete + limit

    @classmethod
    def flat_out(cls) -> "Pace":
        """Return a pace without rests, for a machine that does nothing else."""
        return cls(math.inf, 1)

    def go_on(self, deleted: int = 0) -> bool:
        """Rest as long as the work since the last call demands; False when it is time to stop."""
        now = time.monotonic()
        if deleted:
            self._next_delete = max(self._next_delete, now) + deleted / self._deletes
        rest = self._next_delete - now
        worked = time.thread_time() - self._worked_before
        if worked >= _SLICE:
            rest = max(rest, worked * self._rests)
        if rest >= _SHORTEST_REST:
            self._stop.wait(rest)
        if rest >= _SHORTEST_REST or worked >= _SLICE:
            self._worked_before = time.thread_time()
        return not self._stop.is_set() and now < self._end


class Sweeper(elected.Worker):
    """The worker that sweeps a store.

    Start one in every child, after the fork. When the elected child ends or is killed the kernel,
    or the database, gives its election back, and another child goes on where it stopped. A child
    in which no other is elected costs one attempt to lock, every half a minute.

    :param interval: seconds from the end of a round to the start of the next one.
    :param deletes: deletions per second, as for :class:`Pace`; it is raised up to four times
        while rounds take longer than *interval*, so that the sweep never falls behind.
    :param grace: how long a session must have been expired before it is deleted.
    :param note: is told of each finished round.
    """

    def __init__(
        self,
        store: "Store",
        interval: float = INTERVAL,
        deletes: float = DELETES_PER_SECOND,
        share: float = SHARE,
        grace: float = 0,
        note: Callable[["Swept"], None] = lambda swept: None,
    ):
        super().__init__(
            "session sweeper",
            store.elect,
            self._rounds,
            every=_ELECTION,
            first=min(interval, 1),
            complain=_complain,
            after_fault=_ELECTION,
        )
        self._store = store
        self._interval = interval
        self._deletes = deletes
        self._share = share
        self._grace = grace
        self._note = note
        self._haste = 1

    def start(self) -> None:
        """Start the thread; does nothing for a store that needs no sweep."""
        if self._store.sweeps:
            super().start()

    def stop(self, wait: float = _LAST_SLICE) -> None:
        """End the thread within a slice of its work, for good."""
        super().stop(wait)

    def _rounds(self, *_) -> None:
        due = self._store.last_sweep() + self._interval - self._store.clock()
        wait = min(max(due, 0), self._interval)
        while self.rest(wait):
            wait = self._interval
            pace = Pace(self._deletes * self._haste, self._share, stop=self._stopped)
            swept = self._store.sweep(pace, self._grace)
            if swept is not None and swept.finished:
                report(swept)
                self._note(swept)
                behind = swept.seconds > self._interval
                self._haste = min(self._haste * 2, _MOST_HASTE) if behind else 1


def _complain(error: Exception) -> bool:
    """Log the failure of a store in one line; tell whether it was one."""
    # which imports this module
    from handlers.sessions import store

    if not isinstance(error, store.StoreError):
        return False
    store.report(error)
    return True


def report(swept: Swept) -> None:
    """Log the one line of a finished round."""
    logger.info(
        "sweep finished: %d of %d sessions deleted in %.1f s",
        swept.deleted,
        swept.seen,
        swept.seconds,
    )
