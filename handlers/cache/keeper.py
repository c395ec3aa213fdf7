"""The child that keeps the cache within its limits: any one, elected by a lock.

When a round is due, or was left unfinished, it sweeps in steps of a few milliseconds with long
pauses. See :mod:`handlers.elected`.
"""

import logging
import os
import threading

from handlers import access, faults, locks, settings, state_directory
from handlers.cache import stamp
from handlers.cache.sweep import Limits, Rows, Sweep
from handlers.elected import ELECTION, Worker

log = logging.getLogger(__name__)

# seconds
_STEP = 0.004
_PAUSE = 0.08

_started: dict[str, Worker] = {}
_starting = threading.Lock()


def start(directory: str, options: settings.Settings, rows: Rows | None = None) -> None:
    """Let this child stand for election as keeper of the cache *directory*, once.

    :param options: the limits, as :func:`limits` reads them, ``cache.interval``, and those that the
        cache is bound to.
    :param rows: what its files are compared with.
    :raises handlers.errors.Misconfigured: for a value that makes no sense.
    """
    if directory in _started:
        return
    allowed, interval = limits(options), options.cache.interval
    with _starting:
        if directory in _started:
            return
        given = dict(options)
        worker = _started[directory] = Worker(
            "cache keeper",
            lambda: _elect(directory),
            lambda _, worker: _keep(Sweep(directory, allowed, rows), interval, given, worker),
            every=min(ELECTION, interval),
            complain=lambda error: complain(directory, error),
        )
    worker.start()


def limits(options: settings.Settings) -> Limits:
    """Return what the cache may hold, from ``cache.bytes``, ``cache.age`` and the failures' TTL.

    :raises handlers.errors.Misconfigured: for a value that makes no sense.
    """
    days = options.cache.age
    return Limits(
        options.cache.bytes,
        None if days is None else days * 86400,
        2 * options.thumbnail.failure_ttl,
    )


def lock(directory: str, wait: float | None) -> int:
    """Take the lock that the keeper holds; return the descriptor that holds it.

    :raises handlers.locks.LockTimeout: if another one has it for longer than *wait* seconds
        (None waits for ever).
    :raises OSError: if the cache cannot be written.
    """
    return locks.acquire(_lock_path(directory), 0, wait)


def complain(directory: str, error: Exception) -> bool:
    """Log why a worker cannot write into the cache *directory*; tell whether *error* says that."""
    if isinstance(error, FileNotFoundError):
        # somebody has removed the cache
        return True
    if not isinstance(error, OSError):
        return False
    why = access.why_unwritable(directory, error)
    faults.tell(log, logging.ERROR, directory, f"thumbnail.cache {why}", key=why)
    return True


def _lock_path(directory: str) -> str:
    return state_directory.path(directory, "sweeper")


def _elect(directory: str):
    path = _lock_path(directory)
    # otherwise there is no cache yet
    return locks.held(path, 0, 0) if os.path.isdir(os.path.dirname(path)) else None


def _keep(sweep: Sweep, interval: float, options: settings.Settings, worker: Worker) -> None:
    """Bring the round that is under way to its end, or a new one if there is need for it.

    A child that was started with another configuration than the cache has now leaves it to others.
    """
    while sweep.is_due(interval) and stamp.holds(sweep.directory, options):
        sweep.step(_STEP)
        if not worker.rest(_PAUSE):
            return
