"""The lock file of a store of files: one byte for each session, and marks for those who hold one.

Taking a lock costs one system call, as the descriptors of the lock file are kept and lent. A lock
belongs to its descriptor (fcntl(2), open file description locks), so each lock that is held at one
time has a descriptor of its own, and threads exclude each other as processes do.

Somebody without the lock may write all the same (a session opened with ``lock=0``, an admin's
purge). The holder has read the session by then and must not overwrite what it has not seen, nor
bring back what was deleted. So whoever writes while another holds the lock changes the session's
mark first: some bytes of the lock file, which the holder compares in memory, without a system
call, before and after it writes.
"""

import mmap
import os
import secrets

from handlers import locks
from handlers.sessions.store import Held

_MARK = 8
_MARKS = 512
_SIZE = _MARK * _MARKS
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
        fd = os.open(path, _FLAGS, 0o600)
        try:
            found = os.fstat(fd)
            if found.st_size < _SIZE:
                os.ftruncate(fd, _SIZE)
            self._marks = mmap.mmap(fd, _SIZE, mmap.MAP_SHARED, mmap.PROT_READ)
        except BaseException:
            os.close(fd)
            raise
        self.identity = found.st_dev, found.st_ino
        self._free = [fd]
        self._closed = False

    def is_of_this_process(self) -> bool:
        """Tell whether this process, and not the one it was forked from, has opened the file."""
        return self._forks == _forks

    def take(self, offset: int, timeout: float | None, place: int = 0) -> "FileHeld":
        """Take the lock on the byte *offset*.

        :param place: which of the marks is the session's; any number.
        :raises LockTimeout: if it was not free within *timeout* seconds; None waits for ever.
        """
        place = place % _MARKS * _MARK
        # before the lock: nobody changes it for this holder's sake earlier
        mark = self._marks[place : place + _MARK]
        fd = self._lent()
        try:
            locks.take(fd, offset, timeout, self._path)
        except BaseException:
            self._free.append(fd)
            raise
        return FileHeld(self, fd, offset, place, mark)

    def is_mark(self, place: int, mark: bytes) -> bool:
        """Tell whether the mark at *place* is still what it was."""
        return self._marks[place : place + _MARK] == mark

    def change_mark(self, place: int) -> None:
        """Tell the holder that somebody else is about to write."""
        fd = self._lent()
        try:
            os.pwrite(fd, secrets.token_bytes(_MARK), place % _MARKS * _MARK)
        finally:
            self._free.append(fd)

    def give_back(self, fd: int, offset: int) -> None:
        """Give back the lock on *offset* that *fd* holds, and keep the descriptor."""
        if self._closed or not self.is_of_this_process():
            # in a child that was forked, a copy: the lock is the parent's, and stays
            os.close(fd)
            return
        locks.give_back(fd, offset)
        self._free.append(fd)

    def close(self) -> None:
        """Close the descriptors that hold nothing; those that are lent are closed with theirs."""
        self._closed = True
        free, self._free = self._free, []
        for fd in free:
            os.close(fd)

    def _lent(self) -> int:
        try:
            return self._free.pop()
        except IndexError:
            pass
        fd = os.open(self._path, _FLAGS, 0o600)
        found = os.fstat(fd)
        if (found.st_dev, found.st_ino) != self.identity:
            os.close(fd)
            raise Replaced(f"{self._path} was replaced")
        return fd


class FileHeld(Held):
    """The lock of a session, and the session's file, open from the load to the release.

    :ivar file: descriptor of the session's file, -1 if it is not open.
    :ivar slot, capacity, size, version: where in it the newest record lies, how much room each
        slot has, the length of the file, and the record's version.
    """

    __slots__ = (
        *("capacity", "file", "size", "slot", "version"),
        *("_fd", "_mark", "_of", "_offset", "_place"),
    )

    def __init__(self, of: LockFile, fd: int, offset: int, place: int, mark: bytes):
        self._of, self._fd, self._offset = of, fd, offset
        self._place, self._mark = place, mark
        self.file = -1
        self.slot = self.capacity = self.size = self.version = 0

    def is_alone(self) -> bool:
        """Tell whether nobody has written without the lock since it was taken."""
        return self._of.is_mark(self._place, self._mark)

    def forget(self) -> None:
        """Close the session's file."""
        file, self.file = self.file, -1
        if file >= 0:
            os.close(file)

    def release(self) -> None:
        """Close the session's file and give the lock back; twice does no harm."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            if self.file >= 0:
                self.forget()
            self._of.give_back(fd, self._offset)


def _after_fork() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_after_fork)
