"""Sessions: ``from mod_python import Session``, with mod_python's names and signatures.

::

    session = Session.Session(req)
    session["visits"] = session.get("visits", 0) + 1
    session.save()

A session is a dict that :meth:`~BaseSession.save` stores; its lock is held from the moment it is
opened to the end of the request or :meth:`~BaseSession.unlock`. The module also works on real
mod_python, see :func:`install`.

Options, as PythonOption or below ``[mod_python.session]`` in the settings file. Their names begin
with ``mod_python.session.``, but for those that begin with ``file_session.`` or ``dbm_session.``,
which follow ``mod_python.``. In brackets what mod_python called them before 3.3.

============================= =========== ==========================================================
name                          default     meaning
============================= =========== ==========================================================
session_type [session]        FileSession FileSession, DbmSession, MemorySession, SqlSession or
                                          MemcachedSession
cookie_name                   pysid       the cookie [session_cookie_name]
application_domain                        domain of the cookie; without it, this host only
application_path              handler's   path of the cookie [ApplicationPath]; ``/`` on mod_wsgi,
                              directory   where the handler's directory is not known
cookie_httponly               on          keep the cookie from scripts
cookie_samesite               Lax         Lax, Strict, None or off
cookie_secure                 auto        send the cookie over https only: on, off, or auto: if this
                                          request came by https
cookie_host_prefix            off         ``__Host-`` before the name: https, this host, path ``/``
secret_file                               secrets, one a line: the first one signs cookies and
                                          stored sessions, all of them verify
serializer                    pickle      pickle, json or msgpack; pickle needs secret_file in a
                                          store that others may write to
lock_timeout                  30          seconds to wait for a session's lock, then SessionLocked
save_after_response           off         save() writes when the response is out
store_empty                   off         send the cookie and store the session even if it was never
                                          given a key, as mod_python does
user_key                      user        key whose value names the user, for listing and purging
takeover                                  mod_python's directory ``mp_sess``: sessions found there
                                          are taken over when they are first used
takeover_classes              off         unpickle objects of any class from there, too
sweep                         on          this child may be elected to sweep; off where cron does it
sweep_interval                60          seconds between two rounds of the sweep
sweep_rate                    600         deletions per second
max_size                      16777216    bytes of a stored session, at most
database_directory            /tmp        where files lie, in ``mp_sessions`` [session_directory];
                                          ``file_session.`` and ``dbm_session.`` have their own, too
sync                          off         file: wait for the disk in every save
database                                  sql: URL of the database
table                         sessions    sql: the table
servers                       127.0.0.1   memcached: ``host:port`` or paths of sockets
key_prefix                    mps:        memcached: what the keys begin with
dbm_session.database_filename             the dbm file [session_dbm]
file_session.                 240         seconds after a session's end that it is deleted
cleanup_grace_period                      [session_grace_period]
file_session.                 on          taken for mod_python's sake, as are the arguments
enable_fast_cleanup                       fast_cleanup and verify_cleanup: the sweep knows when a
                                          session ends without opening it [session_fast_cleanup]
file_session.                 on          the same [session_verify_cleanup]
verify_session_timeout
file_session.                 2           the same: no request waits for the sweep
cleanup_time_limit                        [session_cleanup_time_limit]
============================= =========== ==========================================================
"""

import dbm as _dbm
import sys

from handlers.sessions.store import StoreError, report

from . import Cookie, session_backing, session_options, util
from .session_base import CLEANUP_CHANCE, DFT_TIMEOUT, BaseSession, unlock_session_cleanup
from .session_lock import SessionLocked
from .session_options import true_or_false
from .session_stored import StoredSession

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
DFT_FAST_CLEANUP = True
DFT_VERIFY_CLEANUP = True
DFT_GRACE_PERIOD = 240
DFT_CLEANUP_TIME_LIMIT = 2


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

    For the start of a child. Without an option of sessions among them nothing is started. A fault
    is logged and does not stop the child; sessions raise it when they are opened. Where this is
    not called, the first session of the child starts the sweeper.

    :param settings: the options hold for requests with ``PythonOption handlers.settings`` of this
        value only; None for all that have no such option of their own.
    """
    session_options.use(options, settings)
    try:
        found = session_options.of_child(settings)
        if found.given:
            name = session_options.store_of(found.session_type)
            session_backing.open_backing(name, found)
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


class FileSession(StoredSession):
    """A session in a file of its own: the default, and the fastest store.

    :param fast_cleanup, verify_cleanup: taken for mod_python's sake.
    """

    store_name = "file"

    def __init__(
        self, req, sid=0, secret=None, timeout=0, lock=1, fast_cleanup=-1, verify_cleanup=-1
    ):
        StoredSession.__init__(self, req, sid, secret, timeout, lock)


class DbmSession(StoredSession):
    """A session in one dbm file for all.

    :param dbm: the file, without the ending that the dbm appends; by default the options name it.
    :param dbmtype: taken for mod_python's sake; what kind a file is, it tells itself, and what kind
        a new one becomes, :mod:`dbm` chooses.
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
