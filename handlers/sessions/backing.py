"""What stands behind the sessions of a process: store, serialiser, sweeper, and takeover.

Opened once in each process for the same options, in the child, and kept.
"""

import functools
import logging
import os
import threading
from typing import NamedTuple

from . import directory_of_store, open_store, open_sweeper, tally
from .options import Options
from .serial import Serializer
from .store import Store, StoreRefused, StoreUnavailable
from .sweep import Sweeper
from .takeover import FileSessions

logger = logging.getLogger(__name__)

_MOST = 64
# options of the request's side: stores that differ in these only are one
_NOT_OF_STORES = frozenset(
    "mod_python.session." + name
    for name in (
        *("session_type", "cookie_name", "application_domain", "application_path"),
        *("cookie_httponly", "cookie_samesite", "cookie_secure", "cookie_host_prefix"),
        *("secret_file", "lock_timeout", "serializer", "save_after_response", "store_empty"),
        *("user_key", "takeover", "takeover_classes", "sweep"),
    )
)

_opening = threading.Lock()
_stores: dict[tuple, tuple[Store, Sweeper]] = {}
_backings: dict[tuple, "Backing"] = {}


class Backing(NamedTuple):
    """What a session object works with; shared by all of the same options."""

    store: Store
    serializer: Serializer
    sweeper: Sweeper
    takeover: FileSessions | None
    #: those it was opened for
    options: Options


def open_backing(name: str, options: Options) -> Backing:
    """Return what stands behind sessions in the store *name*; opens it if need be.

    The sweep of this child starts with it, unless ``mod_python.session.sweep`` is off.

    :raises ValueError: if an option makes no sense.
    :raises StoreError: if the store cannot be opened or must not be trusted.
    """
    # by identity: to hash all options costs as much as the rest of this
    key = (name, id(options))
    found = _backings.get(key)
    if found is None or found.options is not options:
        with _opening:
            store, sweeper = _open(name, options)
            serializer = Serializer(options.serializer, options.secrets, store.trusted)
            takeover = _open_takeover(options)
            found = Backing(store, serializer, sweeper, takeover, options)
            if len(_backings) >= _MOST:
                _backings.clear()
            _backings[key] = found
    return found


def may_hold_sessions(name: str, options: Options) -> bool:
    """Tell whether there can be sessions in the store *name* yet, without opening it.

    :raises ValueError: if an option makes no sense.
    """
    directory = directory_of_store(dict(options.given), name)
    return directory is None or os.path.lexists(directory)


def open_lock_store(options: Options) -> Store:
    """Return the store whose locks sessions of people's own backends take: files.

    :raises StoreError: as :func:`open_backing` does.
    """
    with _opening:
        return _open("file", options, sweep=False)[0]


def _open(name: str, options: Options, sweep: bool = True) -> tuple[Store, Sweeper]:
    given = {key: value for key, value in options.given if key not in _NOT_OF_STORES}
    key = (name, tuple(given.items()))
    if key not in _stores:
        store = open_store(name, given)
        note = functools.partial(tally.note, store, tally.place(given, name))
        _stores[key] = store, open_sweeper(store, given, note)
    store, sweeper = _stores[key]
    if sweep and options.sweep:
        sweeper.start()
    return store, sweeper


def _open_takeover(options: Options) -> FileSessions | None:
    if not options.takeover:
        return None
    try:
        return FileSessions(options.takeover, classes=options.takeover_classes)
    except StoreUnavailable as error:
        # what remains when all of them have been taken over
        logger.info("no sessions are taken over: %s", error)
    except StoreRefused as error:
        logger.error("no sessions are taken over: %s", error)
    return None


def _after_fork() -> None:
    # sweepers of the parent do not run here, and another thread of it may have held the lock
    global _opening
    _opening = threading.Lock()
    _stores.clear()
    _backings.clear()


os.register_at_fork(after_in_child=_after_fork)
