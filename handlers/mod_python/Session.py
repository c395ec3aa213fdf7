"""Sessions: ``from mod_python import Session``, with mod_python's names and signatures.

::

    session = Session.Session(req)
    session["visits"] = session.get("visits", 0) + 1
    session.save()

A session is a dict that :meth:`~BaseSession.save` stores; its lock is held from the moment it is
opened to the end of the request or :meth:`~BaseSession.unlock`. A session that another request has
ended is not stored again by one that opened it before. The module also works on real mod_python,
see :func:`install`.

Options, as PythonOption or below ``[mod_python.session]`` in the settings file, are declared in
:mod:`handlers.options`. These names of mod_python before 3.3 hold as well: ``session``,
``session_cookie_name``, ``ApplicationPath``, ``session_directory``, ``session_dbm``,
``session_fast_cleanup``, ``session_verify_cleanup``, ``session_grace_period`` and
``session_cleanup_time_limit``.
"""

import dbm as _dbm
import logging
import operator
import random
import sys
import time

from handlers.runtime import guarded
from handlers.sessions import backing, held
from handlers.sessions import cookie as cookies
from handlers.sessions import options as session_options
from handlers.sessions import sid as sids
from handlers.sessions.held import SessionLocked
from handlers.sessions.options import true_or_false
from handlers.sessions.store import Store, StoreError, report
from handlers.sessions.stored import Stored

from . import Cookie, util

__all__ = [
    "CLEANUP_CHANCE",
    "DFT_TIMEOUT",
    "BaseSession",
    "DbmSession",
    "FileSession",
    "MemcachedSession",
    "MemorySession",
    "Session",
    "SessionLocked",
    "SqlSession",
    "install",
    "start_sweep",
    "true_or_false",
    "unlock_session_cleanup",
]

COOKIE_NAME = "pysid"
DFT_LOCK = True
DFT_TIMEOUT = 30 * 60
DFT_FAST_CLEANUP = True
DFT_VERIFY_CLEANUP = True
DFT_GRACE_PERIOD = 240
DFT_CLEANUP_TIME_LIMIT = 2
CLEANUP_CHANCE = 1000

logger = logging.getLogger(__name__)


def Session(req, sid=0, secret=None, timeout=0, lock=1):
    """Open the session of a request, of the type that the options name.

    :param sid: the session's id, if it does not come in the cookie.
    :param secret: signs the cookie: str, bytes, or a list of them of which the first one signs.
    :param timeout: seconds for which a new session lives without being saved; 0 for half an hour.
    :param lock: 0 takes no lock and waits for nobody.
    :raises ValueError: for a *sid* that is none, or an option that makes no sense.
    :raises SessionLocked: if another request did not give the session free in time.
    :raises StoreError: if the store fails.
    """
    options = session_options.of(req)
    opened = _TYPES[session_options.store_of(options.session_type)]
    return opened(req, sid=sid, secret=secret, timeout=timeout, lock=lock)


def start_sweep(options, settings: str | None = None) -> None:
    """Make *options* those of the sessions of this process, and start its sweeper.

    For the start of a child. Nothing is started without an option of sessions among them, or
    before there are any: the first session of a child starts its sweeper then. A fault is logged
    and does not stop the child; sessions raise it when they are opened.

    :param settings: the options hold for requests with ``PythonOption handlers.settings`` of this
        value only; None for all that have no such option of their own.
    """
    session_options.use(options, settings)
    try:
        found = session_options.of_child(settings)
        name = session_options.store_of(found.session_type)
        if found.given and backing.may_hold_sessions(name, found):
            backing.open_backing(name, found)
    except (ValueError, OSError, StoreError) as error:
        report(error)


