"""The processes of the site: the children that answer requests, and the makers of thumbnails."""

import contextlib
import os
import time
from typing import Any

from handlers import counters, locks, settings, state_directory
from handlers.image import libraries
from handlers.maker import roll

_KB = 1024


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


def makers(directory: str, options: settings.Settings) -> dict[str, Any]:
    """Return how many makers there may be, and of each that lives what :func:`children` tells.

    In place of its requests it tells a maker's jobs, and whether it is busy with one. ``libraries``
    names what the makers decode and scale with, as the last one said that has started; before the
    first, what is installed.
    """
    turns = state_directory.path(directory, "makers")
    found = []
    for maker in roll.read(directory):
        with contextlib.suppress(OSError):
            found.append(
                {
                    "pid": maker.pid,
                    "age": _age(maker.pid),
                    "jobs": maker.jobs,
                    "busy": locks.is_held(turns, maker.slot),
                    "since": maker.began,
                    "memory": _own_memory(maker.pid),
                }
            )
    names = roll.libraries(directory) or list(libraries.installed())
    most = options.thumbnail.makers or os.cpu_count() or 1
    return {"most": most, "alive": found, "libraries": names}


def _own_memory(pid: int) -> int:
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * _KB
    return 0


def _age(pid: int) -> float:
    """Return the seconds since the process *pid* was started."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        # the 22nd field; the second one, a name, may have blanks in it
        started = int(file.read().rpartition(")")[2].split()[19])
    ticks = os.sysconf("SC_CLK_TCK")
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started / ticks)
