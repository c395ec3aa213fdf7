"""The interface of the session stores, and what all of them promise.

A store knows session ids and bytes. It sees no request, cookie or dict: what the bytes mean is the
business of :mod:`handlers.sessions.serial` and of the session class above.
"""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from handlers import faults
from handlers.errors import Busy, Misconfigured, Unavailable
from handlers.locks import LockTimeout
from handlers.sessions import sid as sids
from handlers.sessions.sweep import Pace, Swept

MAX_SIZE = 16 * 1024 * 1024
#: the content that stands for a session which goes on under another id, see Session.regenerate_id
REPLACED = b"replaced"
#: seconds that the clock of another machine may be ahead; what lies further ahead is a mistake
AHEAD = 60.0
_PURGE_WAIT = 10.0
# times to look, at most: a user may keep signing in
_PURGES = 4
# seconds after which a client may come back
_RETRY_AFTER = 10.0

logger = logging.getLogger(__name__)


def report(error: Exception) -> None:
    """Log the failure of a store in one line: once in this process, and again if it lasts."""
    if isinstance(error, (Misconfigured, Unavailable)):
        # as the handlers log it
        faults.report(error)
    else:
        faults.tell_rarely(logger, logging.ERROR, f"{StoreError.part}{error}", faults.LONG)


class StoreError(Exception):
    """Base of the errors of session stores. A full lock queue raises LockTimeout instead."""

    part = "sessions: "


class StoreUnavailable(StoreError, Unavailable):
    """Raised when the disk or the server behind a store failed; nothing was changed."""

    def __init__(self, message: str):
        super().__init__(message, _RETRY_AFTER)


class TableMissing(StoreUnavailable):
    """Raised when the database has no table for sessions yet; the message says how to make it."""

    def __init__(self, text: str):
        super().__init__(f"{text}; run: modpython-handlers sessions create")


class StoreRefused(StoreError, Misconfigured):
    """Raised for a place that cannot be trusted: owned by another, or open to others' writes."""


class RecordTooLarge(StoreError):
    """Raised when a session is larger than the store takes; the stored version stays."""


class Conflict(StoreError, Busy):
    """Raised by a save with *expected* when another save came first; nothing was changed."""


class Record(NamedTuple):
    """One stored session. Times are seconds since the epoch, the timeout is in seconds."""

    data: bytes
    created: float
    accessed: float
    timeout: float
    user: str | None = None
    #: what save(expected=) compares; opaque, and different after every save
    version: int = 0

    def expired(self, now: float, grace: float = 0) -> bool:
        """Tell whether the session has not been used for longer than its timeout (+ *grace*).

        A session from the future (the clock was put back) is alive. A timeout of 0 is what
        mod_python makes of ``set_timeout(0)``: dead as soon as the clock has moved on.
        """
        return now - self.accessed > self.timeout + grace

    def touch_due(self, now: float) -> bool:
        """Tell whether the access time is old enough to be worth a write: a 20th of the timeout.

        So a session may end up to 5 % before its timeout, and one that is only read costs a write
        at most every 90 s (at 1800 s).
        """
        return not 0 <= now - self.accessed < self.timeout / 20

    def from_future(self, now: float) -> bool:
        """Tell whether the access lies so far ahead that the clock must have been wrong."""
        return self.accessed > now + AHEAD

    def touched(self, accessed: float, now: float) -> float:
        """Return the time of the last access after a touch: never earlier, unless it was wrong."""
        return accessed if self.from_future(now) else max(accessed, self.accessed)


class Entry(NamedTuple):
    """One line of a listing: everything but the content, and the key instead of the id."""

    key: str
    user: str | None
    created: float
    accessed: float
    timeout: float
    size: int


class Stats(NamedTuple):
    """What a store holds: live sessions, expired ones not yet swept, bytes of storage."""

    live: int
    expired: int
    size: int


class Held:
    """A lock that is held until :meth:`release`, the end of a with block, or of the process.

    :ivar place, shares: where :mod:`handlers.sessions.held` keeps it, and for how many session
        objects; set there.
    """

    __slots__ = ("_held", "_release", "place", "shares")

    def __init__(self, release: Callable[[], None]):
        self._release = release
        self._held = True

    def release(self) -> None:
        """Give the lock back; once is enough, twice does no harm."""
        if self._held:
            self._held = False
            self._release()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release()


