"""The memory of this process, kept at the newest snapshot."""

import contextlib
import itertools
import logging
import math
import os
import random
import threading
import weakref
from collections.abc import Callable, Iterator
from time import monotonic

from handlers.elected import ELECTION, Worker
from handlers.invalidation import Invalidations

from .memory import Memory
from .options import Options
from .refresh import OnChange, Refresher
from .row import Row
from .snapshot import Identity, Replaced, Unusable, identity

logger = logging.getLogger(__name__)

# seconds between two looks whether there is a new snapshot, or something was invalidated; less than
# invalidation.NOTICED
_LOOK = 1.0
# seconds until the refresher tries again after a fault of its own
_AFTER_FAULT = 30.0
# seconds for which a child that has a snapshot attends to its first requests alone
_CALM = 2.0
# seconds for a thread to end what it is at
_PATIENCE = 5.0
# another snapshot may come between a look and an answer, but hardly twice
_ATTEMPTS = 3
# so that the children of one start do not all read the table at the same time
_SPREAD = 0.25

_alive: weakref.WeakSet["SnapshotWatcher"] = weakref.WeakSet()


class SnapshotWatcher:
    """Holds the :class:`Memory` to answer from, and changes it when there is a new snapshot.

    It also lets memory forget what an admin's command has invalidated. Without ``lookup.snapshot``
    it holds what is put into it, and asks for that anew every ``lookup.refresh`` seconds. Any
    thread may use it; a forked child opens the snapshot anew.

    :param warm: called in a thread of its own when the rows without a snapshot are to be read anew.

    :ivar memory: what to answer from; take it once for each question.
    :ivar look_at: the monotonic time from which :meth:`look` is to be called before an answer.
    :ivar on_change: see :class:`~handlers.lookup.mapping.Lookup`.
    :ivar warmed: how many rows were known after the last change of memory.
    :ivar warm_seconds: how long that change took.
    """

    def __init__(self, options: Options, warm: Callable[[], None] | None = None):
        self._options = options
        self._warm = warm
        self._warm_at = self._next_warm()
        self._invalidations = Invalidations(options.invalidations)
        self.memory = self._new_memory()
        is_fixed = not (options.snapshot or options.invalidations or options.refresh)
        self.look_at = math.inf if is_fixed else 0.0
        self.on_change: OnChange | None = None
        self.warmed = 0
        self.warm_seconds = 0.0
        self._refreshed: tuple[int, int] | None = None
        self._looking = threading.Lock()
        self._refresher: Refresher | None = None
        self._worker: Worker | None = None
        # the process that the thread runs in
        self._watching = 0
        self._refused: Identity | None = None
        self._inherited: list[Memory] = []
        _alive.add(self)

    def put(self, rows: dict[str, Row], seconds: float, began: int) -> None:
        """Answer from *rows* from now on; it took *seconds* to get them.

        :param began: a time before they were read, in nanoseconds since 1970.
        """
        with self._looking:
            # or what is invalidated just now would be forgotten in the memory before only
            self.memory = self._new_memory(rows, began=began)
            self._warm_at = self._next_warm()
        self.warmed, self.warm_seconds = len(rows), seconds

    def look(self, wait: bool = False) -> None:
        """Take the snapshot that lies there, if it is another one than before.

        :param wait: for another thread that is doing so.
        """
        # Without a snapshot, one that is just being opened is always worth to wait for.
        if not self._looking.acquire(blocking=wait or self.memory.snapshot is None):
            return
        look_at = monotonic() + _LOOK
        try:
            self.memory.forget(self._invalidations.look())
            if not self._options.snapshot:
                self._age()
                return
            is_new = self._watching != os.getpid()
            if is_new:
                self._watching = os.getpid()
                self._refresher = Refresher(self._options)
            refreshed = self._refresher.refreshed_mark()
            if refreshed != self._refreshed:
                self._refreshed = refreshed
                self.memory.forget_learned()
                if self._refused != self._refresher.damaged:
                    # what was refused by the state before
                    self._refused = None
            held = self.memory.snapshot
            found = identity(self._options.snapshot)
            # One that was removed is still open.
            if found not in (None, self._refused, held and held.identity):
                look_at = look_at if self._take(found) else 0.0
            if is_new:
                self._start_worker()
        finally:
            # not before: until it is open, the others ask for the snapshot and wait
            self.look_at = look_at
            self._looking.release()

    def find(self, id: str) -> tuple[Memory, Row | None]:
        """Return the row of *id* as memory has it, or None, and the memory that was asked."""
        for _ in range(_ATTEMPTS):
            memory = self.memory
            try:
                return memory, memory.find(id)
            except (Replaced, Unusable) as error:
                self.give_up(memory, error)
        return self.memory, None

    def ids(self) -> Iterator[str] | None:
        """Return the ids of the newest snapshot, in order; without one, those in memory.

        None means that there is a snapshot, and it cannot be read now.
        """
        for _ in range(_ATTEMPTS):
            self.look(wait=True)
            memory = self.memory
            if memory.snapshot is None:
                # a copy, as another thread may add a row meanwhile
                return iter(list(memory.rows))
            ids = memory.snapshot.ids()
            try:
                # the first one opens the file
                return itertools.chain(list(itertools.islice(ids, 1)), ids)
            except (Replaced, Unusable) as error:
                self.give_up(memory, error)
        return None

    def give_up(self, memory: Memory, error: Replaced | Unusable) -> None:
        """Go on without the snapshot of *memory*, which could not be read, or with a new one."""
        if isinstance(error, Unusable) and memory is self.memory:
            logger.warning("lookup: snapshot %s: %s", self._options.snapshot, error)
            self._refused = self._refresher.damaged = memory.snapshot.identity
            self.memory = self._new_memory()
        self.look(wait=True)

    def refreshed(self) -> float:
        """Return when the snapshot was last compared with the table, 0 if that is not known."""
        return self._refresher.refreshed() if self._refresher is not None else 0.0

    def close(self) -> None:
        """End the thread, and wait until it has, for some seconds at most."""
        if self._worker is not None:
            self._worker.stop(_PATIENCE)

    def after_fork(self) -> None:
        """Forget in a forked child what belongs to its parent."""
        self._looking = threading.Lock()
        if self._options.snapshot:
            # A child may not even close what SQLite had open.
            self._inherited.append(self.memory)
            self.memory = self._new_memory()
            self.look_at = 0.0

    def _take(self, found: Identity) -> bool:
        """Answer from the snapshot *found*; return whether another look can wait."""
        start = monotonic()
        try:
            snapshot = self._refresher.open()
            rows = dict(snapshot.all()) if snapshot.rows <= self._options.preload else None
        except (FileNotFoundError, Replaced):
            return False
        except Unusable as error:
            # whoever writes it anew says so in the log
            logger.debug("lookup: snapshot %s: %s", self._options.snapshot, error)
            self._refused = found
            held = self.memory.snapshot
            if held is not None and found.is_over(held.identity):
                # what is open is not what it was
                self.memory = self._new_memory()
            return True
        level = logging.INFO if self.memory.snapshot is None else logging.DEBUG
        self.memory = self._new_memory(rows, snapshot)
        self.warmed, self.warm_seconds = snapshot.rows, monotonic() - start
        logger.log(
            level,
            "lookup: %d rows in snapshot %s, %d of them in memory, in %.1f ms",
            snapshot.rows,
            snapshot.path,
            len(self.memory),
            self.warm_seconds * 1000,
        )
        return True

    def _next_warm(self) -> float:
        seconds = self._options.refresh * random.uniform(1, 1 + _SPREAD)
        return monotonic() + seconds if seconds else math.inf

    def _age(self) -> None:
        """Do without a snapshot what a refresh does, if it is time."""
        if monotonic() < self._warm_at:
            return
        self._warm_at = self._next_warm()
        if not self.memory.complete:
            self.memory = self._new_memory()
        elif self._warm is not None:
            # A child that may have no more threads keeps what it knows.
            with contextlib.suppress(RuntimeError):
                threading.Thread(target=self._warm, name="lookup-warm", daemon=True).start()

    def _new_memory(self, rows=None, snapshot=None, began=0) -> Memory:
        return Memory(self._options, rows, snapshot, self._invalidations, began)

    def _start_worker(self) -> None:
        """Let this process stand for election as the one that refreshes the snapshot."""
        refresher, every = self._refresher, min(ELECTION, self._options.refresh or ELECTION)
        # the thread must not keep alive what nobody answers from any more
        reference = weakref.ref(self)

        def look() -> None:
            # An idle child, too, lets go of a file that was replaced.
            watcher = reference()
            if watcher is not None:
                watcher.look()

        def on_change() -> OnChange | None:
            watcher = reference()
            return watcher and watcher.on_change

        worker = self._worker = Worker(
            "lookup-snapshot",
            lambda: refresher.elect(on_change()),
            lambda lock, worker: refresher.work(lock, worker, on_change(), look),
            every=every,
            first=0.0 if self.memory.snapshot is None else min(every, _CALM),
            look=look,
            complain=refresher.complain,
            after_fault=_AFTER_FAULT,
            interrupt=refresher.abort,
        )
        weakref.finalize(self, worker.stop).atexit = False
        worker.start()


def _after_fork() -> None:
    for watcher in list(_alive):
        watcher.after_fork()


os.register_at_fork(after_in_child=_after_fork)
