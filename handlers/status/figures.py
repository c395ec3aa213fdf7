"""What the status page, its JSON and the metrics tell: one set of figures, gathered here."""

import contextlib
import os
import time
from typing import Any

import handlers
from handlers import counters, lookup, settings
from handlers.cache import sweep
from handlers.cache.store import Store
from handlers.counting import history, notices
from handlers.errors import Misconfigured
from handlers.sessions import tally
from handlers.status import health, processes

#: What the graphs show, by the name of the counter.
SERIES = (
    "thumbnails_made",
    "thumbnails_waited",
    "thumbnails_turned_away",
    "thumbnails_failed",
)
HOUR, DAY = 60, 1440
#: Minutes that one point of the day's graph stands for.
DAY_STEP = 15

_SECONDS = "thumbnail_making_seconds"


def gather(options: settings.Settings) -> dict[str, Any]:
    """Return all figures of the site with these *options*; nothing is queried or walked through.

    They are of this site alone, whatever others its children answer for.
    """
    directory = options["thumbnail.cache"]
    day = history.read(directory)
    hour = day[-HOUR:]
    return {
        "version": handlers.__version__,
        "time": time.time(),
        "settings": options.get("handlers.settings"),
        "health": {check.name: check._asdict() for check in health.checks(options)},
        "totals": counters.read(directory),
        "hour": {name: [minute[name] for minute in hour] for name in SERIES},
        "day": {
            name: [
                sum(minute[name] for minute in day[start : start + DAY_STEP]) / DAY_STEP
                for start in range(0, DAY, DAY_STEP)
            ]
            for name in SERIES
        },
        "making": {
            "median": quantile(hour, 0.5),
            "p99": quantile(hour, 0.99),
        },
        "cache": cache(directory, options),
        "lookup": _lookup(options),
        "sessions": sessions(directory, options)
        | {
            name: [minute[f"sessions_{name}"] for minute in hour]
            for name in ("begun", "ended", "expired")
        },
        "children": processes.children(directory),
        "makers": processes.makers(directory, options),
        "notices": [notice._asdict() for notice in notices.read(directory)],
    }


def quantile(minutes: list[dict], share: float) -> float | None:
    """Return the seconds that *share* of the thumbnails took at most; None if none was made.

    It is the upper bound of its bucket, and infinite above the last one.
    """
    bounds = (*counters.HISTOGRAMS[_SECONDS][1], float("inf"))
    buckets = [sum(column) for column in zip(*(m[_SECONDS][0] for m in minutes), strict=True)]
    wanted, seen = share * sum(buckets), 0
    if not wanted:
        return None
    for bound, count in zip(bounds, buckets, strict=True):
        seen += count
        if seen >= wanted:
            return bound
    return bounds[-1]


def cache(directory: str, options: settings.Settings) -> dict[str, Any]:
    """Return what the keeper has found in the last round that it has finished."""
    found = sweep.counted(directory)
    room = None
    with contextlib.suppress(OSError):
        room = os.statvfs(directory)
    now = time.time() / 3600
    ages = {"an hour": 1, "a day": 24, "a week": 168, "a month": 720}
    by_age, counted = {}, 0
    for name, hours in ages.items():
        within = sum(n for hour, n in found.by_hour.items() if now - int(hour) <= hours + 1)
        by_age[name], counted = within - counted, within
    by_age["longer"] = sum(found.by_hour.values()) - counted
    return {
        "directory": directory,
        "files": found.files,
        "bytes": found.bytes,
        "limit": options.cache.bytes,
        "free": None if room is None else room.f_bavail * room.f_frsize,
        "counted": found.at or None,
        "used_within": by_age,
        # the largest first
        "by_size": dict(sorted(found.by_size.items(), key=lambda size: -size[1])),
        "sizes": Store(directory).sizes(),
    }


def sessions(directory: str, options: settings.Settings) -> dict[str, Any]:
    """Return what the sweep of the sessions has found the last time, None for what nobody knows."""
    try:
        kind, where = tally.of_settings(options)
    except ValueError as error:
        return {"store": str(error), "live": None, "swept": None}
    found = tally.read(directory, where)
    return {
        "store": where,
        "live": found.live if found.live >= 0 else None,
        "counted": found.counted or None,
        "swept": found.finished or None,
        "sweep_seconds": found.seconds,
        "sweep_deleted": found.deleted,
        # the others have nothing to tell of all sessions
        "is_swept": kind in ("file", "dbm", "sql"),
    }


def _lookup(options: settings.Settings) -> dict[str, Any] | None:
    if "lookup.database" not in options:
        return None
    try:
        pictures = lookup.open(options)
    except Misconfigured as error:
        return {"error": str(error)}
    stats, verdict, refreshed = pictures.stats(), pictures.verdict, pictures.refreshed
    if refreshed:
        stats["snapshot_age"] = time.time() - refreshed
    # what this child knows by itself, or another one
    stats["away"] = stats["away"] or verdict.is_away(refreshed)
    stats["away_since"] = verdict.since if stats["away"] else None
    stats["back"] = verdict.back or None
    return stats
