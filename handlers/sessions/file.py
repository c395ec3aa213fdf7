"""The default store: one file of two slots per session.

Layout: ``<directory>/<2 hex>/<32 hex>``, 256 directories, named by a hash of the session id. A
save overwrites the older of the two slots with one write, a load reads the file at once and takes
the newer slot that is whole. Overwriting blocks that are there already is what makes it fast:
truncating a file, or renaming over one, makes ext4 write back at once.

A file's modification time is the time its session expires, so the sweep learns from a directory
entry and one stat all it needs; a touch sets that time and writes nothing. Directories by expiry
period, which would spare the sweep the living, cost 30 % of the request rate: a rename per period
and a search in several directories. The scan of a million files costs seconds of CPU once a
round, spread over a tenth of the time, and no request notices it.

A power cut may tear the slot that is being written. The checksum finds that out, and the version
before it, which that write did not touch, is read instead. ``sync=True`` waits for the disk
before a save returns.
"""

import contextlib
import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator

from handlers import faults, locks
from handlers.locks import LockTimeout
from handlers.sessions import directory, scan, slotfile
from handlers.sessions import sid as sids
from handlers.sessions.lockfile import FileHeld, LockFile, Replaced
from handlers.sessions.store import (
    MAX_SIZE,
    REPLACED,
    Conflict,
    Entry,
    Held,
    Record,
    Stats,
    Store,
    StoreError,
)
from handlers.sessions.sweep import Pace, Swept

logger = logging.getLogger(__name__)

_REMAINS_AGE = 60
# what is wrong with one file; everything else, such as no more descriptors, meets all of them
_OF_ONE_FILE = {errno.EACCES, errno.EPERM, errno.ELOOP, errno.EISDIR}
# seconds between two looks whether somebody has removed the directory or the lock file
_LOOK_AGAIN = 1.0
_KEY_LENGTH = 32


