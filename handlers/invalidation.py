"""What an admin's command tells every child: ask the database again for these ids.

A file of the cache has one slot of eight bytes for each hash of an id, which holds the time of the
last call of :func:`invalidate`. It never grows, needs no lock, and a child reads it when its time
of modification has changed. Two ids of one slot are invalidated together, which costs one query
more.
"""

import os
import struct
import time
import zlib
from collections.abc import Iterable

from handlers import state_directory

#: Seconds after which every child has seen what was invalidated, and forgotten those rows.
NOTICED = 1.5

_SLOTS = 1 << 16
_SLOT = struct.Struct("<Q")
# bytes that are looked at together, as most slots are empty
_BLOCK = 4096
# nanoseconds; two writes within one tick of the clock leave the same time of modification
_SETTLED = 10**9


def path_in(cache: str) -> str:
    """Return where the file lies in the cache directory *cache*."""
    return state_directory.path(cache, "invalidated")


def slot(id: str) -> int:
    """Return the number of the slot of *id*."""
    return zlib.crc32(id.encode("utf-8", "surrogatepass")) % _SLOTS


def invalidate(cache: str, ids: Iterable[str]) -> None:
    """Let every process ask the database before it answers from what it knew of *ids* until now.

    The children of a server notice it within a second.

    :raises OSError: if the cache cannot be written.
    """
    state_directory.ensure(cache)
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path_in(cache), flags, 0o600)
    try:
        for id in ids:
            os.pwrite(descriptor, _SLOT.pack(time.time_ns()), slot(id) * _SLOT.size)
    finally:
        os.close(descriptor)


class Invalidations:
    """What one process has seen of the file *path*; None stands for no file at all.

    One thread at a time may call :meth:`look`, any thread :meth:`moment`.
    """

    def __init__(self, path: str | None):
        self._path = path
        self._seen: tuple | None = None
        self._moments: dict[int, int] = {}

    def look(self) -> set[int]:
        """Read the file if it has changed; return the slots that are newer than before."""
        if self._path is None:
            return set()
        try:
            found = os.stat(self._path)
            seen = found.st_ino, found.st_mtime_ns, found.st_size
            if seen == self._seen:
                return set()
            with open(self._path, "rb") as file:
                data = file.read(_SLOTS * _SLOT.size)
        except OSError:
            # nobody has written one, or somebody has emptied the cache: what was seen still holds
            return set()
        self._seen = seen if abs(time.time_ns() - found.st_mtime_ns) > _SETTLED else None
        return self._take(data)

    def moment(self, id: str) -> int:
        """Return when *id* was invalidated last, in nanoseconds since 1970; 0 for never."""
        return self._moments.get(slot(id), 0) if self._moments else 0

    def after(self, moment: int) -> set[int]:
        """Return the slots that are newer than *moment*."""
        return {number for number, found in self._moments.items() if found > moment}

    def _take(self, data: bytes) -> set[int]:
        # a clock that was set back, or a damaged file, must not hold for ever
        newer, now = set(), time.time_ns()
        for start in range(0, len(data) - len(data) % _SLOT.size, _BLOCK):
            block = data[start : start + _BLOCK]
            if not block.strip(b"\0"):
                continue
            whole = len(block) - len(block) % _SLOT.size
            for number, (moment,) in enumerate(
                _SLOT.iter_unpack(block[:whole]), start // _SLOT.size
            ):
                if moment > self._moments.get(number, 0):
                    self._moments[number] = min(moment, now)
                    newer.add(number)
        return newer
