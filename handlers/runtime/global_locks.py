"""The locks that all processes of a server share, behind ``_apache._global_lock``.

As in mod_python there are eight, or ``PythonOption mod_python.mutex_locks`` of the server itself,
and the key of a lock picks one: keys of one number wait for each other. The lock of number 0 is no
key's. They are bytes of a file in ``mod_python.mutex_directory``, or of a directory of this user
alone in that of temporary files. A process that ends gives back what it holds.
"""

import contextlib
import os
import stat
import tempfile
import threading
import zlib

from handlers import locks

_DIRECTORY_OPTION = "mod_python.mutex_directory"
_COUNT_OPTION = "mod_python.mutex_locks"
_COUNT = 8
_FILE = "locks"

# descriptors that hold a lock, by its number; any thread may give one back
_held: dict[int, list[int]] = {}
_changing = threading.Lock()
# of this process: its id and its number among those of the server
_number_of: tuple[int, int] | None = None
_MOST_PROCESSES = 4096


def lock(options, key, index: int = -1) -> None:
    """Wait for a lock and hold it.

    :param options: those of the server itself.
    :param key: what picks the lock, where *index* is -1.
    :param index: the number of the lock.
    :raises ValueError: if there is no lock of this number, or it cannot be held.
    """
    _take(options, key, index, None)


def try_lock(options, key, index: int = -1) -> bool:
    """Hold a lock if it is free, and return whether it was; see :func:`lock`."""
    try:
        _take(options, key, index, 0)
    except locks.LockTimeout:
        return False
    return True


def unlock(options, key, index: int = -1) -> None:
    """Give back a lock that this process holds.

    :raises ValueError: if there is no lock of this number, or it is not held.
    """
    number = _number(options, key, index)
    with _changing:
        if not _held.get(number):
            raise ValueError(f"global lock {number} is not held by this process")
        fd = _held[number].pop()
    os.close(fd)


def process_number(options) -> int:
    """Return this process's number among those of the server, from 0 on.

    The first call takes the least free number, which is free again when the process ends.
    """
    global _number_of
    with _changing:
        if _number_of is None or _number_of[0] != os.getpid():
            path = f"{_path(options)}-of-processes"
            _, number = locks.acquire_one(path, range(_MOST_PROCESSES), 0)
            _number_of = os.getpid(), number
        return _number_of[1]


def _take(options, key, index, timeout):
    number = _number(options, key, index)
    try:
        fd = locks.acquire(_path(options), number, timeout)
    except locks.LockTimeout:
        raise
    except OSError as error:
        raise ValueError(f"global lock {number} can't be held: {error}") from error
    with _changing:
        _held.setdefault(number, []).append(fd)


def _number(options, key, index):
    count = _COUNT
    with contextlib.suppress(ValueError):
        count = max(int(options.get(_COUNT_OPTION, "") or _COUNT), 2)
    if not -1 <= index < count:
        raise ValueError(f"there are {count} global locks, so {index} is none")
    if index >= 0:
        return index
    # not hash(), which differs from one process to the next
    hash(key)
    return zlib.crc32(repr(key).encode("utf-8", "surrogateescape")) % (count - 1) + 1


def _path(options) -> str:
    given = options.get(_DIRECTORY_OPTION)
    if given:
        return os.path.join(given, f"mod_python-{_FILE}")
    directory = os.path.join(tempfile.gettempdir(), f"mod_python-{os.geteuid()}")
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, 0o700)
    found = os.lstat(directory)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(f"{directory} is somebody else's")
    return os.path.join(directory, _FILE)
