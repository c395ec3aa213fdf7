"""Is the site well? Checks that cost a probe nothing: no query, no walk through a directory."""

import os
import time
from typing import NamedTuple

from handlers import lookup, settings
from handlers.cache import stamp
from handlers.counting import history
from handlers.errors import Misconfigured

#: Minutes without a made thumbnail and with failures, after which the makers count as broken.
_FAILING = 5
# a refresh may be late by that many of its intervals, and by that many seconds
_LATE, _LATE_SECONDS = 2, 120
_LEAST_ROOM = 16 << 20


class Check(NamedTuple):
    """One thing that was looked at; *advice* says what to do if it is not well."""

    name: str
    is_well: bool
    advice: str = ""


def checks(options: settings.Settings) -> list[Check]:
    """Return what is well and what is not: the cache, the snapshot, the database, the makers.

    The database is judged by what this child knows: whether its last question was answered, and how
    old the snapshot is.
    """
    found = []
    directory = options.get("thumbnail.cache")
    if directory:
        found.append(_cache(directory, options))
    if "images.root" in options:
        found.append(_root(options["images.root"]))
    if "lookup.database" in options:
        found += _lookup(options)
    if directory:
        found.append(_makers(directory))
    return found


def _cache(directory: str, options: settings.Settings) -> Check:
    if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        return Check("cache", False, f"let Apache's user write to {directory}")
    room = os.statvfs(directory)
    if room.f_bavail * room.f_frsize < _LEAST_ROOM:
        return Check("cache", False, f"the disk of {directory} is full: set cache.bytes")
    if not stamp.holds(directory, options):
        return Check("cache", False, f"{directory} has another configuration: restart Apache")
    return Check("cache", True)


def _root(root: str) -> Check:
    if os.path.isdir(root) and os.access(root, os.R_OK | os.X_OK, effective_ids=True):
        return Check("pictures", True)
    return Check("pictures", False, f"mount images.root {root}, or let Apache's user read it")


def _lookup(options: settings.Settings) -> list[Check]:
    try:
        pictures = lookup.open(options)
    except Misconfigured as error:
        return [Check("database", False, str(error))]
    stats = pictures.stats()
    found = []
    has_snapshot = bool(options.get("lookup.snapshot"))
    if has_snapshot:
        advice = "" if stats["snapshot"] else "run: modpython-handlers lookup warm"
        found.append(Check("snapshot", bool(stats["snapshot"]), advice))
    advice = ""
    if stats["away"]:
        advice = f"start the database {stats['database']}, or correct lookup.database"
    elif has_snapshot and options.lookup.refresh:
        age = time.time() - pictures.refreshed
        if pictures.refreshed and age > _LATE * options.lookup.refresh + _LATE_SECONDS:
            advice = f"the snapshot was not refreshed for {age:.0f} s: see the error log"
    return [*found, Check("database", not advice, advice)]


def _makers(directory: str) -> Check:
    recent = history.read(directory, _FAILING)
    failed = sum(minute["thumbnails_failed"] for minute in recent)
    made = sum(minute["thumbnails_made"] for minute in recent)
    if failed and not made:
        return Check("makers", False, "the error log says why no thumbnail can be made")
    return Check("makers", True)
