"""What was counted in each minute of the last day: a ring of samples that one child takes.

A sample is the minute and the sums of all counters (:mod:`handlers.counters`). The file has room
for a day and does not grow.
"""

import array
import contextlib
import logging
import os
import struct
import time

from handlers import counters, elected, faults, locks, state_directory

log = logging.getLogger(__name__)

MINUTES = 1440

_MINUTE = 60.0
_WORD = struct.Struct("=Q")
# one more, as a difference needs two
_ROOM = MINUTES + 1
_SAMPLE = (1 + counters.WORDS) * 8
_workers: dict[str, elected.Worker] = {}


def start(directory: str) -> None:
    """Let this process be one of those that may take the samples of the cache *directory*."""
    if directory not in _workers:
        _workers[directory] = elected.Worker(
            "history of the counters",
            lambda: locks.held(_path(directory) + ".lock", 0, 0),
            lambda _, worker: _sample(directory, worker),
            complain=_complain,
        )
    _workers[directory].start()


def record(directory: str, now: float | None = None) -> None:
    """Write the sample of the minute that *now*, the present by default, belongs to.

    :raises OSError: if it cannot be written.
    """
    minute = int((time.time() if now is None else now) // _MINUTE)
    words = array.array("Q", [minute, *counters.sums(directory)])
    fd = state_directory.opener(_path(directory), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
    try:
        os.pwrite(fd, words.tobytes(), minute % _ROOM * _SAMPLE)
    finally:
        os.close(fd)


def read(directory: str, minutes: int = MINUTES, now: float | None = None) -> list[dict]:
    """Return what was counted in each of the last *minutes*, the oldest first.

    Each is a dict as :func:`handlers.counters.read` returns it. A minute without a sample counts
    nothing; what happened then shows in the next one that has.
    """
    this = int((time.time() if now is None else now) // _MINUTE)
    # the minute that runs is not over: what was counted in it so far
    samples = _samples(directory, this - minutes) | {this: counters.sums(directory)}
    before = max((minute for minute in samples if minute <= this - minutes), default=None)
    last = samples.get(before, [0] * counters.WORDS)
    found = []
    for minute in range(this - minutes + 1, this + 1):
        words = samples.get(minute, last)
        # a sum that went down is that of a new file
        counted = [max(0, now - then) for now, then in zip(words, last, strict=True)]
        last = words
        found.append(counters.named(counted))
    return found


def _samples(directory: str, since: int) -> dict[int, list[int]]:
    """Return the samples by their minute: those after the minute *since*, and the last before."""
    data = b""
    # without a file, or closed to this process, it is as if there were no samples
    with contextlib.suppress(OSError), open(_path(directory), "rb") as file:
        data = file.read()
    places = range(0, len(data) - _SAMPLE + 1, _SAMPLE)
    minutes = {_WORD.unpack_from(data, place)[0]: place for place in places}
    before = max((minute for minute in minutes if minute <= since), default=0)
    return {
        minute: array.array("Q", data[place + _WORD.size : place + _SAMPLE]).tolist()
        for minute, place in minutes.items()
        if minute and minute >= before
    }


def _sample(directory: str, worker: elected.Worker) -> None:
    record(directory)
    while worker.rest(_MINUTE - time.time() % _MINUTE):
        record(directory)


def _complain(error: Exception) -> bool:
    """Take a cache that is gone, full or closed as no fault of the samples."""
    if not isinstance(error, OSError):
        return False
    # the fault of the cache itself has its line already
    faults.tell_rarely(log, logging.INFO, f"no sample for the status page: {error}", faults.LONG)
    return True


def _path(directory: str) -> str:
    return counters.path_in(directory) + ".history"
