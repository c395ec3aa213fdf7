"""A round of the sweep over 256 directories of files whose modification time is their expiry.

A line in ``sweep.state`` says how far the round has come, so that the next process goes on after
a kill where the last one was; at most one directory is looked through twice.
"""

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from handlers.sessions.store import AHEAD
from handlers.sessions.sweep import Pace, Swept

BUCKETS = [f"{number:02x}" for number in range(256)]
_KEY = re.compile(r"[0-9a-f]{32}")
_STATE = "sweep.state"
_STATE_VERSION = "1"
_EVERY = 32
_TEMP_AGE = 3600


class State(NamedTuple):
    """How far a round has come: next directory, counts so far, when the last one was finished."""

    bucket: int = 0
    deleted: int = 0
    seen: int = 0
    seconds: float = 0.0
    finished: float = 0.0


def files(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield key and stat of every session file; those that vanish meanwhile are left out."""
    for bucket in BUCKETS:
        with contextlib.suppress(FileNotFoundError), os.scandir(f"{path}/{bucket}") as entries:
            for entry in entries:
                if _KEY.fullmatch(entry.name):
                    with contextlib.suppress(FileNotFoundError):
                        yield entry.name, entry.stat(follow_symlinks=False)


def sweep(
    path: str, now: float, pace: Pace, grace: float, remove: Callable[[str, float], bool]
) -> Swept:
    """Go on with the round, or begin one; the caller sees to it that nobody else does.

    :param remove: called with key and grace for each file whose time has come, or whose last
        access lies in the future; deletes it, if it is still expired when looked at under its lock,
        and says whether it did.
    """
    state = read_state(path)
    for number in range(state.bucket, len(BUCKETS)):
        started = time.monotonic()
        deleted, seen, through = _bucket(f"{path}/{BUCKETS[number]}", now, pace, grace, remove)
        state = state._replace(
            bucket=number + through,
            deleted=state.deleted + deleted,
            # a directory broken off is counted when it is gone through again
            seen=state.seen + (seen if through else deleted),
            seconds=state.seconds + time.monotonic() - started,
        )
        _write_state(path, state)
        if not through:
            return Swept(state.deleted, state.seen, state.seconds, False)
    _write_state(path, State(finished=now))
    left = state.seen - state.deleted
    return Swept(state.deleted, state.seen, state.seconds, True, left)


def read_state(path: str) -> State:
    """Return how far the round has come; the start of one if that cannot be told."""
    try:
        with open(os.path.join(path, _STATE), encoding="ascii", errors="replace") as file:
            version, bucket, deleted, seen, seconds, finished = file.readline().split()
        state = State(int(bucket), int(deleted), int(seen), float(seconds), float(finished))
    except (FileNotFoundError, ValueError):
        return State()
    if version != _STATE_VERSION or not 0 <= state.bucket <= len(BUCKETS):
        return State()
    return state


def _write_state(path: str, state: State) -> None:
    line = f"{_STATE_VERSION} {state.bucket} {state.deleted} {state.seen} "
    line = f"{line}{state.seconds:.3f} {state.finished:.3f}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    # on a full disk it is the sweep that makes room
    with contextlib.suppress(OSError):
        fd = os.open(os.path.join(path, _STATE), flags, 0o600)
        try:
            os.pwrite(fd, f"{line:<95}\n".encode(), 0)
        finally:
            os.close(fd)


def _bucket(
    path: str, now: float, pace: Pace, grace: float, remove: Callable[[str, float], bool]
) -> tuple[int, int, bool]:
    """Return how many files were deleted, how many there were, and whether it was gone through."""
    deleted = seen = 0
    try:
        entries = os.scandir(path)
    except FileNotFoundError:
        return 0, 0, pace.go_on()
    with entries:
        for entry in entries:
            seen += 1
            if not seen % _EVERY and not pace.go_on():
                return deleted, seen, False
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if _KEY.fullmatch(entry.name):
                due = found.st_mtime < now - grace or found.st_atime > now + AHEAD
                gone = due and remove(entry.name, grace)
            else:
                gone = _remove_temp(entry, found)
            if gone:
                deleted += 1
                if not pace.go_on(1):
                    return deleted, seen, False
    return deleted, seen, pace.go_on()


def _remove_temp(entry: os.DirEntry, found: os.stat_result) -> bool:
    """Remove what a process killed while a session grew has left behind."""
    if entry.name.startswith(".") and found.st_ctime < time.time() - _TEMP_AGE:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(entry.path)
            return True
    return False
