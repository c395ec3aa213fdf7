"""Keeping the cache within its limits, one small step after the other.

A round begins when it is time for it, when what has been written since the last one began takes the
cache over its limit, and when the lookup's snapshot has been compared with the table since. It has
two passes. The first looks at every file: it removes those whose row is missing, private or of
another path, deletes what is too old, and adds up the rest, by the hour of last use. If the cache
holds too many bytes, the second pass deletes what was not used for longest, down to nine tenths of
the limit. Where a round stands is in a file, so another process goes on if this one is killed.

Last use is the access time. Linux writes it at the first read after a change and then once a day at
most (mount(8), relatime), which is exact enough; on a file system mounted noatime it stays the time
at which the thumbnail was made.
"""

import contextlib
import logging
import os
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from handlers import elected, invalidation, names, state_directory
from handlers.cache import directory, marks, stamp
from handlers.cache.store import FOLDERS, Store

log = logging.getLogger(__name__)

_ENTRIES = 200
#: The same where each entry may cost a query.
_QUERIES = 40
_HOUR = 3600
_BLOCK = 512
_FILLED_AGAIN = 0.9
#: What lies in tmp for so long was left by a process that is no more.
_ORPHANED = 900
_SAVED_EVERY = 1.0
#: The pause before a round that a refresh asks for, as a multiple of the time the last one took.
_REST = 4
#: Seconds after which a round follows one that could not compare all files with their rows.
_COMPARED_AGAIN = 60.0
_COUNTING, _DELETING = "counting", "deleting"
# the file of Counted, beside that of the round
_COUNTED = "counted"


class Limits(NamedTuple):
    """What the cache may hold; None for no limit.

    *bytes* are those on the disk, as du(1) counts them; *age* is in seconds since last use;
    *failure_age* in seconds since a failure.
    """

    bytes: int | None = None
    age: float | None = None
    failure_age: float = 2 * 86400


class Rows(Protocol):
    """What the files of the cache are compared with: a :class:`handlers.lookup.Lookup`."""

    @property
    def refreshed(self) -> float:
        """When the snapshot was last refreshed, in seconds since 1970; 0 if that is not known."""

    def newest(self, ids: Collection[str]) -> Mapping[str, object] | None:
        """Return the row of each id by the newest snapshot, or what :meth:`asked` returns."""

    def asked(self, ids: Collection[str]) -> Mapping[str, object] | None:
        """Return the row of each id by the database, None for a missing one; None if it is away."""


@dataclass
class Round:
    """Where a round stands, and what it has found."""

    started: float = 0.0
    finished: float = 0.0
    phase: str = _COUNTING
    #: The directory that is being read, relative to the cache, and the place in it.
    part: str = ""
    place: int = 0
    files: int = 0
    bytes: int = 0
    deleted: int = 0
    freed: int = 0
    #: Files removed because of their rows, and whether all files could be compared with them.
    removed: int = 0
    compared: bool = True
    #: Whether only a refresh of the snapshot was the reason for the round.
    extra: bool = False
    #: Bytes by the hour of last use, and the hour up to which files are deleted.
    by_hour: dict[str, int] = field(default_factory=dict)
    until_hour: int = 0
    #: The same by the size of the thumbnails.
    by_size: dict[str, int] = field(default_factory=dict)
    to_free: int = 0


@dataclass
class Counted:
    """What the last finished round has left in the cache, which the status page shows.

    Bytes are those on the disk, by the hour of last use and by size, such as ``200x200``.
    """

    at: float = 0.0
    files: int = 0
    bytes: int = 0
    by_hour: dict[str, int] = field(default_factory=dict)
    by_size: dict[str, int] = field(default_factory=dict)


def counted(directory: str) -> Counted:
    """Return what the last round over the cache *directory* has found; nothing before the first."""
    return elected.read_state(state_directory.path(directory, _COUNTED), Counted) or Counted()


