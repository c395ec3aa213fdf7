"""Making the other sizes that ``thumbnail.together`` names, while no maker is wanted.

When a child has had one of them made, the maker keeps what it has decoded for some seconds
(:mod:`handlers.maker.kept`). A thread of the child has the others made of that as soon as nobody
waits for a maker. A size that cannot be made in time is made when a visitor asks for it.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from handlers import access, counters, faults, lookup, making, source, stop, worker
from handlers.cache import stamp
from handlers.cache.failures import FailedBefore
from handlers.cache.store import Store
from handlers.cache.turns import Turns
from handlers.errors import Busy, Misconfigured
from handlers.image.errors import ImageError
from handlers.maker.job import KEPT_SECONDS
from handlers.making import Asked, Recipe

log = logging.getLogger(__name__)

# seconds until the next look while others come first
_PAUSE = 0.05
# seconds that the thread gets to end when the interpreter does
_LAST_WORDS = 0.4
#: Work that waits in one child; more is a sign that makers are wanted for other things.
_MOST = 200
_LEFT_ALONE = (
    *(source.SourceMissing, source.SourceRefused, source.RootUnavailable, ImageError),
    *(FailedBefore, worker.WorkerDied, worker.WorkerTimeout, making.RowChanged, stamp.Outdated),
    *(lookup.Unavailable, Misconfigured),
)


class Work(NamedTuple):
    """A thumbnail that can be made of what a maker has kept.

    :ivar makers: how many there are.
    :ivar slot: the turn of that one.
    :ivar check: as for :func:`handlers.making.make_ahead`.
    :ivar until: when it is too late, by the monotonic clock.
    :ivar site: for which it is counted, see :func:`handlers.counters.serve`.
    """

    store: Store
    asked: Asked
    row: lookup.Row
    recipe: Recipe
    makers: int
    slot: int
    check: Callable[[], None]
    until: float
    site: str | None


_waiting: deque[Work] = deque(maxlen=_MOST)
_lock = threading.Lock()
_stop = threading.Event()
_thread: threading.Thread | None = None


def too_late() -> float:
    """Return until when what has just been decoded is kept, by the monotonic clock."""
    return time.monotonic() + KEPT_SECONDS


def begin(work: Sequence[Work]) -> None:
    """Have the *work* done by a thread of this process, as soon as that makes nobody wait."""
    global _thread
    with _lock:
        _waiting.extend(work)
        if _thread is not None or _stop.is_set():
            return
        _thread = threading.Thread(target=_run, name="ahead", daemon=True)
        try:
            _thread.start()
        except RuntimeError:
            # a child that may have no more threads, or ends
            _thread = None


def _run() -> None:
    global _thread
    while True:
        with _lock:
            if not _waiting or _stop.is_set():
                _thread = None
                return
            work = _waiting.popleft()
        if time.monotonic() < work.until and not _is_done(work):
            with _lock:
                # others may have a maker that is free
                _waiting.append(work)
            _stop.wait(_PAUSE / len(_waiting))


def _is_done(work: Work) -> bool:
    """Try to do the *work*; return False if others come first for now."""
    counters.serve(work.site)
    turns = Turns(work.store.directory, work.makers, None, 0)
    try:
        making.make_ahead(
            *(work.store, work.asked, work.row, work.recipe, turns, work.slot, work.check)
        )
    except Busy:
        return False
    except _LEFT_ALONE as error:
        # a visitor who asks for it gets the error
        log.info("thumbnail %s not made ahead: %s", work.asked.name, error)
    except OSError as error:
        directory = work.store.directory
        why = access.why_unwritable(directory, error)
        faults.tell(log, logging.ERROR, directory, f"thumbnail.cache {why}", key=why)
    except Exception:
        log.exception("thumbnail %s not made ahead", work.asked.name)
    return True


def _end() -> None:
    _stop.set()
    thread = _thread
    if thread is not None:
        thread.join(_LAST_WORDS)


def _after_fork() -> None:
    global _thread, _lock
    _lock, _thread = threading.Lock(), None
    _waiting.clear()


stop.at_end(_end)
os.register_at_fork(after_in_child=_after_fork)
