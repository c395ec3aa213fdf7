"""Locks between processes that die with their holder.

A lock is one byte of a lock file, taken with an open-file-description lock (fcntl(2), "Open file
description locks"). The kernel gives it back when the holder closes the file or is killed, so there
is nothing to clean up, and lock files are never unlinked: unlinking one would split the waiters
between two inodes. Every acquisition opens the file anew, so threads exclude each other as
processes do. A process that is forked, by an application for work in the background, say, keeps
no lock of its parent's: the kernel would count it as another holder.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import struct
import time
from collections.abc import Collection

from handlers.errors import Busy

# struct flock of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid (must be 0 for OFD locks)
_FLOCK = struct.Struct("hhqqi4x")
# every lock of a descriptor
_NOTHING = _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0)
_SHORTEST_PAUSE = 0.0005
_LONGEST_PAUSE = 0.05
_PATIENCE = 0.1
# seconds that one pause counts for at most: while the machine stands still the holder of the lock
# stands still, too, and needs a moment afterwards
_LONGEST_LOOK = 0.5
# descriptors of lock files, each with its device and inode: the number may be another file's by now
_descriptors: dict[int, tuple[int, int]] = {}


class LockTimeout(Busy, TimeoutError):
    """Raised when a lock was not free within the time given."""


def key_offset(key: str) -> int:
    """Return the byte that stands for *key* in a lock file: 61 bits of its hash.

    Should two keys ever share a byte, they wait for each other, and nothing worse.
    """
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 3


def acquire(path: str, offset: int = 0, timeout: float | None = None, shared: bool = False) -> int:
    """Take the byte *offset* of the lock file *path*; return the descriptor that holds it.

    Closing the descriptor, or the death of the process, gives the lock back.

    :param timeout: seconds to wait, not counting those in which the machine stands still; 0 tries
        once, None waits for ever.
    :raises LockTimeout: if it was not free in time.
    :raises OSError: if the lock file cannot be opened or created.
    """
    if timeout is not None:
        return acquire_any(path, (offset,), timeout, shared)
    fd = _opened(path)
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLKW, _wanted(offset, shared))
    except BaseException:
        os.close(fd)
        raise
    return fd


def acquire_any(
    path: str, offsets: Collection[int], timeout: float | None, shared: bool = False
) -> int:
    """Take the first of the bytes *offsets* that is free; otherwise as :func:`acquire`."""
    return acquire_one(path, offsets, timeout, shared)[0]


def acquire_one(
    path: str, offsets: Collection[int], timeout: float | None, shared: bool = False
) -> tuple[int, int]:
    """Do what :func:`acquire_any` does; return the descriptor, and which of the bytes it holds.

    A process looks less often the longer it waits, so that many of them do not keep the machine
    busy.
    """
    fd = _opened(path)
    try:
        return fd, _wait(fd, offsets, shared, timeout, path)
    except BaseException:
        os.close(fd)
        raise


def is_held(path: str, offset: int, length: int = 1) -> bool:
    """Tell whether somebody holds the byte *offset*; looking disturbs nobody who wants it.

    :param length: how many bytes from there on, of which one that is held counts.

    :raises OSError: if the lock file cannot be opened; without one nothing is held.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        found = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _wanted(offset, False, length))
        return _FLOCK.unpack(found)[0] != fcntl.F_UNLCK
    finally:
        os.close(fd)


def take(fd: int, offset: int, timeout: float | None, path: str) -> None:
    """Take the byte *offset* of the lock file that *fd* has open; :func:`give_back` ends it.

    A descriptor excludes all others, and not itself: hold one lock at a time with each.

    :param path: the file's name, for the error.
    :raises LockTimeout: if it was not free within *timeout* seconds; None waits for ever.
    """
    wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, offset, 1, 0)
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, wanted)
    except (BlockingIOError, PermissionError):
        _wait(fd, (offset,), False, timeout, path)


def give_back(fd: int) -> None:
    """Give back the lock that *fd* holds, and leave the file open."""
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _NOTHING)


def leave_to_parent(fd: int, found: os.stat_result) -> None:
    """Let no process that is forked from this one hold what *fd* locks.

    It has another file under that number, which it may close.

    :param found: what fstat says of it.
    """
    _descriptors[fd] = found.st_dev, found.st_ino


def _opened(path: str) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    leave_to_parent(fd, os.fstat(fd))
    return fd


def _wanted(offset: int, shared: bool, length: int = 1) -> bytes:
    kind = fcntl.F_RDLCK if shared else fcntl.F_WRLCK
    return _FLOCK.pack(kind, os.SEEK_SET, offset, length, 0)


@contextlib.contextmanager
def held(path: str, offset: int = 0, timeout: float | None = None, shared: bool = False):
    """Hold the lock that :func:`acquire` takes for the length of a with block."""
    fd = acquire(path, offset, timeout, shared)
    try:
        yield fd
    finally:
        os.close(fd)


def _wait(fd: int, offsets: Collection[int], shared: bool, timeout: float | None, path: str) -> int:
    """Take the first of the bytes *offsets* that is free; return which one."""
    waited, last = 0.0, time.monotonic()
    while True:
        # there may be thousands of them, and mostly the first one is free
        for offset in offsets:
            if _try(fd, _wanted(offset, shared)):
                return offset
        now = time.monotonic()
        waited, last = waited + min(now - last, _LONGEST_LOOK), now
        if timeout is not None and waited >= timeout:
            raise LockTimeout(f"{path}: not free within {timeout:g} s")
        pause = min(max(_SHORTEST_PAUSE, waited * _PATIENCE), _LONGEST_PAUSE)
        time.sleep(pause if timeout is None else min(pause, timeout - waited))


def _try(fd: int, wanted: bytes) -> bool:
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, wanted)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def _after_fork() -> None:
    # one that may have no more descriptors goes on with those that it has
    with contextlib.suppress(OSError):
        nothing = os.memfd_create("nothing")
        for fd, identity in _descriptors.items():
            with contextlib.suppress(OSError):
                found = os.fstat(fd)
                if (found.st_dev, found.st_ino) == identity:
                    os.dup2(nothing, fd, inheritable=False)
        os.close(nothing)
    _descriptors.clear()


os.register_at_fork(after_in_child=_after_fork)
