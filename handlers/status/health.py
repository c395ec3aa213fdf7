"""Is the site well? Checks that cost a probe nothing: no query, no walk through a directory.

What keeps pictures away from visitors is unwell, and the health check answers 503. What only some
requests suffer from is worth a look, and the status page says so: a load balancer that took a busy
machine away would make it worse for the others.
"""

import contextlib
import os
import time
from typing import NamedTuple

from handlers import access, lookup, settings, source, state_directory
from handlers.cache import stamp
from handlers.cache.store import Store
from handlers.counting import history, notices
from handlers.errors import Misconfigured

#: Minutes that count as now.
_RECENT = 5
# a refresh may be late by that many of its intervals, and by that many seconds
_LATE, _LATE_SECONDS = 2, 120
_LEAST_ROOM = 16 << 20
# the beginnings of what the log says of thumbnails that were not made, see handlers.thumbnail
_OF_MAKERS = ("thumbnail ", "no process can be started", "no maker can be started")
_OF_CACHE = ("thumbnail.cache", "images.root")


class Check(NamedTuple):
    """One thing that was looked at.

    :ivar advice: what is wrong and what to do; of what is well, what is worth a look.
    """

    name: str
    is_well: bool
    advice: str = ""


def checks(options: settings.Settings) -> list[Check]:
    """Return what is well and what is not: the cache, the snapshot, the database, the makers.

    The database is judged by what the processes of the site have last found out of it, and by how
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
        found.append(_makers(directory, options))
    return found


def _cache(directory: str, options: settings.Settings) -> Check:
    if why := _unwritable(directory):
        return Check("cache", False, why)
    room = os.statvfs(directory)
    if room.f_bavail * room.f_frsize < _LEAST_ROOM:
        advice = (
            f"the disk of {directory} is full: make room, set cache.bytes in settings.ini, and "
            "type: modpython-handlers cache sweep"
        )
        return Check("cache", False, advice)
    if room.f_files and not room.f_favail:
        return Check("cache", False, f"the file system of {directory} has no inodes left")
    if not stamp.holds(directory, options):
        return Check("cache", False, f"{directory} has another configuration: restart Apache")
    return Check("cache", True)


def _unwritable(directory: str) -> str | None:
    """Return why thumbnails cannot be written below *directory*, None if they can."""
    thumbs = os.path.join(directory, "thumbs")
    sizes = [os.path.join(thumbs, size) for size in Store(directory).sizes()]
    state = state_directory.path(directory)
    for place in (directory, state, thumbs, *sizes):
        try:
            if os.path.isdir(place) or place == directory:
                access.check_writable(place)
        except OSError as error:
            if os.path.isdir(place) and os.statvfs(place).f_flag & os.ST_RDONLY:
                return f"{place} is mounted read-only: mount -o remount,rw its file system"
            return access.why_unwritable(place, error)
    own = os.geteuid()
    # without one nothing was made yet, and what others replace may go meanwhile
    names = os.listdir(state) if own and os.path.isdir(state) else ()
    for path in (os.path.join(state, name) for name in names):
        with contextlib.suppress(FileNotFoundError):
            if os.lstat(path).st_uid != own:
                return f"{path} is not {access.user()}'s: {access.giving(path)}"
    return None


def _root(root: str) -> Check:
    try:
        source.check_root(root)
    except source.RootUnavailable as error:
        return Check("pictures", False, f"{error}: mount it, or correct images.root")
    if source.is_empty(root):
        return Check("pictures", False, f"images.root {root} is empty: mount its file system")
    return Check("pictures", True)


def _lookup(options: settings.Settings) -> list[Check]:
    try:
        pictures = lookup.open(options)
    except Misconfigured as error:
        return [Check("database", False, str(error))]
    found = []
    has_snapshot = bool(options.get("lookup.snapshot"))
    if has_snapshot:
        # opens what lies there, and asks nobody
        is_there = bool(pictures.warm() or pictures.stats()["snapshot"])
        advice = "there is none yet; type: modpython-handlers lookup warm"
        found.append(Check("snapshot", is_there, "" if is_there else advice))
    stats, refreshed, verdict = pictures.stats(), pictures.refreshed, pictures.verdict
    advice = ""
    if verdict.is_away(refreshed):
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(verdict.since))
        advice = f"{verdict.said} (since {since})"
    elif stats["away"]:
        advice = f"start the database {stats['database']}, or correct lookup.database"
    elif has_snapshot and options.lookup.refresh:
        age = time.time() - refreshed
        if refreshed and age > _LATE * options.lookup.refresh + _LATE_SECONDS:
            advice = f"the snapshot was not refreshed for {age:.0f} s: see the error log"
    return [*found, Check("database", not advice, advice)]


def _makers(directory: str, options: settings.Settings) -> Check:
    recent = history.read(directory, _RECENT)

    def counted(what: str) -> int:
        return sum(minute[f"thumbnails_{what}"] for minute in recent)

    made, failed, away = counted("made"), counted("failed"), counted("turned_away")
    # a single picture that kills its makers is tried less often
    if failed > options.thumbnail.tries and not made:
        advice = f"none of {failed} thumbnails could be made in {_RECENT} minutes"
        return Check("makers", False, advice + _said(directory, _OF_MAKERS))
    looks = []
    if away:
        most = options.thumbnail.makers or os.cpu_count() or 1
        looks.append(
            f"{away} requests were turned away in {_RECENT} minutes, as all makers ({most}) were "
            "busy: make thumbnails ahead with modpython-handlers cache warm --all, or raise "
            "thumbnail.soon, or start more children"
        )
    if failed:
        looks.append(
            f"{failed} makers were lost in {_RECENT} minutes" + _said(directory, _OF_MAKERS)
        )
    if counted("unavailable") and not made and (said := _said(directory, _OF_CACHE)):
        looks.append("no thumbnail could be made" + said)
    return Check("makers", True, "; ".join(looks))


def _said(directory: str, beginnings: tuple[str, ...]) -> str:
    """Return the last warning that begins so, if it is a recent one, to be put behind a clause."""
    since = time.time() - _RECENT * 60
    for notice in notices.read(directory):
        if notice.at >= since and notice.text.startswith(beginnings):
            return f": {notice.text}"
    return ""
