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
import sys

from handlers.sessions import backing, held
from handlers.sessions import options as session_options
from handlers.sessions.held import SessionLocked
from handlers.sessions.options import true_or_false
from handlers.sessions.store import StoreError, report
from handlers.sessions.stored import Stored

from . import Cookie, util
from ._base_session import BaseSession, unlock_session_cleanup

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
