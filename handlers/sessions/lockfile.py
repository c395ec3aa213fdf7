"""The lock file of a store of files: one byte for each session, and marks for those who hold one.

Taking a lock costs one system call, as the descriptors of the lock file are kept and lent. A lock
belongs to its descriptor (fcntl(2), open file description locks), so each lock that is held at one
time has a descriptor of its own, and threads exclude each other as processes do.

Somebody without the lock may write all the same (a session opened with ``lock=0``, an admin's
purge). The holder has read the session by then and must not overwrite what it has not seen, nor
bring back what was deleted. So whoever writes while another holds the lock changes the session's
mark first: some bytes of the lock file, which the holder compares in memory, without a system
call, before and after it writes. The mark is odd until that write has ended: a process that takes
the lock meanwhile may still read the session as it was before, and does not rely on an odd mark.
"""

import contextlib
import mmap
import os
import secrets
from collections.abc import Iterator

from handlers import locks
from handlers.sessions.store import Held

_MARK = 8
_MARKS = 512
_SIZE = _MARK * _MARKS
# a process that writes without the session's lock locks its mark's byte, counted from here
_WRITERS = 1 << 61
# seconds; such a write takes milliseconds
_WRITER_WAIT = 10.0
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
# how many forks lie between the first process and this one; a lock is not shared with a child
_forks = 0


class Replaced(OSError):
    """Raised when another lock file has come in the place of this one."""


class LockFile:
    """An open lock file.

    :ivar identity: device and inode, to tell whether the path still names this file.
    :raises OSError: if it cannot be opened or made.
    """

    def __init__(self, path: str):
        self._path = path
        self._forks = _forks
        # no lock is taken with this one: a process that is forked keeps what is mapped
        fd = os.open(path, _FLAGS, 0o600)
        try:
            found = os.fstat(fd)
            if found.st_size < _SIZE:
                os.ftruncate(fd, _SIZE)
            self._marks = mmap.mmap(fd, _SIZE, mmap.MAP_SHARED, mmap.PROT_READ)
        finally:
            os.close(fd)
        self.identity = found.st_dev, found.st_ino
        self._free: list[int] = []
        self._closed = False

    def is_of_this_process(self) -> bool:
        """Tell whether this process, and not the one it was forked from, has opened the file."""
        return self._forks == _forks

    def take(self, offset: int, timeout: float | None) -> "FileHeld":
        """Take the lock on the byte *offset*, which also tells the session's mark.

        :raises LockTimeout: if it was not free within *timeout* seconds; None waits for ever.
        :raises Replaced: if another lock file has come in its place.
        """
        # offsets are hashes of 60 bits
        start = (offset >> 48) % _MARKS * _MARK
        mark = slice(start, start + _MARK)
        # read before the lock: nobody changes it for this holder's sake earlier
        was = self._marks[mark]
        if was[0] & 1:
            # no mark is equal to it
            was = b""
        fd = self._unused()
        try:
            locks.take(fd, offset, timeout, self._path)
        except BaseException:
            self._free.append(fd)
            raise
        return FileHeld(self, fd, offset, self._marks, mark, was)

    @contextlib.contextmanager
    def marked(self, offset: int) -> Iterator[None]:
        """Tell the holder of the byte *offset* that somebody else writes inside the block.

        A process that is killed in there leaves the mark odd: until the next such write, saves that
        go by this mark take the slower way.

        :raises LockTimeout: if another such writer was stopped, and did not end within 10 s.
        """
        number = (offset >> 48) % _MARKS
        fd = self._unused()
        try:
            locks.take(fd, _WRITERS + number, _WRITER_WAIT, self._path)
            try:
                self._change_mark(fd, number, 1)
                try:
                    yield
                finally:
                    self._change_mark(fd, number, 0)
            finally:
                locks.give_back(fd)
        finally:
            self._free.append(fd)

    def give_back(self, fd: int) -> None:
        """Give back the lock that *fd* holds, and keep the descriptor."""
        if self._closed or self._forks != _forks:
            # in a child that was forked, another file: the lock is the parent's, and stays
            os.close(fd)
            return
        locks.give_back(fd)
        self._free.append(fd)

    def close(self) -> None:
        """Close the descriptors that hold nothing; those that are lent are closed with theirs."""
        self._closed = True
        free, self._free = self._free, []
        for fd in free:
            os.close(fd)

    def _change_mark(self, fd: int, number: int, is_odd: int) -> None:
        first, *rest = secrets.token_bytes(_MARK)
        os.pwrite(fd, bytes((first & ~1 | is_odd, *rest)), number * _MARK)

    def _unused(self) -> int:
        try:
            # another thread may take the last one between a look and this
            return self._free.pop()
        except IndexError:
            return self._another()

    def _another(self) -> int:
        fd = os.open(self._path, _FLAGS, 0o600)
        found = os.fstat(fd)
        if (found.st_dev, found.st_ino) != self.identity:
            os.close(fd)
            raise Replaced(f"{self._path} was replaced")
        locks.leave_to_parent(fd, found)
        return fd


class FileHeld(Held):
    """The lock of a session, and the session's file, open from the load to the release.

    :ivar offset: the byte of the lock file.
    :ivar marks, mark, was: where others tell of a write, and what stood there when the lock was
        taken: while ``marks[mark] == was`` nobody has written without the lock. Nothing stood
        there if somebody was writing at that time.
    :ivar file: descriptor of the session's file, -1 if it is not open.
    :ivar slot, capacity, size, version: where in it the newest record lies, how much room each
        slot has, the length of the file, and the record's version; set while the file is open.
    """

    __slots__ = (
        *("capacity", "file", "mark", "marks", "offset", "size", "slot", "version", "was"),
        *("_fd", "_of"),
    )

    def __init__(
        self, of: LockFile, fd: int, offset: int, marks: mmap.mmap, mark: slice, was: bytes
    ):
        self._of = of
        self._fd = fd
        self.offset = offset
        self.marks = marks
        self.mark = mark
        self.was = was
        self.file = -1

    def forget(self) -> None:
        """Close the session's file."""
        if self.file >= 0:
            file, self.file = self.file, -1
            os.close(file)

    def release(self) -> None:
        """Close the session's file and give the lock back; twice does no harm."""
        fd = self._fd
        if fd >= 0:
            self._fd = -1
            if self.file >= 0:
                os.close(self.file)
                self.file = -1
            self._of.give_back(fd)


def _after_fork() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_after_fork)