class FileStore(Store):
    """Sessions in files below one private directory.

    What a save has returned for is there after the death of any process, and after a power cut
    too with *sync*. Saves of one session are serialised by a lock on its file for the length of
    the write, also between requests that took no session lock; loads never wait. Session locks
    are bytes of one lock file that nobody here removes, so they hold between the children of before
    and after a graceful restart.

    A directory that somebody else removes (systemd-tmpfiles, ``rm -rf``) is made anew by the child
    that notices it first, after the same checks. Each child looks once a second whether the lock
    file is still the one it has open; for that second two children may both hold one session.

    :param path: the directory; made with mode 0700.
    :param sync: wait for the disk in every save.
    :param create: make the directory if it is missing.
    :raises StoreRefused: if others can write to the directory, or it is another user's.
    """

    def __init__(
        self,
        path: str,
        *,
        sync: bool = False,
        max_size: int = MAX_SIZE,
        clock: Callable[[], float] = time.time,
        create: bool = True,
    ):
        super().__init__(max_size=max_size, clock=clock)
        self._directory = directory.Private(path, create)
        self.path = self._directory.path
        self._sync = sync
        self._locks = os.path.join(self.path, "locks")
        self._lock_file: LockFile | None = None
        self._opening = threading.Lock()
        self._look_at = 0.0

    def load(self, sid: str, held: Held | None = None) -> Record | None:
        key = sids.key(sid)
        path = f"{self.path}/{key[:2]}/{key}"
        now = self.clock()
        if held.__class__ is FileHeld:
            record = slotfile.load_held(path, key, now, held)
        else:
            record = slotfile.load(path, key, now)
        if record is None:
            # perhaps the directory is gone: the next use looks
            self._look_at = 0.0
        elif now - record.accessed > record.timeout:
            return None
        return record

    def save(
        self, sid: str, record: Record, expected: int | None = None, held: Held | None = None
    ) -> int:
        name = self._check(record)
        key = sids.key(sid)
        try:
            # a new id has no lock yet when the session is first stored under it
            if held.__class__ is not FileHeld or held.offset != _offset(key):
                with self._writing(key):
                    return self._save(key, record, name, expected)
            if held.file >= 0 and (expected is None or expected == held.version):
                version = slotfile.save_held(key, record, name, self._sync, held)
                if version is not None:
                    return version
            held.forget()
            return self._save(key, record, name, expected)
        except slotfile.Overtaken:
            held.forget()
            return self._save_over(key, record, name, expected)
        except LockTimeout:
            raise
        except OSError as error:
            raise slotfile.failed(self._file(key), error) from error

    def touch(self, sid: str, accessed: float) -> bool:
        key = sids.key(sid)
        with self._locked(key) as fd:
            record = None if fd is None else slotfile.read(fd, key, self.clock())[0]
            if record is None:
                return False
            accessed = record.touched(accessed, self.clock())
            if accessed != record.accessed:
                os.utime(fd, slotfile.expiry(record._replace(accessed=accessed)))
        return True

    def sweep(self, pace: Pace, grace: float = 0) -> Swept | None:
        try:
            held = self._acquire("sweep", 0)
        except LockTimeout:
            return None
        with held, self._errors(self.path):
            return scan.sweep(self.path, self.clock(), pace, grace, self._remove_expired)

    def last_sweep(self) -> float:
        return scan.read_state(self.path).finished

    def entries(self, user: str | None = None) -> Iterator[Entry]:
        now = self.clock()
        for key, _ in scan.files(self.path):
            try:
                record = slotfile.load(self._file(key), key, now)
            except StoreError as error:
                self._pass_over(error)
                continue
            if record is None or record.expired(now) or user not in (None, record.user):
                continue
            data, created, accessed, timeout, name, _ = record
            if data == REPLACED:
                continue
            yield Entry(key, name, created, accessed, timeout, len(data))

    def stats(self) -> Stats:
        now = self.clock()
        live = expired = size = 0
        for _, found in scan.files(self.path):
            size += found.st_blocks * 512
            if found.st_mtime < now:
                expired += 1
            else:
                live += 1
        return Stats(live, expired, size)

    def _remove_expired(self, key: str, grace: float) -> bool:
        """Look at a session again, under its locks, and delete it if it has expired.

        One that a request holds is left to the next round: it may be about to be saved.
        """
        try:
            held = self._acquire(key, 0)
        except LockTimeout:
            return False
        try:
            return self._remove_locked(key, grace, held)
        except LockTimeout:
            return False
        except StoreError as error:
            self._pass_over(error)
            return False

    def _remove_locked(self, key: str, grace: float, held: Held) -> bool:
        with held, self._locked(key) as fd:
            if fd is None:
                return False
            now = self.clock()
            record, _, _, blob = slotfile.read(fd, key, now)
            if record is None:
                # no save can be under way: its writer would hold the lock
                age = time.time() - os.fstat(fd).st_ctime
                gone = slotfile.is_ours(blob) and age > _REMAINS_AGE
            else:
                gone = record.expired(now, grace)
                if record.from_future(now):
                    record = record._replace(accessed=now)
            if gone:
                os.unlink(self._file(key))
            elif record is not None:
                # its writer was killed between the write and the setting of the time
                os.utime(fd, slotfile.expiry(record))
            return gone

    def _pass_over(self, error: StoreError) -> None:
        """Log that one file cannot be used, so that the others are still looked at.

        :raises StoreError: if the others would fare no better: a purge must not end as if there
            were no sessions.
        """
        if getattr(error.__cause__, "errno", None) not in _OF_ONE_FILE:
            raise error
        faults.tell(
            logger,
            logging.WARNING,
            ("sessions", self.path),
            f"sessions: skipped {error}: remove it, or let this user read and write it",
            key="passed over",
        )

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[int | None]:
        with self._errors(self._file(key)):
            opened = slotfile.open_locked(self._file(key), create=False)
            try:
                yield opened and opened[0]
            finally:
                if opened is not None:
                    os.close(opened[0])

    @contextlib.contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        try:
            yield
        except LockTimeout:
            raise
        except OSError as error:
            raise slotfile.failed(path, error) from error

    def _save(self, key, record, name, expected) -> int:
        path = self._file(key)
        try:
            return slotfile.save(path, key, record, name, expected, self._sync)
        except FileNotFoundError:
            # removed a moment ago
            self._look_at = 0.0
            self._current()
            return slotfile.save(path, key, record, name, expected, self._sync)

    def _save_over(self, key, record, name, expected) -> int:
        """Save what another's write has overtaken, unless that has ended the session."""
        path = self._file(key)
        while True:
            current = slotfile.load(path, key, record.accessed)
            version = None if current is None else current.version
            if version is None and expected is not None:
                raise Conflict("deleted since it was loaded")
            with contextlib.suppress(Conflict), self._errors(path):
                return self._save(key, record, name, version)

    @contextlib.contextmanager
    def _writing(self, key: str) -> Iterator[None]:
        """Hold the session's lock for a write, or tell its holder of the write."""
        lock_file, offset = self._current(), _offset(key)
        try:
            held = lock_file.take(offset, 0)
        except LockTimeout:
            with lock_file.marked(offset):
                yield
        else:
            with held:
                yield

    def _acquire(self, name: str, timeout: float | None) -> Held:
        offset = _offset(name)
        try:
            try:
                return self._current().take(offset, timeout)
            except Replaced:
                self._look_at = 0.0
                return self._current().take(offset, timeout)
        except LockTimeout:
            raise
        except OSError as error:
            raise slotfile.failed(self._locks, error) from error

    def _current(self) -> LockFile:
        """Return the lock file that the path names; it is looked at once a second.

        :raises OSError: if it cannot be opened.
        """
        now = time.monotonic()
        found = self._lock_file
        if found is not None and now < self._look_at and found.is_of_this_process():
            return found
        with self._opening:
            found = self._lock_file
            if found is None or not found.is_of_this_process() or not self._is_there(found):
                self._directory.check()
                self._lock_file = LockFile(self._locks)
                if found is not None:
                    found.close()
            self._look_at = now + _LOOK_AGAIN
            return self._lock_file

    def _is_there(self, lock_file: LockFile) -> bool:
        try:
            found = os.stat(self._locks, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == lock_file.identity

    def _delete(self, key: str) -> bool:
        with self._errors(self._locks), self._writing(key), self._locked(key) as fd:
            if fd is not None:
                os.unlink(self._file(key))
            return fd is not None

    def _file(self, key: str) -> str:
        return f"{self.path}/{key[:2]}/{key}"


def _offset(name: str) -> int:
    # a session's key is a hash already
    return int(name[:15], 16) if len(name) == _KEY_LENGTH else locks.key_offset(name)
