"""The directory in the cache for what must never have a URL.

Apache serves ``<cache>/thumbs``. Everything else, private thumbnails above all, lies in
``<cache>/handlers-state``, which belongs to Apache's user alone. The server part of the drop-in
denies a directory of this name wherever it lies, so no Alias and no DocumentRoot leads into it.
"""

import os

NAME = "handlers-state"


def path(cache: str, *parts: str) -> str:
    """Return where something of the cache directory *cache* lies that has no URL."""
    return os.path.join(cache, NAME, *parts)


def ensure(cache: str, *parts: str) -> None:
    """Make the directory, and the directories *parts* below it, for this user alone.

    :raises OSError: if that cannot be done.
    """
    # nearly always: a thumbnail that is made asks five times
    if os.path.isdir(path(cache, *parts)):
        return
    os.makedirs(cache, exist_ok=True)
    place = path(cache)
    for part in ("", *parts):
        place = os.path.join(place, part) if part else place
        try:
            os.mkdir(place, 0o700)
        except FileExistsError:
            if not os.path.isdir(place):
                raise


def opener(path: str, flags: int) -> int:
    """Open a file as ``open(..., opener=opener)`` wants it, with mode 0600 if it is new."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
