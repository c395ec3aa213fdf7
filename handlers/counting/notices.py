"""The last warnings and errors of all children, for the status page of each site.

Each child that logs one writes it to the next place of a ring that all of them share. The error log
has them as well; this is what an admin sees without looking for it.
"""

import contextlib
import json
import logging
import os
import struct
import time
from typing import NamedTuple

from handlers import counters, locks, state_directory

KEPT = 50

_HEADER = struct.Struct("Q")
_ROOM = 1024
_LONGEST = 600
_WAIT = 0.2


class Notice(NamedTuple):
    """A line of the log: when, in seconds since 1970, how bad, and what it says."""

    at: float
    level: str
    text: str


class Keeper(logging.Handler):
    """A handler of log records that keeps those from warning up.

    Each goes into the cache of the site that the thread serves, see :func:`.counters.serve`.
    """

    def __init__(self):
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep *record*; what cannot be kept is in the error log all the same."""
        directory = counters.directory()
        if directory is None:
            return
        with contextlib.suppress(OSError):
            # the first line: what follows is a traceback
            text = record.getMessage().split("\n", 1)[0][:_LONGEST]
            _append(_path(directory), Notice(time.time(), record.levelname.lower(), text))


def keep() -> None:
    """Keep what this process logs from now on."""
    package = logging.getLogger("handlers")
    if not any(isinstance(handler, Keeper) for handler in package.handlers):
        package.addHandler(Keeper())


def read(directory: str) -> list[Notice]:
    """Return the last :data:`KEPT` notices, the newest first."""
    found = []
    with contextlib.suppress(OSError), open(_path(directory), "rb") as file:
        file.seek(_HEADER.size)
        while data := file.read(_ROOM):
            with contextlib.suppress(ValueError, TypeError):
                found.append(Notice(*json.loads(data.rstrip(b"\0"))))
    return sorted(found, reverse=True)[:KEPT]


def _append(path: str, notice: Notice) -> None:
    line = json.dumps(notice).encode()
    if len(line) > _ROOM:
        # escapes may make a text longer
        line = json.dumps(notice._replace(text=notice.text[: _LONGEST // 10])).encode()
    with locks.held(path + ".lock", 0, _WAIT):
        fd = state_directory.opener(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            header = os.pread(fd, _HEADER.size, 0)
            (number,) = _HEADER.unpack(header) if len(header) == _HEADER.size else (0,)
            place = _HEADER.size + number % KEPT * _ROOM
            os.pwrite(fd, line.ljust(_ROOM, b"\0"), place)
            os.pwrite(fd, _HEADER.pack(number + 1), 0)
        finally:
            os.close(fd)


def _path(directory: str) -> str:
    return state_directory.path(directory, "notices")
