"""The session that all stores share: a dict that belongs to a request, its cookie and its lock."""

import logging
import operator
import random
import time

from handlers import mod_python
from handlers.runtime import guarded
from handlers.sessions import backing, held
from handlers.sessions import cookie as cookies
from handlers.sessions import options as session_options
from handlers.sessions import sid as sids
from handlers.sessions.store import Store

from . import Cookie

logger = logging.getLogger(__name__)

# attribute of a request: the new id of each session id that it has replaced
_SUCCESSORS = "_session_successors"

#: ``unlock_session_cleanup(sess)`` unlocks the session: the request cleanup of every lock
unlock_session_cleanup = operator.methodcaller("unlock")


class BaseSession(dict):
    """A session; a subclass with ``do_load do_save do_delete do_cleanup`` decides where it lies.

    ``do_load()`` returns None or a dict with ``_data _created _accessed _timeout``, which is what
    ``do_save(dict)`` gets; ``self._sid`` is the id. Such a subclass has its sessions stored and
    its cookie sent as in mod_python: also if they are empty. After a time without the lock, a save
    calls ``do_load`` first, to see whether another request has ended the session.

    Session objects for one id in one request share one lock. An id from a client that is not
    the id of a stored session is never adopted; of several cookies the first stored one counts.
    """

    _empty_is_stored = True
    _cleaned_by_chance = True
    _options: session_options.Options | None = None
    _announced = True
    # a request that comes with an id that was replaced: nothing of it is stored or announced
    _replaced = False
    # whether the session is stored, as far as this object knows
    _stored = False
    # whether the lock was held all the time since the load
    _unbroken = False
    # whether saves may wait for the end of the response
    _postpones = False
    # the store whose lock is taken
    _lock_store: Store | None = None

    def __init__(self, req, sid=None, secret=None, lock=1, timeout=0):
        dict.__init__(self)
        self._req, self._sid, self._lock = req, None, lock
        if self._options is None:
            self._options = session_options.of(req)
        self._secret = secret or self._options.cookie_keys
        self._new = 1
        self._created = self._accessed = self._timeout = 0
        self._locked = self._invalid = 0
        if not sid:
            field, name = guarded.cookies(req), self._options.cookie_name
            candidates = cookies.ids_in(field, name, self._secret and self._unsigned)
        elif sids.valid(sid):
            candidates = [sid]
        else:
            raise ValueError(f"not a session id: {sid!r}")
        successors = getattr(req, _SUCCESSORS, None)
        if successors:
            candidates = [_latest(candidate, successors) for candidate in candidates]
        self.init_lock()
        for candidate in candidates:
            self._sid = candidate
            self.lock()
            if self.load():
                self._new = 0
                # perhaps the one that has taken the place of a candidate before it
                self._replaced = False
                break
            self.unlock()
        if self._new:
            self._begin(timeout)
        self._accessed = time.time()
        if self._cleaned_by_chance and random.randrange(mod_python.Session.CLEANUP_CHANCE) == 0:
            self.cleanup()

    def _begin(self, timeout):
        self._sid = sids.new()
        self._created = time.time()
        # read there at each use: applications set it
        self._timeout = timeout or mod_python.Session.DFT_TIMEOUT
        wanted = self._options.store_empty
        self._announced = False
        if self._empty_is_stored if wanted is None else wanted:
            self._announce()

    def _announce(self):
        """Make the new session known to the client, and hold it: it is to be stored."""
        if self._replaced:
            # its cookie would take the place of the one that the client has just got
            return
        self._announced = True
        if getattr(self._req, "sent_bodyct", 0):
            logger.warning(
                "a new session got its first key after the first output, so its cookie was not sent"
                " (give it one before, or set mod_python.session.store_empty)"
            )
        self.lock()
        _send_cookie(self._req, self.make_cookie())

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
        """Replace the values in this dict by what is stored; return 0 if that is nothing.

        If the session was stored before, 0 means that it has ended: the dict is empty then, and
        saves store nothing any more.
        """
        found = self.do_load()
        if found is None or time.time() - found["_accessed"] > found["_timeout"]:
            if self._stored:
                self._end()
                self.clear()
            return 0
        self._created = found["_created"]
        self._accessed = found["_accessed"]
        self._timeout = found["_timeout"]
        if self:
            self.clear()
        dict.update(self, found["_data"])
        self._stored = True
        self._unbroken = self._locked
        return 1

    def save(self) -> None:
        """Store the session, unless it is invalid, was never given a key, or has ended.

        It has ended if another request has deleted it since it was loaded; a line at info says so.

        :raises SerialError: for a value that cannot be stored.
        :raises StoreError: if it was not stored; what was stored before is still there.
        """
        if self._invalid or not self._announced:
            return
        if self._stored and not self._unbroken and self._has_ended():
            self._end()
            return
        self.do_save(
            {
                "_data": self.copy(),
                "_created": self._created,
                "_accessed": self._accessed,
                "_timeout": self._timeout,
            }
        )
        if not self._invalid:
            self._stored = True

    def delete(self) -> None:
        """Delete what is stored and forget all values; a save stores the session again."""
        self.do_delete()
        self._stored = False
        self.clear()

    def invalidate(self) -> None:
        """Delete the session for good, and its cookie from the client."""
        cookie = self.make_cookie()
        cookie.expires = 0
        _send_cookie(self._req, cookie)
        self.delete()
        self._invalid = 1
        self._announced = True

    def regenerate_id(self) -> str:
        """Give the session a new id, store it as it is, and return the id.

        Call it where a user signs in, so that an id which somebody has planted in the browser
        beforehand is worth nothing. The old id ends at once; a killed child leaves both or the
        old one. A session that another request has ended stays so, under its old id. Requests that
        were on their way with the old id get an empty session, which is not stored, and for a
        minute no cookie, as that would sign the user out again.
        """
        if self._replaced:
            self._replaced = False
            self._announce()
            return self._sid
        if self._invalid or not self._announced:
            return self._sid
        self._make_postponed()
        if self._stored and not self._unbroken and self._has_ended():
            self._end()
            return self._sid
        old, self._sid = self._sid, sids.new()
        new, version = self._sid, self._version()
        stored, self._stored = self._stored, False
        try:
            self.save()
            self._make_postponed()
        except BaseException:
            # the client knows no other id
            self._sid, self._stored = old, stored
            raise
        if stored and not self._retire(old, version):
            self.do_delete()
            self._sid = old
            self._end()
            return old
        self._sid = old
        self.unlock()
        self._sid = new
        self.lock()
        _send_cookie(self._req, self.make_cookie())
        successors = getattr(self._req, _SUCCESSORS, {})
        setattr(self._req, _SUCCESSORS, successors | {old: new})
        return new

    def make_cookie(self):
        """Return the cookie that names this session."""
        return _cookie(self._req, self._options, self._sid, self._secret)

    def init_lock(self) -> None:
        """Prepare for locking: called before the first :meth:`lock`; for subclasses."""

    def lock(self) -> None:
        """Wait for the session's lock, unless it is held already or the session has none.

        :raises SessionLocked: after ``mod_python.session.lock_timeout`` seconds.
        """
        if self._lock and not self._locked:
            if self._lock_store is None:
                self._lock_store = backing.open_lock_store(self._options)
            self._held = held.hold(self._lock_store, self._sid, self._options.lock_timeout)
            self._locked = 1
            self._req.register_cleanup(unlock_session_cleanup, self)

    def unlock(self) -> None:
        """Give the lock back before the request ends; a save that waits is made first."""
        if self._locked and self._lock:
            if self._postpones:
                self._make_postponed()
            self._locked = 0
            self._unbroken = False
            held.give_up(self._held)

    def cleanup(self) -> None:
        """Have expired sessions deleted; this does not wait for it."""
        self.do_cleanup()

    def do_cleanup(self) -> None:
        """Delete expired sessions, or register a cleanup that does; for subclasses."""

    def _unsigned(self, value):
        """Return the id of a cookie's signed value, None if the signature is wrong."""
        cookie = Cookie.SignedCookie(self._options.cookie_name, value)
        try:
            cookie.unsign(self._secret)
        except Cookie.CookieError:
            return None
        return cookie.value

    def _make_postponed(self):
        """Make a save that waits for the end of the response."""

    def _has_ended(self) -> bool:
        """Tell whether another request has ended the session since it was loaded."""
        return self.do_load() is None

    def _end(self):
        self._invalid = 1
        logger.info("session not saved: another request has ended it")

    def _version(self):
        """Return what :meth:`_retire` compares."""

    def _retire(self, old, version):
        """Let the id end that has been replaced; return False if another request did before."""
        new, self._sid = self._sid, old
        self.do_delete()
        self._sid = new
        return True


