"""mod_python's DbmSession: every session in one dbm file, which is opened for every access.

Kept for its likeness, and as the measure of the others. The algorithm is the original's: one lock
on the whole file for each load and save, and a sweep that walks everything under that lock, so
that nobody loads a session meanwhile. Mended is what harmed data: the sweep works on every kind of
dbm and leaves alone what it cannot read, sessions have a lock each, and ids are stored as hashes.
"""

import contextlib
import dbm
import os
import secrets
import time
from collections.abc import Callable, Iterator

from handlers import locks
from handlers.locks import LockTimeout
from handlers.sessions import directory, slots
from handlers.sessions import sid as sids
from handlers.sessions.store import (
    MAX_SIZE,
    REPLACED,
    Conflict,
    Entry,
    Held,
    Record,
    Stats,
    Store,
    StoreUnavailable,
)
from handlers.sessions.sweep import Pace, Swept


class DbmStore(Store):
    """Sessions in one dbm file; what kind it is, is :mod:`dbm`'s choice.

    Its limits are the dbm's: a process killed inside a write may leave the whole file unusable,
    a full disk too, and deleted sessions give their room back to later ones, not to the disk.

    :param path: the file, without the ending that the dbm appends; its directory is made with
        mode 0700 if it is missing, also later.
    :param create: make the directory now.
    :raises StoreRefused: if others can write to the directory, or it is another user's.
    """

    def __init__(
        self,
        path: str,
        *,
        max_size: int = MAX_SIZE,
        clock: Callable[[], float] = time.time,
        create: bool = True,
    ):
        super().__init__(max_size=max_size, clock=clock)
        folder, name = os.path.split(os.path.abspath(path))
        self._directory = directory.Private(folder, create)
        self.path = os.path.join(self._directory.path, name)
        self._locks = f"{self.path}.locks"

    def load(self, sid: str, held: Held | None = None) -> Record | None:
        key = sids.key(sid)
        with self._opened() as db:
            record = _get(db, key)
        return None if record is None or record.expired(self.clock()) else record

    def save(
        self, sid: str, record: Record, expected: int | None = None, held: Held | None = None
    ) -> int:
        name = self._check(record)
        key = sids.key(sid)
        with self._opened() as db:
            current = _get(db, key)
            if expected is not None and (current is None or current.version != expected):
                raise Conflict("saved or deleted by another since it was loaded")
            version = current.version + 1 if current else secrets.randbits(48)
            db[key.encode()] = slots.pack(key, record, name, version)
        return version

    def touch(self, sid: str, accessed: float) -> bool:
        key = sids.key(sid)
        with self._opened() as db:
            record = _get(db, key)
            if record is None:
                return False
            accessed = record.touched(accessed, self.clock())
            if accessed != record.accessed:
                user = (record.user or "").encode()
                touched = record._replace(accessed=accessed)
                db[key.encode()] = slots.pack(key, touched, user, record.version)
        return True

    def sweep(self, pace: Pace, grace: float = 0) -> Swept | None:
        """Walk everything under the one lock, as the original does; the pace has no say."""
        started = time.monotonic()
        with self._opened() as db:
            now = self.clock()
            seen = len(db)
            old = [key for key, record in _records(db) if record.expired(now, grace)]
            for key in old:
                del db[key.encode()]
        return Swept(len(old), seen, time.monotonic() - started, True, seen - len(old))

    def entries(self, user: str | None = None) -> Iterator[Entry]:
        now = self.clock()
        entries = []
        with self._opened() as db:
            for key, record in _records(db):
                data, created, accessed, timeout, name, _ = record
                if not record.expired(now) and user in (None, name) and data != REPLACED:
                    entries.append(Entry(key, name, created, accessed, timeout, len(data)))
        return iter(entries)

    def stats(self) -> Stats:
        now = self.clock()
        with self._opened() as db:
            expired = [record.expired(now) for _, record in _records(db)]
        folder, name = os.path.split(self.path)
        size = sum(e.stat().st_blocks * 512 for e in os.scandir(folder) if e.name.startswith(name))
        return Stats(expired.count(False), expired.count(True), size)

    @contextlib.contextmanager
    def _opened(self):
        self._directory.check()
        try:
            with (
                locks.held(self._locks, locks.key_offset("dbm")),
                dbm.open(self.path, "c", 0o600) as db,
            ):
                yield db
        except (*dbm.error, OSError) as error:
            raise StoreUnavailable(f"{self.path}: {error}") from error

    def _acquire(self, name: str, timeout: float | None) -> Held:
        self._directory.check()
        try:
            fd = locks.acquire(self._locks, locks.key_offset(name), timeout)
        except LockTimeout:
            raise
        except OSError as error:
            raise StoreUnavailable(f"{self._locks}: {error.strerror}") from error
        return Held(lambda: os.close(fd))

    def _delete(self, key: str) -> bool:
        with self._opened() as db:
            try:
                del db[key.encode()]
            except KeyError:
                return False
        return True


def _get(db, key: str) -> Record | None:
    blob = db.get(key.encode())
    found = blob and slots.unpack(blob, key)
    return found[0] if found else None


def _records(db) -> Iterator[tuple[str, Record]]:
    for key in map(bytes.decode, db.keys()):
        record = _get(db, key)
        if record is not None:
            yield key, record
