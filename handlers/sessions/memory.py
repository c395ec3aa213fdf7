"""Sessions in the memory of one process: for tests, and for servers of one process."""

import secrets
import threading
import time
from collections.abc import Callable, Iterator

from handlers.locks import LockTimeout
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
)
from handlers.sessions.sweep import Pace, Swept


class MemoryStore(Store):
    """A dict. Other processes see nothing of it, and it ends with its process.

    On a prefork server with more than one child it is the wrong store: each child would have
    sessions of its own. mod_python's MemorySession is no different.
    """

    shared = False

    def __init__(self, *, max_size: int = MAX_SIZE, clock: Callable[[], float] = time.time):
        super().__init__(max_size=max_size, clock=clock)
        self._records: dict[str, Record] = {}
        self._writing = threading.Lock()
        self._held: set[str] = set()
        self._released = threading.Condition()

    def load(self, sid: str, held: Held | None = None) -> Record | None:
        record = self._records.get(sids.key(sid))
        return None if record is None or record.expired(self.clock()) else record

    def save(
        self, sid: str, record: Record, expected: int | None = None, held: Held | None = None
    ) -> int:
        self._check(record)
        key = sids.key(sid)
        with self._writing:
            current = self._records.get(key)
            if expected is not None and (current is None or current.version != expected):
                raise Conflict("saved or deleted by another since it was loaded")
            version = current.version + 1 if current else secrets.randbits(48)
            self._records[key] = record._replace(data=bytes(record.data), version=version)
        return version

    def touch(self, sid: str, accessed: float) -> bool:
        key = sids.key(sid)
        with self._writing:
            record = self._records.get(key)
            if record is None:
                return False
            self._records[key] = record._replace(accessed=record.touched(accessed, self.clock()))
        return True

    def sweep(self, pace: Pace, grace: float = 0) -> Swept | None:
        started = time.monotonic()
        deleted = 0
        keys = list(self._records)
        for key in keys:
            with self._writing:
                record = self._records.get(key)
                if record is None or key in self._held:
                    continue
                gone = record.expired(self.clock(), grace)
                if gone:
                    del self._records[key]
            deleted += gone
            if not pace.go_on(gone):
                return Swept(deleted, len(keys), time.monotonic() - started, False)
        seconds, left = time.monotonic() - started, len(keys) - deleted
        return Swept(deleted, len(keys), seconds, True, left)

    def entries(self, user: str | None = None) -> Iterator[Entry]:
        now = self.clock()
        for key, record in list(self._records.items()):
            data, created, accessed, timeout, name, _ = record
            if not record.expired(now) and user in (None, name) and data != REPLACED:
                yield Entry(key, name, created, accessed, timeout, len(data))

    def stats(self) -> Stats:
        now = self.clock()
        records = list(self._records.values())
        expired = sum(record.expired(now) for record in records)
        size = sum(len(record.data) for record in records)
        return Stats(len(records) - expired, expired, size)

    def _acquire(self, name: str, timeout: float | None) -> Held:
        with self._released:
            if not self._released.wait_for(lambda: name not in self._held, timeout):
                raise LockTimeout(f"not free within {timeout:g} s")
            self._held.add(name)
        return Held(lambda: self._release(name))

    def _release(self, name: str) -> None:
        with self._released:
            self._held.discard(name)
            self._released.notify_all()

    def _delete(self, key: str) -> bool:
        with self._writing:
            return self._records.pop(key, None) is not None
