"""Sweeping: expired sessions go in small steps, by one elected child, outside every request.

What a sweep costs a busy site is the file system's journal and the database's log, not its CPU
time, so the pace is set by deletions per second; what it costs the child that runs it is the
interpreter's lock, so it works in slices of milliseconds and rests ten times as long.
"""

import atexit
import logging
import math
import random
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

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


class Swept(NamedTuple):
    """What a sweep did: since its round began, over all its interruptions, if it is finished."""

    deleted: int
    seen: int
    seconds: float
    finished: bool


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


class Sweeper:
    """A thread of this child that sweeps whenever this child is the elected one.

    Start one in every child, after the fork. Each tries every 30 s to be elected; when the
    elected child ends or is killed the kernel gives its election back, and another goes on where
    it stopped. A child in which no other is elected costs one attempt to lock.

    :param interval: seconds from the end of a round to the start of the next one.
    :param deletes: deletions per second, as for :class:`Pace`; it is raised up to four times
        while rounds take longer than *interval*, so that the sweep never falls behind.
    :param grace: how long a session must have been expired before it is deleted.
    """

    def __init__(
        self,
        store: "Store",
        interval: float = INTERVAL,
        deletes: float = DELETES_PER_SECOND,
        share: float = SHARE,
        grace: float = 0,
    ):
        self._store = store
        self._interval = interval
        self._deletes = deletes
        self._share = share
        self._grace = grace
        self._haste = 1
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; does nothing for a store that needs no sweep."""
        if self._store.sweeps and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="session sweeper", daemon=True)
            self._thread.start()
            # an interpreter must not be taken down below a running thread
            atexit.register(self.stop)

    def stop(self) -> None:
        """End the thread within a slice of its work and give the election back."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            atexit.unregister(self.stop)

    def _run(self) -> None:
        # which imports this module
        from handlers.sessions.store import StoreError, report

        wait = random.uniform(0, min(self._interval, 1))
        while not self._stop.wait(wait):
            wait = random.uniform(_ELECTION / 2, _ELECTION)
            try:
                elected = self._store.elect()
                if elected is not None:
                    with elected:
                        self._rounds()
            except StoreError as error:
                report(error)
            except Exception:
                logger.exception("sweep broken off, and tried again in %.0f s", wait)

    def _rounds(self) -> None:
        due = self._store.last_sweep() + self._interval - self._store.clock()
        wait = min(max(due, 0), self._interval)
        while not self._stop.wait(wait):
            wait = self._interval
            pace = Pace(self._deletes * self._haste, self._share, stop=self._stop)
            swept = self._store.sweep(pace, self._grace)
            if swept is not None and swept.finished:
                report(swept)
                behind = swept.seconds > self._interval
                self._haste = min(self._haste * 2, _MOST_HASTE) if behind else 1


def report(swept: Swept) -> None:
    """Log the one line of a finished round."""
    logger.info(
        "sweep finished: %d of %d sessions deleted in %.1f s",
        swept.deleted,
        swept.seen,
        swept.seconds,
    )