class Sweep:
    """Rounds over the cache *directory*. One process at a time may call it: see the keeper.

    :param limits: what the cache may hold.
    :param rows: what its files are compared with; None compares nothing.
    """

    def __init__(self, directory: str, limits: Limits, rows: Rows | None = None):
        self.directory = directory
        self._rows = rows
        self._store = Store(directory)
        self._limits = limits
        self._path = self._store.part("round")
        self._saved = 0.0
        self.round = self._load()

    def is_due(self, interval: float) -> bool:
        """Tell whether there is something to do.

        That is a round left unfinished, one that is due *interval* seconds after the last, more in
        the cache by now than it may hold, a snapshot that was refreshed since the last round began,
        or what was renamed away when the cache was emptied.
        """
        return (
            self._is_time(interval)
            or self._is_over()
            or self._is_refreshed()
            or os.path.isdir(stamp.trash(self.directory))
        )

    def _is_time(self, interval: float) -> bool:
        at = self.round
        if not at.compared and self._rows is not None:
            interval = min(interval, _COMPARED_AGAIN)
        # abs: a clock that was set back must not stop the sweeps
        return abs(time.time() - at.finished) >= interval

    def _is_over(self) -> bool:
        limit = self._limits.bytes
        return limit is not None and self.round.bytes + self._store.growth() > limit

    def _is_refreshed(self) -> bool:
        at = self.round
        return (
            self._rows is not None
            and self._rows.refreshed > at.started
            and abs(time.time() - at.finished) >= _REST * (at.finished - at.started)
        )

    def step(self, seconds: float) -> bool:
        """Work for about *seconds*; return whether this ended the round.

        If the last round was finished, a new one begins.

        :raises OSError: if the cache cannot be read or its files cannot be deleted.
        """
        if os.path.isdir(stamp.trash(self.directory)):
            self._delete_trash(seconds)
            return False
        if self.round.finished:
            self.round = self._begun(extra=self._is_refreshed() and not self._is_over())
        started = time.monotonic()
        ended = self._piece()
        while not ended and time.monotonic() - started < seconds:
            ended = self._piece()
        now = time.monotonic()
        if ended:
            self._finish()
            self._tell()
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
            piece = directory.read(self._store.part(at.part), at.place, self._entries())
        found = {}
        for name in piece.names:
            with contextlib.suppress(FileNotFoundError):
                found[name] = os.stat(self._store.part(at.part, name), follow_symlinks=False)
        if at.phase == _COUNTING:
            self._remove(at.part, found)
        for name, status in found.items():
            with contextlib.suppress(FileNotFoundError):
                look(self._store.part(at.part, name), status)
        if piece.next is None:
            # the part after this one, in the order of their names
            at.part, at.place = at.part + "\0", 0
        else:
            at.place = piece.next
        return False

    def _entries(self) -> int:
        return _ENTRIES if self._rows is None or self._rows.refreshed else _QUERIES

    def _parts(self) -> list[str]:
        own = ["copies", "failures", "tmp"] if self.round.phase == _COUNTING else ["copies"]
        for folder in FOLDERS:
            sizes = Store(self._store.directory, folder).sizes()
            own += [f"{folder}/{size}" for size in sizes]
        return sorted(own)

    def _look(self, part: str):
        if part == "tmp":
            return lambda path, found: self._delete_after(path, found, _ORPHANED)
        if part == "failures":
            return lambda path, found: self._delete_after(path, found, self._limits.failure_age)
        return self._count if self.round.phase == _COUNTING else self._evict

    def _remove(self, part: str, found: dict[str, os.stat_result]) -> None:
        """Remove the files of a part whose row is missing, private or of another path."""
        folder, _, size = part.partition("/")
        if self._rows is None or folder not in (*FOLDERS, "copies") or not self.round.compared:
            return
        # what is no picture's name is no picture's id, either
        stems = {name: name.rpartition(".")[0] for name in found if _is_picture(name)}
        ids = {name: names.id_of(stem) or stem for name, stem in stems.items()}
        wrong = self._misfits(folder, size, ids, found, self._rows.newest)
        if wrong:
            # a snapshot may be older than the file
            ids = {name: ids[name] for name in wrong}
            wrong = self._misfits(folder, size, ids, found, self._rows.asked)
        if not wrong:
            return
        # no child shall go on with what it remembers of those rows
        invalidation.invalidate(self.directory, {ids[name] for name in wrong})
        for name in wrong:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._store.part(part, name))
                self.round.removed += 1
            del found[name]

    def _misfits(self, folder, size, ids, found, ask) -> list[str]:
        rows = ask(set(ids.values())) if ids else {}
        if rows is None:
            self.round.compared = False
            return []
        return [
            name
            for name, id in ids.items()
            if not _fits(folder, size, name, found[name], rows.get(id))
        ]

    def _delete_trash(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        with contextlib.suppress(FileNotFoundError):
            for _ in _deleted(stamp.trash(self.directory)):
                if time.monotonic() > until:
                    return

    def _delete_after(self, path: str, found: os.stat_result, age: float) -> None:
        # ctime: a thumbnail in the making has the time of its source already
        if time.time() - found.st_ctime > age:
            os.unlink(path)
            self.round.deleted += 1

    def _count(self, path: str, found: os.stat_result) -> None:
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
        name = self._size_of(path)
        self.round.by_size[name] = self.round.by_size.get(name, 0) + size

    def _evict(self, path: str, found: os.stat_result) -> None:
        if self.round.to_free <= 0:
            return
        if found.st_atime // _HOUR <= self.round.until_hour:
            size = found.st_blocks * _BLOCK
            os.unlink(path)
            at = self.round
            at.files, at.bytes, at.to_free = at.files - 1, at.bytes - size, at.to_free - size
            at.deleted, at.freed = at.deleted + 1, at.freed + size
            for counts, key in (
                (at.by_hour, str(int(found.st_atime // _HOUR))),
                (at.by_size, self._size_of(path)),
            ):
                counts[key] = max(0, counts.get(key, 0) - size)

    @staticmethod
    def _size_of(path: str) -> str:
        """Return the size of the thumbnail at *path*; ``copies`` for a middle-size copy."""
        return os.path.basename(os.path.dirname(path))

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
        if at.removed:
            log.info(
                "%d thumbnails removed, as their rows are gone, private or of another path",
                at.removed,
            )
        log.log(
            # a refresh every minute shall not fill the log
            logging.DEBUG if at.extra and not at.deleted else logging.INFO,
            "cache: %d thumbnails, %.1f MB; %d files deleted, %.1f MB freed, in %.1f s",
            at.files,
            at.bytes / 2**20,
            at.deleted,
            at.freed / 2**20,
            at.finished - at.started,
        )

    def _load(self) -> Round:
        return elected.read_state(self._path, Round) or self._begun()

    def _begun(self, extra: bool = False) -> Round:
        self._store.forget_growth()
        return Round(time.time(), extra=extra)

    def _tell(self) -> None:
        at = self.round
        state_directory.ensure(self.directory)
        elected.write_state(
            self._store.part(_COUNTED),
            Counted(at.finished, at.files, at.bytes, at.by_hour, at.by_size),
        )

    def _save(self) -> None:
        # read by nobody but the next sweep, under the same lock; a torn one begins a new round
        state_directory.ensure(self.directory)
        elected.write_state(self._path, self.round)


def _is_picture(name: str) -> bool:
    id, _, extension = name.rpartition(".")
    return bool(id) and extension in marks.EXTENSIONS


def _fits(folder: str, size: str, name: str, found: os.stat_result, row) -> bool:
    if row is None:
        return False
    if folder != "copies" and row.private != (folder == "private"):
        return False
    mark = marks.of_row(row, size or None)
    return marks.fits(found.st_mtime_ns, name.rpartition(".")[2], mark)


def _deleted(path: str) -> Iterator[None]:
    """Delete the directory *path* and all below it, one entry at a time; follow no link."""
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _deleted(entry.path)
            else:
                os.unlink(entry.path)
            yield
    os.rmdir(path)