def install() -> None:
    """Let ``from mod_python import Session, Cookie, util`` give these modules on real mod_python.

    Modules that have imported mod_python's own before keep them.
    """
    import mod_python

    own = (("Session", sys.modules[__name__]), ("Cookie", Cookie), ("util", util))
    for name, module in own:
        sys.modules[f"mod_python.{name}"] = module
        setattr(mod_python, name, module)


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
        self.init_lock()
        for candidate in candidates:
            self._sid = candidate
            self.lock()
            if self.load():
                self._new = 0
                break
            self.unlock()
        if self._new:
            self._begin(timeout)
        self._accessed = time.time()
        if self._cleaned_by_chance and random.randrange(CLEANUP_CHANCE) == 0:
            self.cleanup()

    def _begin(self, timeout):
        self._sid = sids.new()
        self._created = time.time()
        self._timeout = timeout or DFT_TIMEOUT
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
        self.save()
        self._make_postponed()
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


class StoredSession(BaseSession):
    """A session in one of the stores of :mod:`handlers.sessions`.

    Nothing is written where nothing has changed since the load, but for the time of the access,
    once in a 20th of the timeout.

    :param options: options that win over those of the request.
    """

    store_name = ""
    _empty_is_stored = False
    _cleaned_by_chance = False

    def __init__(self, req, sid=0, secret=None, timeout=0, lock=1, **options):
        self._options = options = session_options.of(req, options)
        self._postpones = options.save_after_response
        self._backing = opened = backing.open_backing(self.store_name, options)
        self._lock_store = opened.store
        self._content = Stored(opened, options.user_key)
        BaseSession.__init__(self, req, sid=sid, secret=secret, timeout=timeout, lock=lock)

    def do_load(self) -> dict | None:
        """Return what is stored, None if that is nothing or cannot be read."""
        if self._postpones:
            self._make_postponed()
        found = self._content.load(self._sid, self._held if self._locked else None)
        if self._content.replaced and self._new:
            self._replaced = True
        return found

    def do_save(self, dict) -> None:
        """Store what *dict* says, unless that is what is stored already."""
        if self._postpones:
            self._make_postponed()
        sid = self._sid
        record = self._content.record(sid, dict)
        if self._postpones:
            save = held.postpone(self._lock_store, sid, lambda: self._write(sid, record))
            self._req.register_cleanup(save.make)
        else:
            self._write(sid, record)

    def do_delete(self) -> None:
        """Delete what is stored."""
        self._make_postponed()
        self._content.delete(self._sid)

    def do_cleanup(self) -> None:
        """Start the sweeper of this child, if it does not run; the elected one sweeps."""
        self._backing.sweeper.start()

    def _write(self, sid, record):
        if not self._content.write(sid, record, self._held if self._locked else None):
            self._end()

    def _make_postponed(self):
        held.make_postponed(self._lock_store, self._sid)

    def _has_ended(self) -> bool:
        # the save itself compares the version
        return False

    def _version(self):
        return self._content.version

    def _retire(self, old, version):
        return self._content.retire(old, version)


class FileSession(StoredSession):
    """A session in a file of its own: the default, and the fastest store.

    :param fast_cleanup, verify_cleanup: as in mod_python; they change nothing here.
    """

    store_name = "file"

    def __init__(
        self, req, sid=0, secret=None, timeout=0, lock=1, fast_cleanup=-1, verify_cleanup=-1
    ):
        StoredSession.__init__(self, req, sid, secret, timeout, lock)


class DbmSession(StoredSession):
    """A session in one dbm file for all.

    :param dbm: the file, without the ending that the dbm appends; by default the options name it.
    :param dbmtype: as in mod_python; it changes nothing here: a file tells its own kind, and
        :mod:`dbm` chooses that of a new one.
    """

    store_name = "dbm"

    def __init__(self, req, dbm=None, sid=0, secret=None, dbmtype=_dbm, timeout=0, lock=1):
        options = {"mod_python.dbm_session.database_filename": dbm} if dbm else {}
        StoredSession.__init__(self, req, sid, secret, timeout, lock, **options)


class MemorySession(StoredSession):
    """A session in this process's memory: no other child knows it."""

    store_name = "memory"


class SqlSession(StoredSession):
    """A session in a table of MySQL, MariaDB or SQLite."""

    store_name = "sql"


class MemcachedSession(StoredSession):
    """A session in memcached servers, which may forget it."""

    store_name = "memcached"


_TYPES = {
    opened.store_name: opened
    for opened in (FileSession, DbmSession, MemorySession, SqlSession, MemcachedSession)
}


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
