"""The result of the last finished sweep of a store: how many sessions live, and when that was.

The elected process writes it into the cache that it counts for (:mod:`handlers.counters`), so the
status page needs no query and opens no session.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

from handlers import counters, elected, settings
from handlers.sessions import directory_of_store, options
from handlers.sessions.store import Store, StoreError
from handlers.sessions.sweep import Swept

# A count of a table reads an index: it gets a hundredth of the time.
_COUNTS_SHARE = 100


@dataclass
class Tally:
    """A sweep: when it was finished and how long it took, in seconds; what it deleted and left.

    :ivar live: sessions that lived at ``counted``; -1 if nobody has counted them.
    :ivar counted: when, in seconds since 1970.
    """

    finished: float = 0.0
    seconds: float = 0.0
    deleted: int = 0
    live: int = -1
    counted: float = 0.0
    count_seconds: float = 0.0


def place(given: Mapping[str, str], kind: str) -> str:
    """Return what tells the store *kind* with the options *given* from others, for people to read.

    No password is in it.
    """
    own = "mod_python.session."
    where = directory_of_store(given, kind) or ""
    if kind == "sql" and given.get(own + "database"):
        url = settings.value(given, own + "database")
        where = f"{url}, table {settings.value(given, own + 'table')}"
    elif kind == "memcached":
        where = " ".join(settings.value(given, own + "servers"))
    return f"{kind} {where}".rstrip()


def of_settings(found: settings.Settings) -> tuple[str, str]:
    """Return the kind of the store that the settings *found* name, and its :func:`place`.

    :raises ValueError: if an option makes no sense.
    """
    given = options.of_sessions(found.items())
    kind = options.store_of(settings.value(given, "mod_python.session.session_type"))
    return kind, place(given, kind)


def read(cache: str, where: str) -> Tally:
    """Return what was noted last of the store at *where*; nothing before its first sweep."""
    return elected.read_state(_path(cache, where), Tally) or Tally()


def note(store: Store, where: str, swept: Swept, cache: str | None = None) -> None:
    """Note the finished sweep *swept* of *store*, as the process that is elected to sweep it.

    A sweep that looks at all sessions tells how many remain. If it looks at expired ones only, the
    store counts those that live, now and then.

    :param cache: the cache directory; by default the one that this process counts for.
    """
    counters.add("sessions_expired", swept.deleted)
    cache = cache or counters.directory()
    if cache is None or not store.shared:
        return
    now, before = time.time(), read(cache, where)
    tally = Tally(now, round(swept.seconds, 3), swept.deleted)
    if swept.left is not None:
        tally.live, tally.counted = swept.left, now
    elif 0 <= now - before.counted < _COUNTS_SHARE * before.count_seconds:
        tally.live, tally.counted = before.live, before.counted
        tally.count_seconds = before.count_seconds
    else:
        started, tally.counted = time.monotonic(), now
        # the sweep has its own line for a store that is away
        with contextlib.suppress(StoreError):
            tally.live = store.count()
        tally.count_seconds = time.monotonic() - started
    # thumbnails that cannot be written have their own line in the log
    with contextlib.suppress(OSError):
        elected.write_state(_path(cache, where), tally)


def _path(cache: str, where: str) -> str:
    digest = hashlib.blake2b(where.encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()
    return os.path.join(os.path.dirname(counters.path_in(cache)), f"sessions-{digest}")
