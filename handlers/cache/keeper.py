"""The child that keeps the cache within its limits: any one, elected by a lock.

Each child has a thread that tries to take the lock now and then. Who gets it when a round is due,
or was left unfinished, sweeps in steps of a few milliseconds with long pauses; when it dies the
kernel gives the lock to the next one, which goes on where it stopped.
"""

import logging
import os
import threading
import time
from collections.abc import Mapping

from handlers import access, faults, locks, settings, state_directory
from handlers.cache import stamp
from handlers.cache.sweep import Limits, Rows, Sweep

log = logging.getLogger(__name__)

_STEP = 0.004
_PAUSE = 0.08
_ELECTION = 5.0
_AFTER_FAULT = 60.0

_started: set[str] = set()
_starting = threading.Lock()


def start(directory: str, options: Mapping[str, str], rows: Rows | None = None) -> None:
    """Let this child stand for election as keeper of the cache *directory*, once.

    :param options: the limits, as :func:`limits` reads them, ``cache.interval``, and those that the
        cache is bound to.
    :param rows: what its files are compared with.
    :raises handlers.errors.Misconfigured: for a value that makes no sense.
    """
    if directory in _started:
        return
    allowed, interval = limits(options), settings.value(options, "cache.interval")
    with _starting:
        if directory in _started:
            return
        _started.add(directory)
    threading.Thread(
        target=_stand,
        args=(directory, allowed, interval, rows, dict(options)),
        name="cache keeper",
        daemon=True,
    ).start()


def limits(options: Mapping[str, str]) -> Limits:
    """Return what the cache may hold, from ``cache.bytes``, ``cache.age`` and the failures' TTL.

    :raises handlers.errors.Misconfigured: for a value that makes no sense.
    """
    days = settings.value(options, "cache.age")
    return Limits(
        settings.value(options, "cache.bytes"),
        None if days is None else days * 86400,
        2 * settings.value(options, "thumbnail.failure_ttl"),
    )


def lock(directory: str, wait: float | None) -> int:
    """Take the lock that the keeper holds; return the descriptor that holds it.

    :raises handlers.locks.LockTimeout: if another one has it for longer than *wait* seconds
        (None waits for ever).
    :raises OSError: if the cache cannot be written.
    """
    return locks.acquire(state_directory.path(directory, "sweeper"), 0, wait)


def _stand(
    directory: str,
    allowed: Limits,
    interval: float,
    rows: Rows | None,
    options: Mapping[str, str],
) -> None:
    while True:
        pause = min(_ELECTION, interval)
        try:
            fd = lock(directory, 0)
            try:
                _keep(Sweep(directory, allowed, rows), interval, options)
            finally:
                os.close(fd)
        except (locks.LockTimeout, FileNotFoundError):
            # another child does it, or there is no cache yet
            pass
        except OSError as error:
            why = access.why_unwritable(directory, error)
            faults.tell(log, logging.ERROR, directory, f"thumbnail.cache {why}", key=why)
            pause = _AFTER_FAULT
        time.sleep(pause)


def _keep(sweep: Sweep, interval: float, options: Mapping[str, str]) -> None:
    """Bring the round that is under way to its end, or a new one if there is need for it.

    A child that was started with another configuration than the cache has now leaves it to others.
    """
    while sweep.is_due(interval) and stamp.holds(sweep.directory, options):
        sweep.step(_STEP)
        time.sleep(_PAUSE)
