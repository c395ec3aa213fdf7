"""The session itself: a dict with an id, a cookie and a lock, whatever stores it."""

import logging
import random
import time

from handlers.sessions import backing, held
from handlers.sessions import options as session_options
from handlers.sessions import sid as sids

from . import session_cookie

DFT_TIMEOUT = 30 * 60
CLEANUP_CHANCE = 1000

logger = logging.getLogger(__name__)


def unlock_session_cleanup(sess) -> None:
    """Unlock the session: what is registered as a request cleanup for every lock."""
    sess.unlock()


class BaseSession(dict):
    """A session; a subclass with ``do_load do_save do_delete do_cleanup`` decides where it lies.

    ``do_load()`` returns None or a dict with ``_data _created _accessed _timeout``, which is what
    ``do_save(dict)`` gets; ``self._sid`` is the id. Such a subclass has its sessions stored and
    its cookie sent as in mod_python: also if they are empty.

    Session objects for one id in one request share one lock. An id from a client that is not
    the id of a stored session is never adopted.
    """

    _empty_is_stored = True
    _cleaned_by_chance = True
    _announced = True
    _options: session_options.Options | None = None

    def __init__(self, req, sid=None, secret=None, lock=1, timeout=0):
        dict.__init__(self)
        self._req, self._sid, self._lock = req, sid, lock
        if self._options is None:
            self._options = session_options.of(req)
        self._secret = secret or list(self._options.secrets)
        self._new = 1
        self._created = self._accessed = self._timeout = 0
        self._locked = self._invalid = 0
        if not sid:
            self._sid = session_cookie.read(req, self._options, self._secret)
        elif not sids.valid(sid):
            raise ValueError(f"not a session id: {sid!r}")
        self.init_lock()
        if self._sid:
            self.lock()
            if self.load():
                self._new = 0
        if self._new:
            self._begin(timeout)
        self._accessed = time.time()
        if self._cleaned_by_chance and random.randrange(CLEANUP_CHANCE) == 0:
            self.cleanup()

    def _begin(self, timeout):
        if self._sid:
            self.unlock()
        self._sid = sids.new()
        self._created = time.time()
        self._timeout = timeout or DFT_TIMEOUT
        wanted = self._options.store_empty
        self._announced = False
        if self._empty_is_stored if wanted is None else wanted:
            self._announce()

    def _announce(self):
        """Make the new session known to the client, and hold it: it is to be stored."""
        self._announced = True
        if getattr(self._req, "sent_bodyct", 0):
            logger.warning(
                "a new session got its first key after the first output, so its cookie was not sent"
                " (give it one before, or set mod_python.session.store_empty)"
            )
        self.lock()
        session_cookie.send(self._req, self.make_cookie())

    def __setitem__(self, key, value):
        if not self._announced:
            self._announce()
        dict.__setitem__(self, key, value)

    def setdefault(self, key, default=None):
        """Return the value of *key*, which is set to *default* if it has none."""
        if not self._announced:
            self._announce()
        return dict.setdefault(self, key, default)

    def update(self, *args, **kw):
        """Set keys as dict.update does."""
        changes = dict(*args, **kw)
        if changes and not self._announced:
            self._announce()
        dict.update(self, changes)

    def __ior__(self, other):
        self.update(other)
        return self

    # -- what handlers call ------------------------------------------------------------------

    def is_new(self) -> bool:
        """Tell whether the client came without a session that is stored."""
        return bool(self._new)

    def id(self) -> str:
        """Return the session's id, 32 hexadecimal digits."""
        return self._sid

    def created(self) -> float:
        """Return when the session was made, in seconds since 1970."""
        return self._created

    def last_accessed(self) -> float:
        """Return when this session object was opened."""
        return self._accessed

    def timeout(self) -> float:
        """Return for how many seconds the session lives after it was saved."""
        return self._timeout

    def set_timeout(self, secs: float) -> None:
        """Set that time; it holds from the next save."""
        self._timeout = secs

    def load(self) -> int:
        """Load the values into this dict; return 0 if nothing is stored or it has expired."""
        found = self.do_load()
        if found is None or time.time() - found["_accessed"] > found["_timeout"]:
            return 0
        self._created = found["_created"]
        self._accessed = found["_accessed"]
        self._timeout = found["_timeout"]
        dict.update(self, found["_data"])
        return 1

    def save(self) -> None:
        """Store the session; does nothing for one that is invalid or was never given a key.

        :raises SerialError: for a value that cannot be stored.
        :raises StoreError: if it was not stored; what was stored before is still there.
        """
        if not self._invalid and self._announced:
            self.do_save(
                {
                    "_data": self.copy(),
                    "_created": self._created,
                    "_accessed": self._accessed,
                    "_timeout": self._timeout,
                }
            )

    def delete(self) -> None:
        """Delete what is stored and forget all values; a save stores the session again."""
        self.do_delete()
        self.clear()

    def invalidate(self) -> None:
        """Delete the session for good, and its cookie from the client."""
        cookie = self.make_cookie()
        cookie.expires = 0
        session_cookie.send(self._req, cookie)
        self.delete()
        self._invalid = 1
        self._announced = True

    def regenerate_id(self) -> str:
        """Give the session a new id, store it as it is, and return the id.

        Call it where a user signs in, so that an id which somebody has planted in the browser
        beforehand is worth nothing. The old id ends at once; a killed child leaves both or the
        old one.
        """
        if self._invalid or not self._announced:
            return self._sid
        old, self._sid = self._sid, sids.new()
        new = self._sid
        self.save()
        self._make_postponed()
        self._sid = old
        self.do_delete()
        self.unlock()
        self._sid = new
        self.lock()
        session_cookie.send(self._req, self.make_cookie())
        return new

    def make_cookie(self):
        """Return the cookie that names this session."""
        return session_cookie.make(self._req, self._options, self._sid, self._secret)

    def init_lock(self) -> None:
        """Prepare for locking: called before the first :meth:`lock`; for subclasses."""

    def lock(self) -> None:
        """Wait for the session's lock, unless it is held already or the session has none.

        :raises SessionLocked: after ``mod_python.session.lock_timeout`` seconds.
        """
        if self._lock and not self._locked:
            store = self._lock_store()
            self._hold = held.hold(store, self._sid, self._options.lock_timeout)
            self._locked = 1
            self._req.register_cleanup(unlock_session_cleanup, self)

    def unlock(self) -> None:
        """Give the lock back before the request ends."""
        if self._lock and self._locked:
            self._locked = 0
            self._hold.release()

    def cleanup(self) -> None:
        """Have expired sessions deleted; this does not wait for it."""
        self.do_cleanup()

    def do_cleanup(self) -> None:
        """Delete expired sessions, or register a cleanup that does; for subclasses."""

    def _lock_store(self):
        return backing.open_lock_store(self._options)

    def _make_postponed(self):
        """Make a save that waits for the end of the response."""
