"""A receipt in the cache says that it is bound to its settings file, so that few children check.

:mod:`handlers.cache.stamp` binds it, and that takes reading and understanding the settings. The
receipt names the settings file, the stamp and this package's code by what changes with them. As
long as it holds, another check would find the same. It lies in the cache, where Apache's user
alone can write.
"""

import os

_CODE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cache", "stamp.py")
# bytes of a receipt that are read at most
_LONGEST = 8192


def is_claimed(path: str, cache: str) -> bool:
    """Tell whether a process has bound *cache* to the settings file *path* as both are now."""
    try:
        with open(state(cache, "claimed"), "rb") as file:
            return file.read(_LONGEST) == _wanted(cache, path, look(path))
    except OSError:
        return False


def write(path: str, cache: str, seen: str) -> None:
    """Let the children that start later know that *cache* is bound to the settings file *path*.

    :param seen: what :func:`look` returned before the settings file was read.
    :raises OSError: if it cannot be written.
    """
    new = state(cache, f"claimed.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(new, flags, 0o600)
    try:
        os.write(descriptor, _wanted(cache, path, seen))
    finally:
        os.close(descriptor)
    os.replace(new, state(cache, "claimed"))


def look(path: str) -> str:
    """Return what changes with the file *path*.

    :raises OSError: if there is none.
    """
    seen = os.stat(path)
    numbers = seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns
    return ".".join(map(str, numbers))


def state(cache: str, *name: str) -> str:
    """Return a place in the cache, as :func:`handlers.state_directory.path` does."""
    return os.path.join(cache, "handlers-state", *name)


def _wanted(cache: str, path: str, seen: str) -> bytes:
    stamp = state(cache, "stamp")
    return os.fsencode(" ".join((os.path.realpath(path), seen, look(stamp), look(_CODE))))
