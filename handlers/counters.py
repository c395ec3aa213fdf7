"""Counts that all children share: how many thumbnails were made, ids asked for, sessions begun.

Each process writes to a slot of its own in one mapped file, and a count is the sum over all slots.
A slot outlives its process: the next one that takes it counts on from there. So a sum never goes
down, the file never grows, and whatever a killed process has counted is there, as its pages belong
to the kernel. A count is a machine word at its own aligned place, so that nobody reads half of one.

Each site has a file of its own, in its cache. A child answers for all sites of the server, so each
of its threads says whose request it is at (:func:`serve`); what it counts goes there.

What is counted here is what Python does. Apache serves hot thumbnails without asking anybody; its
own access log and mod_status count those.
"""

import bisect
import contextlib
import hashlib
import mmap
import os
import threading
import time
from collections.abc import Iterator

from handlers import locks, state_directory

#: What is counted: the name, and what it means for the metrics' HELP line.
COUNTERS = {
    "thumbnails_made": "Thumbnails made.",
    "thumbnails_ahead": "Thumbnails made ahead, of what was decoded for another size.",
    "thumbnails_found": "Requests that found the thumbnail made already.",
    "thumbnails_waited": "Requests that waited while another one had the thumbnail made.",
    "thumbnails_refused": "Requests whose source is missing, refused or known to fail.",
    "thumbnails_failed": "Makers that died, ran out of time or could not be started.",
    "thumbnails_turned_away": "Requests turned away because too many thumbnails were being made.",
    "thumbnails_unavailable": "Requests that the cache, images.root or the database kept waiting.",
    "lookup_found": "Questions that the database answered with a row.",
    "lookup_missing": "Questions that it answered with none.",
    "lookup_not_asked": "Questions not put to it, as one child had asked too many.",
    "lookup_unavailable": "Questions that it could not answer.",
    "sessions_begun": "Sessions stored for the first time.",
    "sessions_ended": "Sessions ended by their owner.",
    "sessions_expired": "Sessions that the sweep has deleted.",
    "requests_unavailable": "Requests answered 503, as something was away or busy.",
    "requests_misconfigured": "Requests answered 500, as something is configured wrongly.",
}
#: Distributions: the name, its help, and the upper bounds of its buckets, in the name's unit.
HISTOGRAMS = {
    "thumbnail_making_seconds": (
        "Wall-clock time of making a thumbnail, in seconds.",
        (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    ),
    "thumbnail_source_bytes": (
        "Size of the sources of thumbnails made, in bytes.",
        (1e5, 3e5, 1e6, 3e6, 1e7, 3e7, 1e8),
    ),
}
NAME = "counters"

_WORD = 8
_PAGE = 4096
# more processes than any prefork server has children; an unused slot takes no room on the disk
_SLOTS = 2048
# sums of a distribution are kept in millionths, as words are whole numbers
_MICRO = 1_000_000


def _layout() -> tuple[dict[str, int], int]:
    places, place = {}, 0
    for name in COUNTERS:
        places[name] = place
        place += 1
    for name, (_, bounds) in HISTOGRAMS.items():
        places[name] = place
        # a count for each bucket, one for what is above all, and the sum
        place += len(bounds) + 2
    return places, place


_PLACES, WORDS = _layout()
# of the process that has the slot now: its pid, its start and the requests it has answered
_OWN, _REQUESTS = 3, 2
# a version that counts other things begins a file of its own
_VERSION = hashlib.blake2b(repr(_PLACES).encode(), digest_size=4).hexdigest()


class Counters:
    """The slot of this process in the file below the cache *directory*; any thread may count.

    :ivar directory: the cache directory.
    :raises OSError: if the file cannot be made or written.
    """

    def __init__(self, directory: str):
        state_directory.ensure(directory)
        path = path_in(directory)
        self.directory = directory
        self._lock = threading.Lock()
        self._fd, slot = _claimed(path)
        try:
            fd = state_directory.opener(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
            try:
                # so that counting cannot meet a full disk, which would kill the process
                os.posix_fallocate(fd, slot * _STRIDE, _STRIDE)
                self._map = mmap.mmap(fd, _STRIDE, offset=slot * _STRIDE)
            finally:
                os.close(fd)
        except BaseException:
            os.close(self._fd)
            raise
        self._words = memoryview(self._map).cast("Q")
        self._words[0], self._words[1], self._words[_REQUESTS] = (
            os.getpid(),
            int(time.time() * _MICRO),
            0,
        )

    def add(self, name: str, count: int = 1) -> None:
        """Count *name*; less than a microsecond."""
        with self._lock:
            self._words[_OWN + _PLACES[name]] += count

    def answered(self) -> None:
        """Count a request of this process."""
        with self._lock:
            self._words[_REQUESTS] += 1

    def observe(self, name: str, value: float) -> None:
        """Put *value* into the distribution *name*."""
        bounds = HISTOGRAMS[name][1]
        place = _OWN + _PLACES[name]
        with self._lock:
            self._words[place + bisect.bisect_left(bounds, value)] += 1
            self._words[place + len(bounds) + 1] += int(value * _MICRO)

    def close(self) -> None:
        """Give the slot to the next process; what was counted stays."""
        self._words[0] = 0
        self._words.release()
        self._map.close()
        os.close(self._fd)


_STRIDE = -(-(_OWN + WORDS) * _WORD // _PAGE) * _PAGE
# seconds after which a file that could not be opened is tried again
_RETRY = 60.0


class _Site:
    """What this process has of one site: its counters, once they could be opened."""

    def __init__(self, directory: str):
        self.directory = directory
        self.counters: Counters | None = None
        self._opening = threading.Lock()
        self._not_before = 0.0

    def open(self) -> bool:
        """Open the counters, unless that failed a moment ago; tell whether this call did.

        :raises OSError: if the file cannot be made or written.
        """
        if self.counters is not None or time.monotonic() < self._not_before:
            return False
        with self._opening:
            # another thread may have done it, or failed, while this one waited
            if self.counters is not None or time.monotonic() < self._not_before:
                return False
            try:
                self.counters = Counters(self.directory)
            except OSError:
                self._not_before = time.monotonic() + _RETRY
                raise
            return True


class _Thread(threading.local):
    site: _Site | None = None


_sites: dict[str, _Site] = {}
# that of threads that serve no other one
_default: _Site | None = None
_thread = _Thread()


def use(directory: str) -> bool:
    """Let this process count into the file below the cache *directory*, by default.

    :return: whether this is the first time in this process that it can.
    :raises OSError: if the file cannot be made or written; then nothing is counted for a minute.
    """
    global _default
    if _default is None:
        _default = _site(directory)
    return _default.open()


def serve(directory: str | None) -> bool:
    """Let this thread count for the site whose cache is *directory* from now on.

    None stands for the site that :func:`use` has named.

    :return: as :func:`use`, which tells of errors, too.
    """
    if directory is None:
        _thread.site = None
        return False
    site = _sites.get(directory) or _site(directory)
    _thread.site = site
    return site.counters is None and site.open()


def _site(directory: str) -> _Site:
    return _sites.setdefault(directory, _Site(directory))


def add(name: str, count: int = 1) -> None:
    """Count *name* for the site that this thread serves, if this process counts."""
    site = _thread.site or _default
    if site is not None and site.counters is not None:
        site.counters.add(name, count)


def answered() -> None:
    """Count a request, if this process counts."""
    site = _thread.site or _default
    if site is not None and site.counters is not None:
        site.counters.answered()


def observe(name: str, value: float) -> None:
    """Put *value* into the distribution *name*, if this process counts."""
    site = _thread.site or _default
    if site is not None and site.counters is not None:
        site.counters.observe(name, value)


def directory() -> str | None:
    """Return the cache of the site that this thread counts for, None if it does not count."""
    site = _thread.site or _default
    return None if site is None else site.directory


def read(directory: str) -> dict[str, int | tuple[list[int], float]]:
    """Return the sums over all processes, living and gone.

    A distribution is the counts of its buckets, the last of which has no bound, and the sum of all
    values. Without a file all are 0.
    """
    return named(sums(directory))


def sums(directory: str) -> list[int]:
    """Return the sums over all processes as one list, for :func:`named`."""
    found = [0] * WORDS
    for words in _slots(path_in(directory)):
        found = [one + other for one, other in zip(found, words[_OWN:], strict=True)]
    return found


def named(sums: list[int]) -> dict[str, int | tuple[list[int], float]]:
    """Return what :func:`read` does, of a list that :func:`sums` has returned."""
    found: dict[str, int | tuple[list[int], float]] = {
        name: sums[_PLACES[name]] for name in COUNTERS
    }
    for name, (_, bounds) in HISTOGRAMS.items():
        place = _PLACES[name]
        end = place + len(bounds) + 1
        found[name] = sums[place:end], sums[end] / _MICRO
    return found


def processes(directory: str) -> dict[int, tuple[float, int]]:
    """Return the living processes that count: pid, to start and requests answered.

    The start is in seconds since 1970; requests are those that the package's handlers answered.
    """
    found = {}
    for words in _slots(path_in(directory)):
        pid, started, requests = words[:_OWN]
        if pid and os.path.exists(f"/proc/{pid}"):
            found[pid] = started / _MICRO, requests
    return found


def path_in(directory: str) -> str:
    """Return the file of the counters in the cache *directory*."""
    return state_directory.path(directory, f"{NAME}-{_VERSION}")


def _claimed(path: str) -> tuple[int, int]:
    """Return the lock and the number of a slot that no other process has."""
    first = os.getpid() % _SLOTS
    for number in (*range(first, _SLOTS), *range(first)):
        with contextlib.suppress(locks.LockTimeout):
            return locks.acquire(path + ".lock", number, 0), number
    raise locks.LockTimeout(f"{path}: {_SLOTS} processes count already")


def _slots(path: str) -> Iterator[memoryview]:
    """Yield the words of each slot that was ever used."""
    with contextlib.suppress(OSError), open(path, "rb", buffering=0) as file:
        end = os.fstat(file.fileno()).st_size
        place = _next_data(file.fileno(), 0, end)
        while place < end:
            place -= place % _STRIDE
            words = os.pread(file.fileno(), (_OWN + WORDS) * _WORD, place)
            if len(words) == (_OWN + WORDS) * _WORD:
                yield memoryview(words).cast("Q")
            place = _next_data(file.fileno(), place + _STRIDE, end)


def _next_data(fd: int, place: int, end: int) -> int:
    """Return where the next data is: slots that were never used are holes."""
    try:
        return os.lseek(fd, place, os.SEEK_DATA) if place < end else end
    except OSError:
        return end


def _after_fork() -> None:
    # a maker is no child of the server, and two processes must not share a slot
    global _default, _thread
    _default, _thread = None, _Thread()
    _sites.clear()


os.register_at_fork(after_in_child=_after_fork)
