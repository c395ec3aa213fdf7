"""A task that one process of all does; when it ends or is killed, another process takes over.

Each child starts a :class:`Worker` for the task: a thread that now and then stands for election.
The election is a lock that the kernel gives back when its holder dies (:mod:`handlers.locks`, or a
lock of a database), so no child has to notice the death of another. How far the work has come lies
in a file, see :func:`write_state`: the next one elected starts there.

When the interpreter ends, all workers of the process end within half a second.
"""

import contextlib
import dataclasses
import json
import logging
import os
import random
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from handlers import counters, faults, stop
from handlers.locks import LockTimeout

logger = logging.getLogger(__name__)

#: Seconds after which a child that was not elected tries again.
ELECTION = 5.0
#: The same after its work has failed.
AFTER_FAULT = 60.0
# seconds that all threads together get to end when the interpreter does
_LAST_WORDS = 0.4
# bytes of a state file that are read at most
_LARGEST_STATE = 1 << 20

T = TypeVar("T")
_running: set["Worker"] = set()
_starting = threading.Lock()


class Worker:
    """A thread of this process that does the work whenever this process is the elected one.

    Start one in every child, after the fork. An error of *work* is logged, and the next candidacy
    follows after a longer pause: the thread lives as long as the process.

    :param name: of the thread, and of the work in the log.
    :param elect: stands for election: returns a context manager that holds the lock and yields
        what *work* gets, or returns None or raises :class:`~handlers.locks.LockTimeout` while
        another process is elected or nothing is due.
    :param work: called with that and this worker; works until nothing is left to do for now, and
        then returns. It calls :meth:`rest` between two steps, and returns when that tells it to.
    :param every: seconds between two candidacies, or up to a half less.
    :param first: seconds before the first one, at most.
    :param look: called before each candidacy, elected or not.
    :param complain: gets an exception of *elect*, *work* or *look*; returns True if it has told the
        admin, False to have the traceback logged, once.
    :param after_fault: seconds until the candidacy that follows an exception.
    :param interrupt: makes an *elect* or *work* that waits for others return soon; called by
        :meth:`stop`, in another thread.
    """

    def __init__(
        self,
        name: str,
        elect: Callable[[], AbstractContextManager | None],
        work: Callable[[Any, "Worker"], None],
        *,
        every: float = ELECTION,
        first: float = 0.0,
        look: Callable[[], None] | None = None,
        complain: Callable[[Exception], bool] | None = None,
        after_fault: float = AFTER_FAULT,
        interrupt: Callable[[], None] | None = None,
    ):
        self.name = name
        self._elect = elect
        self._work = work
        self._every = every
        self._first = first
        self._look = look
        self._complain = complain
        self._after_fault = after_fault
        self._interrupt = interrupt
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = 0

    def start(self) -> None:
        """Start the thread, unless it runs in this process or was stopped.

        A child that may have no more threads leaves the work to the others.
        """
        with _starting:
            if self._pid == os.getpid() or self._stopped.is_set():
                return
            self._pid = os.getpid()
            site = counters.directory()
            self._thread = threading.Thread(
                target=self._run, args=(site,), name=self.name, daemon=True
            )
            if not _running:
                stop.at_end(stop_all)
            _running.add(self)
        with contextlib.suppress(RuntimeError):
            self._thread.start()

    def stop(self, wait: float = 0.0) -> None:
        """End the thread after the step that it is at, and give the election back.

        :param wait: seconds to wait for that, at most.
        """
        self._stopped.set()
        if self._interrupt is not None:
            self._interrupt()
        thread = self._thread
        if thread not in (None, threading.current_thread()) and self._pid == os.getpid():
            # one that could not be started has nothing to end
            with contextlib.suppress(RuntimeError):
                thread.join(wait)
        _running.discard(self)

    @property
    def stopped(self) -> bool:
        """True from the call of :meth:`stop` on."""
        return self._stopped.is_set()

    def rest(self, seconds: float) -> bool:
        """Wait *seconds*; return whether to go on, False as soon as the worker is stopped."""
        return not self._stopped.wait(max(seconds, 0.0))

    def _run(self, site: str | None) -> None:
        # what it counts and warns of is that of the site it was started for
        counters.serve(site)
        wait = self._first and random.uniform(0, self._first)
        while self.rest(wait):
            wait = self._stand()

    def _stand(self) -> float:
        """Stand for election, and work if elected; return the seconds until the next time."""
        try:
            if self._look is not None:
                self._look()
            election = self._elect()
            if election is not None:
                with election as won:
                    self._work(won, self)
            faults.over(self)
        except LockTimeout:
            pass
        except Exception as error:
            # without this thread nobody of this process would stand any more
            if not self._stopped.is_set() and not (self._complain and self._complain(error)):
                faults.tell(
                    logger,
                    logging.ERROR,
                    self,
                    f"{self.name} failed, and goes on in {self._after_fault:.0f} s: "
                    f"{traceback.format_exc()}",
                    key=repr(error),
                )
            return self._after_fault
        return self._every * random.uniform(0.5, 1.0)


def stop_all() -> None:
    """Stop every worker of this process, and wait for all of them together, 0.4 s at most."""
    deadline = time.monotonic() + _LAST_WORDS
    workers = list(_running)
    for worker in workers:
        worker.stop()
    for worker in workers:
        worker.stop(max(deadline - time.monotonic(), 0.0))


def read_state(path: str, kind: type[T]) -> T | None:
    """Return the state that :func:`write_state` put into the file *path*.

    None if there is none, or half of one, or what another version wrote.

    :param kind: a dataclass whose fields all have defaults.
    """
    try:
        with open(path, "rb") as file:
            state = kind(**json.loads(file.read(_LARGEST_STATE)))
    except (OSError, ValueError, TypeError):
        return None
    initial = kind()
    for field in dataclasses.fields(kind):
        wanted = getattr(initial, field.name)
        if wanted is not None and not _is_like(getattr(state, field.name), wanted):
            return None
    return state


def write_state(path: str, state: Any) -> None:
    """Write the dataclass *state* to the file *path*, in place, as one line of JSON.

    The file may be the lock of the election. The elected process alone may call this; what others
    read meanwhile may be half of it, and is None to them.

    :raises OSError: if it cannot be written, for example as the disk is full.
    """
    line = json.dumps(dataclasses.asdict(state)).encode() + b"\n"
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        os.pwrite(descriptor, line, 0)
        os.ftruncate(descriptor, len(line))
    finally:
        os.close(descriptor)


def _is_like(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(wanted, bool)
    if isinstance(wanted, float):
        return isinstance(value, int | float)
    return isinstance(value, type(wanted))


def _after_fork() -> None:
    # no thread has come along, and another thread of the parent may have held the lock
    global _starting
    _starting = threading.Lock()
    _running.clear()


os.register_at_fork(after_in_child=_after_fork)
