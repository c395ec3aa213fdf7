"""Session stores: load, save, lock and sweep by session id, without a request in sight.

Which store for whom: ``file`` for one machine, the fastest; ``sql`` for several machines (MySQL,
MariaDB) or where everything must lie in one SQLite file; ``memcached`` where losing sessions does
no harm; ``memory`` for one process; ``dbm`` for its likeness to mod_python's.
"""

import os
import tempfile
from collections.abc import Callable, Mapping

from handlers import settings
from handlers.sessions.store import Store
from handlers.sessions.sweep import Sweeper, Swept

NAMES = ("file", "dbm", "memory", "sql", "memcached")
_OWN = "mod_python.session."
_FOLDER = "mp_sessions"


def open_store(name: str, options: Mapping[str, str], create: bool = True) -> Store:
    """Open the store *name* (one of NAMES), in the child that uses it.

    Options, all below ``mod_python.session.``: ``database_directory`` (file, dbm; the sessions
    lie in ``mp_sessions`` below it, by default in the system's directory for temporary files),
    ``max_size`` in bytes, ``sync`` (file), ``database`` (sql: a URL), ``table`` (sql), ``servers``
    and ``key_prefix`` (memcached). mod_python's own names for directory and file hold as well.

    :param create: False makes no directory and no file that is missing.
    :raises ValueError: for a name, or the value of an option, that makes no sense.
    :raises StoreError: if the store cannot be opened or must not be trusted.
    """
    size = {"max_size": settings.value(options, _OWN + "max_size")}
    if name == "file":
        from handlers.sessions.file import FileStore

        path = os.path.join(directory_of(options, "file"), _FOLDER)
        sync = settings.value(options, _OWN + "sync")
        return FileStore(path, sync=sync, create=create, **size)
    if name == "dbm":
        from handlers.sessions.dbm import DbmStore

        return DbmStore(_dbm_path(options), create=create, **size)
    if name == "memory":
        from handlers.sessions.memory import MemoryStore

        return MemoryStore(**size)
    if name == "memcached":
        from handlers.sessions.memcached import MemcachedStore

        servers = list(settings.value(options, _OWN + "servers"))
        prefix = settings.value(options, _OWN + "key_prefix")
        return MemcachedStore(servers, prefix=prefix, **size)
    if name == "sql":
        return _open_sql(options, size, create)
    raise ValueError(f"no session store {name!r}: there are {', '.join(NAMES)}")


def open_sweeper(
    store: Store, options: Mapping[str, str], note: Callable[[Swept], None] = lambda swept: None
) -> Sweeper:
    """Return the sweeper of this child for *store*, to be started after the fork.

    :param note: is told of each finished round.

    Options: ``mod_python.session.sweep_interval`` (seconds between two rounds),
    ``mod_python.session.sweep_rate`` (deletions per second), and mod_python's
    ``mod_python.file_session.cleanup_grace_period`` (seconds).
    """
    return Sweeper(
        store,
        interval=settings.value(options, _OWN + "sweep_interval"),
        deletes=settings.value(options, _OWN + "sweep_rate"),
        grace=grace_period(options),
        note=note,
    )


def grace_period(options: Mapping[str, str]) -> float:
    """Return the seconds after its end for which a session is still kept.

    :raises ValueError: if the option is no number.
    """
    return settings.value(options, "mod_python.file_session.cleanup_grace_period")


def _open_sql(options: Mapping[str, str], size: dict[str, int], create: bool) -> Store:
    url = settings.required(options, _OWN + "database")
    table = settings.value(options, _OWN + "table")
    if url.scheme == "sqlite":
        from handlers.sessions.sqlite import SqliteStore

        return SqliteStore(url.path, table, create=create, **size)
    # sites on files need not have PyMySQL in every child's memory
    from handlers.sessions.mysql import MysqlStore

    return MysqlStore(url, table, **size)


def directory_of(options: Mapping[str, str], kind: str) -> str:
    """Return the directory in which the store *kind*, file or dbm, has a directory of its own."""
    for name in (
        f"mod_python.{kind}_session.database_directory",
        _OWN + "database_directory",
    ):
        if options.get(name):
            return settings.value(options, name)
    return tempfile.gettempdir()


def directory_of_store(options: Mapping[str, str], kind: str) -> str | None:
    """Return the directory that the files of the store *kind* lie in, None if it has no files."""
    if kind == "file":
        return os.path.join(directory_of(options, kind), _FOLDER)
    if kind == "dbm":
        return os.path.dirname(os.path.abspath(_dbm_path(options)))
    if kind == "sql" and options.get(_OWN + "database"):
        url = settings.value(options, _OWN + "database")
        return os.path.dirname(url.path) if url.scheme == "sqlite" else None
    return None


def missing_file(options: Mapping[str, str], kind: str) -> str | None:
    """Return the file of the store *kind* that is not there yet, None if all are or it needs none.

    :raises ValueError: if an option makes no sense.
    """
    if kind == "dbm":
        from dbm import whichdb

        path = _dbm_path(options)
        return path if whichdb(path) is None else None
    if kind == "sql" and options.get(_OWN + "database"):
        url = settings.value(options, _OWN + "database")
        return url.path if url.scheme == "sqlite" and not os.path.exists(url.path) else None
    return None


def _dbm_path(options: Mapping[str, str]) -> str:
    given = settings.value(options, "mod_python.dbm_session.database_filename")
    return given or os.path.join(directory_of(options, "dbm"), _FOLDER, "sessions.dbm")
