"""What the status page, its JSON and the metrics tell: one set of figures, gathered here."""

import contextlib
import os
import time
from typing import Any

import handlers
from handlers import counters, elected, lookup, settings, state_directory
from handlers.cache.store import Store
from handlers.cache.sweep import Round
from handlers.counting import history, notices
from handlers.errors import Misconfigured
from handlers.status import health

#: What the graphs show, by the name of the counter.
SERIES = (
    "thumbnails_made",
    "thumbnails_found",
    "thumbnails_turned_away",
    "thumbnails_failed",
)
HOUR, DAY = 60, 1440
#: Minutes that one point of the day's graph stands for.
DAY_STEP = 15

_SECONDS = "thumbnail_making_seconds"


def gather(options: settings.Settings) -> dict[str, Any]:
    """Return all figures of the site with these *options*; nothing is queried or walked through."""
    directory = options["thumbnail.cache"]
    day = history.read(directory)
    hour = day[-HOUR:]
    return {
        "version": handlers.__version__,
        "time": time.time(),
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
        "sessions": {
            "begun": [minute["sessions_begun"] for minute in hour],
            "ended": [minute["sessions_ended"] for minute in hour],
        },
        "children": children(directory),
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


def children(directory: str) -> list[dict[str, float]]:
    """Return the processes that answer requests: pid, age in seconds, requests, bytes of memory.

    The memory is what is the process's own (RssAnon of proc(5)).
    """
    found = []
    for pid, (started, requests) in sorted(counters.processes(directory).items()):
        with contextlib.suppress(OSError):
            found.append(
                {
                    "pid": pid,
                    "age": time.time() - started,
                    "requests": requests,
                    "memory": _own_memory(pid),
                }
            )
    return found


def _own_memory(pid: int) -> int:
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0


def cache(directory: str, options: settings.Settings) -> dict[str, Any]:
    """Return what the keeper found in its last round."""
    at = elected.read_state(state_directory.path(directory, "round"), Round) or Round()
    room = os.statvfs(directory)
    now = time.time() / 3600
    ages = {"an hour": 1, "a day": 24, "a week": 168, "a month": 720}
    by_age, counted = {}, 0
    for name, hours in ages.items():
        within = sum(n for hour, n in at.by_hour.items() if now - int(hour) <= hours + 1)
        by_age[name], counted = within - counted, within
    by_age["longer"] = sum(at.by_hour.values()) - counted
    return {
        "directory": directory,
        "files": at.files,
        "bytes": at.bytes,
        "limit": options.cache.bytes,
        "free": room.f_bavail * room.f_frsize,
        "counted": at.finished or None,
        "used_within": by_age,
        "sizes": Store(directory).sizes(),
    }


def _lookup(options: settings.Settings) -> dict[str, Any] | None:
    if "lookup.database" not in options:
        return None
    try:
        pictures = lookup.open(options)
    except Misconfigured as error:
        return {"error": str(error)}
    stats = pictures.stats()
    if pictures.refreshed:
        stats["snapshot_age"] = time.time() - pictures.refreshed
    return stats
