"""Keeping the cache within its limits, one small step after the other.

A round begins when it is time for it, or when what has been written since the last one began takes
the cache over its limit. It has two passes. The first looks at every file: it adds up what the
cache holds, by the hour of last use, and deletes what is too old. If it holds too many bytes, the
second pass deletes what was not used for longest, down to nine tenths of the limit. Where a round
stands is in a file, so another process goes on if this one is killed.

Last use is the access time. Linux writes it at the first read after a change and then once a day at
most (mount(8), relatime), which is exact enough; on a file system mounted noatime it stays the time
at which the thumbnail was made.
"""

import contextlib
import json
import logging
import os
import time
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from handlers.cache import directory
from handlers.cache.store import FOLDERS, Store

log = logging.getLogger(__name__)

_ENTRIES = 200
_HOUR = 3600
_BLOCK = 512
_FILLED_AGAIN = 0.9
#: What lies in tmp for so long was left by a process that is no more.
_ORPHANED = 900
_SAVED_EVERY = 1.0
_COUNTING, _DELETING = "counting", "deleting"


class Limits(NamedTuple):
    """What the cache may hold; None for no limit.

    *bytes* are those on the disk, as du(1) counts them; *age* is in seconds since last use;
    *failure_age* in seconds since a failure.
    """

    bytes: int | None = None
    age: float | None = None
    failure_age: float = 2 * 86400


@dataclass
class Round:
    """Where a round stands, and what it has found."""

    started: float
    finished: float = 0.0
    phase: str = _COUNTING
    #: The directory that is being read, relative to the cache, and the place in it.
    part: str = ""
    place: int = 0
    files: int = 0
    bytes: int = 0
    deleted: int = 0
    freed: int = 0
    #: Bytes by the hour of last use, and the hour up to which files are deleted.
    by_hour: dict[str, int] = field(default_factory=dict)
    until_hour: int = 0
    to_free: int = 0


class Sweep:
    """Rounds over the cache *directory*. One process at a time may call it: see the keeper.

    :param limits: what the cache may hold.
    """

    def __init__(self, directory: str, limits: Limits):
        self._store = Store(directory)
        self._limits = limits
        self._path = self._store.part("round")
        self._saved = 0.0
        self.round = self._load()

    def is_due(self, interval: float) -> bool:
        """Tell whether there is something to do.

        That is a round left unfinished, one that is due *interval* seconds after the last, or more
        in the cache by now than it may hold.
        """
        limit = self._limits.bytes
        # abs: a clock that was set back must not stop the sweeps
        if abs(time.time() - self.round.finished) >= interval:
            return True
        return limit is not None and self.round.bytes + self._store.growth() > limit

    def step(self, seconds: float) -> bool:
        """Work for about *seconds*; return whether this ended the round.

        If the last round was finished, a new one begins.

        :raises OSError: if the cache cannot be read or its files cannot be deleted.
        """
        if self.round.finished:
            self.round = self._begun()
        started = time.monotonic()
        ended = self._piece()
        while not ended and time.monotonic() - started < seconds:
            ended = self._piece()
        now = time.monotonic()
        if ended:
            self._finish()
        if ended or now - self._saved > _SAVED_EVERY:
            self._save()
            self._saved = now
        return ended

    def _piece(self) -> bool:
        at = self.round
        parts = self._parts()
        if at.part not in parts:
            following = [part for part in parts if part > at.part]
            if not following:
                return self._next_phase()
            at.part, at.place = following[0], 0
        look = self._look(at.part)
        # gone since it was listed: nothing to do in it
        piece = directory.Piece([], None)
        with contextlib.suppress(FileNotFoundError):
            piece = directory.read(self._store.part(at.part), at.place, _ENTRIES)
        for name in piece.names:
            with contextlib.suppress(FileNotFoundError):
                look(self._store.part(at.part, name))
        if piece.next is None:
            # the part after this one, in the order of their names
            at.part, at.place = at.part + "\0", 0
        else:
            at.place = piece.next
        return False

    def _parts(self) -> list[str]:
        own = ["copies", "failures", "tmp"] if self.round.phase == _COUNTING else ["copies"]
        for folder in FOLDERS:
            sizes = Store(self._store.directory, folder).sizes()
            own += [f"{folder}/{size}" for size in sizes]
        return sorted(own)

    def _look(self, part: str):
        if part == "tmp":
            return lambda path: self._delete_after(path, _ORPHANED)
        if part == "failures":
            return lambda path: self._delete_after(path, self._limits.failure_age)
        return self._count if self.round.phase == _COUNTING else self._evict

    def _delete_after(self, path: str, age: float) -> None:
        found = os.stat(path)
        # ctime: a thumbnail in the making has the time of its source already
        if time.time() - found.st_ctime > age:
            os.unlink(path)
            self.round.deleted += 1

    def _count(self, path: str) -> None:
        found = os.stat(path)
        size = found.st_blocks * _BLOCK
        if self._limits.age is not None and time.time() - found.st_atime > self._limits.age:
            os.unlink(path)
            self.round.deleted += 1
            self.round.freed += size
            return
        self.round.files += 1
        self.round.bytes += size
        hour = str(int(found.st_atime // _HOUR))
        self.round.by_hour[hour] = self.round.by_hour.get(hour, 0) + size

    def _evict(self, path: str) -> None:
        if self.round.to_free <= 0:
            return
        found = os.stat(path)
        if found.st_atime // _HOUR <= self.round.until_hour:
            size = found.st_blocks * _BLOCK
            os.unlink(path)
            at = self.round
            at.files, at.bytes, at.to_free = at.files - 1, at.bytes - size, at.to_free - size
            at.deleted, at.freed = at.deleted + 1, at.freed + size

    def _next_phase(self) -> bool:
        at, limit = self.round, self._limits.bytes
        if at.phase == _DELETING or limit is None or at.bytes <= limit:
            return True
        at.to_free = at.bytes - int(limit * _FILLED_AGAIN)
        counted = 0
        for hour in sorted(map(int, at.by_hour)):
            at.until_hour = hour
            counted += at.by_hour[str(hour)]
            if counted >= at.to_free:
                break
        at.phase, at.part, at.place = _DELETING, "", 0
        return False

    def _finish(self) -> None:
        at = self.round
        at.finished = time.time()
        log.info(
            "cache: %d thumbnails, %.1f MB; %d files deleted, %.1f MB freed, in %.1f s",
            at.files,
            at.bytes / 2**20,
            at.deleted,
            at.freed / 2**20,
            at.finished - at.started,
        )

    def _load(self) -> Round:
        try:
            with open(self._path, encoding="utf-8") as file:
                return Round(**json.load(file))
        except (FileNotFoundError, ValueError, TypeError):
            return self._begun()

    def _begun(self) -> Round:
        self._store.forget_growth()
        return Round(time.time())

    def _save(self) -> None:
        # read by nobody but the next sweep, under the same lock; a torn one begins a new round
        with open(self._path, "w", encoding="utf-8") as file:
            json.dump(asdict(self.round), file)