def _cookie(req, options, sid: str, secret) -> Cookie.Cookie:
    """Return the cookie for the session *sid*, with all attributes that *options* ask for."""
    if secret:
        cookie = Cookie.SignedCookie(options.cookie_name, sid, secret=secret)
    else:
        cookie = Cookie.Cookie(options.cookie_name, sid)
    if options.application_domain:
        cookie.domain = options.application_domain
    cookie.path = options.application_path or _path(req)
    cookie.httponly = options.httponly
    cookie.samesite = options.samesite
    cookie.secure = cookies.is_secure(req, options)
    return cookie


def _latest(sid: str, successors: dict[str, str]) -> str:
    """Return the id that has taken the place of *sid* in this request, or *sid*."""
    while sid in successors:
        sid = successors[sid]
    return sid


def _send_cookie(req, cookie: Cookie.Cookie) -> None:
    """Add the cookie to the response, in the place of one of the same name that waits there."""
    headers = req.headers_out.items()
    waiting = [text for name, text in headers if name.lower() == "set-cookie"]
    kept = [text for text in waiting if not text.startswith(f"{cookie.name}=")]
    if len(kept) < len(waiting):
        del req.headers_out["Set-Cookie"]
        for text in kept:
            req.headers_out.add("Set-Cookie", text)
    Cookie.add_cookie(req, cookie)


def _path(req) -> str:
    """Return the path of the directory that the handler was configured for, as mod_python does."""
    directory = getattr(getattr(req, "hlist", None), "directory", None)
    if directory and directory.startswith(req.document_root()):
        path = directory[len(req.document_root()) :]
        try:
            if path and (guarded.text(req, "uri") or "").startswith(path):
                return path
        except guarded.Undecodable:
            return "/"
    return "/"