class Store:
    """A place for sessions. Every method is safe across threads and processes.

    Loads never wait for a lock and see one saved version as a whole, never parts of two. What a
    save has returned for survives the death of any process. A store must be opened, or first used,
    after the fork: in the child.
    """

    #: other processes of this machine see the same sessions
    shared = True
    #: nobody but this user can write here, so that a pickle found here is one of ours
    trusted = True
    #: entries, purge and stats work
    lists = True
    #: sessions end by a sweep (False: the server behind the store forgets them by itself)
    sweeps = True

    def __init__(self, *, max_size: int = MAX_SIZE, clock: Callable[[], float] = time.time):
        self.max_size = max_size
        self.clock = clock

    def load(self, sid: str, held: Held | None = None) -> Record | None:
        """Return the session, or None if there is none or it has expired. Takes no lock.

        :param held: the session's lock, if the caller holds it: a store may keep what it has read
            in it, and save the session the faster.
        :raises StoreUnavailable: if the store cannot be read.
        """
        raise NotImplementedError

    def save(
        self, sid: str, record: Record, expected: int | None = None, held: Held | None = None
    ) -> int:
        """Store the session whole or not at all; return its new version.

        :param record: what to store; its version does not count.
        :param expected: the version that was loaded; the save is refused if it is gone.
        :param held: the session's lock, if the caller holds it.
        :raises Conflict: with *expected*, if another save or a delete came first.
        :raises RecordTooLarge: if it exceeds the store's ``max_size`` bytes.
        :raises StoreUnavailable: if it could not be stored; the version before is still there.
        """
        raise NotImplementedError

    def touch(self, sid: str, accessed: float) -> bool:
        """Set the time of the last access; return False if there is no session.

        It never goes backwards, unless the stored one lies more than a minute in the future: that
        was a wrong clock's, and the session would not end. The version stays, so that a touch
        makes no conflict.
        """
        raise NotImplementedError

    def delete(self, sid: str) -> bool:
        """Delete the session; return whether there was one."""
        return self._delete(sids.key(sid))

    def rename(self, old: str, new: str, data: bytes | None = None) -> bool:
        """Move the session to the id *new*; return False if there is none.

        The new one is stored before the old one goes, so a process killed between the two leaves
        both, never none. The caller holds the lock of *old*.

        :param data: new content, where the old one is bound to the old id by a MAC.
        """
        record = self.load(old)
        if record is None:
            return False
        self.save(new, record if data is None else record._replace(data=data))
        self.delete(old)
        return True

    def lock(self, sid: str, timeout: float | None = None) -> Held:
        """Take the lock of one session; sessions do not wait for each other.

        Not re-entrant: a second call for a session whose lock this process holds waits like
        anybody's. Whoever serves one request with several session objects keeps one lock.

        :param timeout: seconds to wait; 0 tries once, None waits for ever.
        :raises LockTimeout: if it was not free in time.
        """
        return self._acquire(sids.key(sid), timeout)

    def elect(self) -> Held | None:
        """Become the one process that sweeps, until the release or this process's end.

        :return: None while another one is elected.
        """
        try:
            return self._acquire("sweeper", 0)
        except LockTimeout:
            return None

    def sweep(self, pace: Pace, grace: float = 0) -> Swept | None:
        """Delete what has expired more than *grace* seconds ago, at the pace given.

        Holds no lock that a request waits for, but for the moment in which it looks at an expired
        session again and deletes it. When the pace runs out, the next call goes on where this one
        stopped.

        :return: what was done, or None if another process is sweeping right now.
        """
        raise NotImplementedError

    def last_sweep(self) -> float:
        """Return when the last round was finished, 0 if that is not known."""
        return 0.0

    def entries(self, user: str | None = None) -> Iterator[Entry]:
        """Yield the live sessions, or those of one user. May read the whole store."""
        raise NotImplementedError

    def purge(self, user: str) -> int:
        """Delete all sessions of *user* ("log out everywhere"); return how many there were.

        Waits up to 10 s for each session in use, so that the request that holds it cannot save it
        again afterwards; then deletes it all the same. Then looks for sessions again, as that
        request may have given its session another id.
        """
        gone = 0
        for _ in range(_PURGES):
            found = list(self.entries(user))
            for entry in found:
                with contextlib.ExitStack() as held:
                    with contextlib.suppress(LockTimeout):
                        held.enter_context(self._acquire(entry.key, _PURGE_WAIT))
                    gone += self._delete(entry.key)
            if not found:
                break
        return gone

    def stats(self) -> Stats:
        """Count what is stored. May read the whole store."""
        raise NotImplementedError

    def count(self) -> int:
        """Return how many sessions live, by the cheapest way that there is."""
        return self.stats().live

    def close(self) -> None:
        """Let go of connections and files; locks that are held stay held."""

    def _acquire(self, name: str, timeout: float | None) -> Held:
        raise NotImplementedError

    def _delete(self, key: str) -> bool:
        raise NotImplementedError

    def _check(self, record: Record) -> bytes:
        """Return the user as bytes; raise if the record cannot be stored."""
        data, _, _, timeout, user, _ = record
        size = len(data)
        if size > self.max_size:
            raise RecordTooLarge(f"{size} bytes, and {self.max_size} are the limit")
        if not 0 <= timeout < math.inf:
            raise ValueError(f"timeout {timeout}: not a number of seconds")
        if user is None:
            return b""
        name = user.encode()
        if not 0 < len(name) <= 255:
            raise ValueError("a user's name has 1 to 255 bytes")
        return name
