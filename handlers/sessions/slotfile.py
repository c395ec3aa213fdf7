"""A file of two slots: reading it at once, overwriting the older slot, growing it.

Writers of one file are serialised by an OFD lock on its first byte, held for the length of the
write. Nobody without that lock replaces or removes the file, so a process that gets the lock on a
file that has lost its name starts again with the one that has the name now.

A request that holds the session's lock overwrites a slot without that other lock
(:func:`save_held`). :mod:`handlers.sessions.lockfile` says how it learns of writes in between.
"""

import contextlib
import errno
import os
import secrets

from handlers import locks
from handlers.sessions import slots
from handlers.sessions.lockfile import FileHeld
from handlers.sessions.store import (
    AHEAD,
    Conflict,
    Record,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_READ_AND_WRITE = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
# one block of the usual file systems holds the two slots of a small session
_SMALLEST = 2048
_SHRINK = 8
_WRITE_WAIT = 10.0
_REREADS = 8
# beyond it file systems keep no time; the header still holds the true timeout
_LAST_TIME = 2**33
_ROUNDING = 0.001
# a read of so many bytes mostly reaches the end of the file
_FIRST_READ = 16384


class Overtaken(Exception):
    """Raised when a write without the session's lock came in the way of one with it."""


def load(path: str, key: str, now: float) -> Record | None:
    """Return the newest whole record of the file, or None. Waits for nobody.

    :param now: the time by the store's clock.
    :raises StoreRefused: if the file is a symbolic link.
    :raises StoreUnavailable: if it cannot be read.
    """
    try:
        fd = os.open(path, _READ)
        try:
            return read(fd, key, now)[0]
        finally:
            os.close(fd)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise failed(path, error) from error


def read(
    fd: int, key: str, now: float, found: os.stat_result | None = None
) -> tuple[Record | None, int, int, bytes]:
    """Read the open file at once.

    :param now: the time by the store's clock.
    :param found: what fstat says of it, if that is known already.
    :return: its newest whole record, whose last access is the later one of header and file time;
        the offset and capacity of that record's slot; and the bytes of the file.
    """
    for _ in range(_REREADS):
        found = found or os.fstat(fd)
        blob = os.pread(fd, found.st_size, 0)
        newest = slots.newest(blob, key)
        if newest is not None:
            record, offset, capacity = newest
            touched = found.st_mtime - record.timeout
            # back from the future, if the clock was wrong when the session was saved
            back = record.from_future(now) and touched <= now + AHEAD
            if touched > record.accessed + _ROUNDING or back:
                record = record._replace(accessed=touched)
            return record, offset, capacity, blob
        if not is_ours(blob):
            break
        # perhaps two saves overtook this read, one in each slot
        found = None
    return None, 0, 0, blob


def load_held(path: str, key: str, now: float, held: FileHeld) -> Record | None:
    """Do what :func:`load` does, and keep the file open for :func:`save_held`.

    The last access is that of the header while this is younger than a 20th of the timeout: the
    file's time, which may be later by that much, would cost another system call.
    """
    if held.file >= 0:
        held.forget()
    try:
        fd = os.open(path, _READ_AND_WRITE)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise failed(path, error) from error
    try:
        blob = os.pread(fd, _FIRST_READ, 0)
        size = len(blob)
        newest = slots.newest(blob, key) if size < _FIRST_READ else None
        if newest is not None:
            record, slot, capacity = newest
        if newest is None or not 0 <= now - record.accessed < record.timeout / 20:
            record, slot, capacity, blob = read(fd, key, now)
            size = len(blob)
    except OSError as error:
        os.close(fd)
        raise failed(path, error) from error
    if record is None:
        os.close(fd)
        return None
    held.file, held.slot, held.capacity = fd, slot, capacity
    held.size, held.version = size, record.version
    return record


def save_held(key: str, record: Record, user: bytes, sync: bool, held: FileHeld) -> int | None:
    """Overwrite the older slot of the file that *held* has open.

    :return: the new version; None if this is for :func:`save`, as the record does not fit or
        somebody has written without the lock.
    :raises Overtaken: if somebody wrote without the lock meanwhile, so that it is not known whether
        the record is in the file that the path names.
    :raises OSError: if there is no room; the newest slot is untouched.
    """
    capacity = held.capacity
    needed = slots.HEADER_SIZE + len(user) + len(record.data)
    marks, mark, was = held.marks, held.mark, held.was
    if needed > capacity or held.size != 2 * capacity or marks[mark] != was:
        return None
    if capacity > _SMALLEST and capacity > _fit(needed) * _SHRINK:
        return None
    fd, slot, version = held.file, 0 if held.slot else capacity, held.version + 1
    if os.pwrite(fd, slots.pack(key, record, user, version, capacity), slot) != needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.utime(fd, expiry(record))
    if sync:
        os.fdatasync(fd)
    if marks[mark] != was:
        raise Overtaken
    held.slot, held.version = slot, version
    return version


def is_ours(blob: bytes) -> bool:
    """Tell whether a file without a valid record was meant to be one of these."""
    return blob.startswith(slots.MAGIC)


def open_locked(path: str, create: bool) -> tuple[int, os.stat_result] | None:
    """Open the file and take its write lock; closing the descriptor gives it back.

    :return: the descriptor and what fstat says of it; a new file is empty. None if there is no
        file and *create* is false.
    :raises LockTimeout: if another process kept the lock for 10 s: it was stopped in a write.
    """
    while True:
        try:
            fd = locks.acquire(path, 0, _WRITE_WAIT)
        except FileNotFoundError:
            if not create:
                return None
            with contextlib.suppress(FileExistsError):
                os.mkdir(os.path.dirname(path), 0o700)
            continue
        found = os.fstat(fd)
        if found.st_nlink and (create or found.st_size):
            return fd, found
        if found.st_nlink:
            os.unlink(path)
        os.close(fd)
        if not create:
            return None


def save(path: str, key: str, record: Record, user: bytes, expected: int | None, sync: bool) -> int:
    """Write *record* as the newest slot of its file, which is made if it is missing.

    :return: its version, one above that of the slot it follows.
    :raises Conflict: if the version there is not the *expected* one.
    :raises OSError: if there is no room; the newest slot is untouched.
    """
    opened = open_locked(path, create=expected is None)
    if opened is None:
        raise Conflict("deleted since it was loaded")
    fd, found = opened
    try:
        current, offset, capacity, blob = read(fd, key, record.accessed, found)
        if expected is not None and (current is None or current.version != expected):
            raise Conflict("saved by another since it was loaded")
        # a random start keeps the version of a deleted session from meaning anything later
        version = current.version + 1 if current else secrets.randbits(48)
        needed = slots.HEADER_SIZE + len(user) + len(record.data)
        fit = _fit(needed)
        if current and needed <= capacity <= fit * _SHRINK and len(blob) == 2 * capacity:
            slot = slots.pack(key, record, user, version, capacity)
            _write_all(fd, slot, 0 if offset else capacity)
            os.utime(fd, expiry(record))
            if sync:
                os.fdatasync(fd)
            return version
        both = slots.pack(key, record, user, version, fit).ljust(2 * fit, b"\0")
        if blob:
            _replace(path, both, expiry(record), sync)
        else:
            _fill(fd, path, both, expiry(record), sync)
        return version
    finally:
        os.close(fd)


def _fit(needed: int) -> int:
    """Return the capacity of the slots of a new file, with room to grow."""
    return -(-needed * 5 // 4 // _SMALLEST) * _SMALLEST


def expiry(record: Record) -> tuple[float, float]:
    """Return the access and modification time of the file of *record*."""
    accessed, expires = record.accessed, record.accessed + record.timeout
    if 0 <= accessed <= expires <= _LAST_TIME:
        return accessed, expires
    return min(max(accessed, 0), _LAST_TIME), min(max(expires, 0), _LAST_TIME)


def failed(path: str, error: OSError) -> StoreError:
    """Return the error of this package for one of the system's."""
    if error.errno == errno.ELOOP:
        return StoreRefused(f"{path}: a symbolic link")
    return StoreUnavailable(f"{path}: {error.strerror}")


def _fill(fd: int, path: str, content: bytes, times: tuple[float, float], sync: bool) -> None:
    try:
        _write_all(fd, content, 0)
    except OSError:
        os.unlink(path)
        raise
    os.utime(fd, times)
    if sync:
        os.fsync(fd)
        _sync_directory(path)


def _replace(path: str, content: bytes, times: tuple[float, float], sync: bool) -> None:
    above, name = os.path.split(path)
    temp = os.path.join(above, f".{name}.{secrets.token_hex(4)}")
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        _write_all(fd, content, 0)
        os.utime(fd, times)
        # the only copy: without it a power cut could leave the name on an empty file
        os.fsync(fd)
        os.rename(temp, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temp)
        raise
    finally:
        os.close(fd)
    if sync:
        _sync_directory(path)


def _write_all(fd: int, content: bytes, offset: int) -> None:
    if os.pwrite(fd, content, offset) != len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _sync_directory(path: str) -> None:
    fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
