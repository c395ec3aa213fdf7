"""The roll of makers: for each turn the process that is its maker, and the number of its jobs.

A child writes both down before each job that it gives to a maker, for the status page. It holds the
maker's turn, so nobody else writes to the place of that turn.
"""

import contextlib
import json
import os
import struct
import time
from collections.abc import Sequence
from typing import NamedTuple

from handlers import state_directory

_PLACE = struct.Struct("=QQd")
# proc(5): what a maker calls itself, cut to 15 characters
_NAME = "thumbnail-maker"


class Maker(NamedTuple):
    """A maker and its work.

    :ivar slot: the turn that it has.
    :ivar jobs: the number of its jobs, the present one included.
    :ivar began: when the last of them began, in seconds since 1970.
    """

    slot: int
    pid: int
    jobs: int
    began: float


def note(cache: str, slot: int, pid: int, jobs: int) -> None:
    """Write down that the maker *slot* of the cache directory *cache* begins a job.

    :param jobs: the number of its jobs, this one included.
    """
    # the thumbnail that a full disk prevents has its own line in the log
    with contextlib.suppress(OSError):
        fd = state_directory.opener(_path(cache), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
        try:
            os.pwrite(fd, _PLACE.pack(pid, jobs, time.time()), slot * _PLACE.size)
        finally:
            os.close(fd)


def note_libraries(cache: str, names: Sequence[str]) -> None:
    """Write down what a maker that has just started decodes and scales with."""
    with contextlib.suppress(OSError):
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with os.fdopen(state_directory.opener(_path(cache, "libraries"), flags), "w") as file:
            json.dump(names, file)


def libraries(cache: str) -> list[str]:
    """Return what the last maker that has started decodes and scales with; empty if none has."""
    with (
        contextlib.suppress(OSError, ValueError),
        open(_path(cache, "libraries"), encoding="utf-8") as file,
    ):
        return json.load(file)
    return []


def read(cache: str) -> list[Maker]:
    """Return the makers that live."""
    found = []
    with contextlib.suppress(OSError), open(_path(cache), "rb") as file:
        while len(data := file.read(_PLACE.size)) == _PLACE.size:
            pid, jobs, began = _PLACE.unpack(data)
            if pid and _is_maker(pid):
                found.append(Maker(file.tell() // _PLACE.size - 1, pid, jobs, began))
    return found


def _is_maker(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().rstrip("\n") == _NAME
    except OSError:
        return False


def _path(cache: str, name: str = "roll") -> str:
    return state_directory.path(cache, name)
