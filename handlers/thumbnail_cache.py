"""The directory of finished thumbnails, which Apache serves by itself.

::

    <cache>/thumbs/200x200/12345.jpg    at the path that Apache computes from the URL
    <cache>/private/200x200/67.jpg      a private picture's, where Apache does not look
    <cache>/tmp/200x200~12345.jpg       while it is being written
    <cache>/lock                        one byte of it per thumbnail: its maker's lock

A thumbnail appears under its name by rename(2), complete or not at all. The name of a temporary
file follows from the thumbnail's, so what a killed child left is overwritten by the next maker.
"""

import contextlib
import os
from collections.abc import Callable, Iterable

from handlers import locks

FOLDERS = ("thumbs", "private")
EXTENSIONS = ("jpg", "png", "webp")

_MAKER_WAIT = 30.0
# A file younger than this gets a weak ETag from Apache, which would change a moment later.
_SETTLED = 2.0


def purge(directory: str, ids: Iterable[str]) -> int:
    """Remove the thumbnails of *ids* in every size and format; return how many there were.

    What is being made at the moment is waited for, so that an old picture does not come back.

    :raises handlers.locks.LockTimeout: if a maker takes longer than half a minute.
    :raises OSError: if a thumbnail cannot be removed.
    """
    lock = os.path.join(directory, "lock")
    places = [
        (folder, size) for folder in FOLDERS for size in _names_in(os.path.join(directory, folder))
    ]
    gone = 0
    for id in ids:
        for folder, size in places:
            for ext in EXTENSIONS:
                name = f"{size}/{id}.{ext}"
                with locks.held(lock, locks.key_offset(name), _MAKER_WAIT):
                    gone += _unlink(os.path.join(directory, folder, name))
    return gone


class ThumbnailCache:
    """Finished thumbnails below *directory*, shared by all children and threads.

    :param directory: made if need be; must lie on one file system.
    :param folder: ``thumbs``, or ``private`` for those that Apache must not serve by itself.
    """

    def __init__(self, directory: str, folder: str = "thumbs"):
        self.directory = directory
        self._folder = folder

    def path(self, name: str) -> str:
        """Return where the thumbnail *name*, such as ``200x200/12345.jpg``, lies once made."""
        return os.path.join(self.directory, self._folder, name)

    def name(self, path: str) -> str | None:
        """Return the name of the thumbnail that lies at *path*, None for a path elsewhere."""
        above = self.path("")
        return path.removeprefix(above) if path.startswith(above) else None

    def get_or_make(
        self, name: str, make: Callable[[], tuple[bytes, float]], wait: float
    ) -> tuple[str, bool]:
        """Return the path of the thumbnail *name* and whether this call made it.

        However many processes and threads ask at once, one of them calls *make*; the others wait
        for it. Should it fail or be killed, the next of them tries.

        :param make: returns the thumbnail's bytes and the modification time of its source, which
            becomes the thumbnail's: so its validators stay the same when it is made again.
        :param wait: seconds to wait for another maker.
        :raises handlers.locks.LockTimeout: if the other maker took longer than that.
        :raises OSError: if the cache cannot be written; nothing is left under *name*.
        """
        path = self.path(name)
        if os.path.exists(path):
            return path, False
        os.makedirs(os.path.join(self.directory, "tmp"), exist_ok=True)
        lock = os.path.join(self.directory, "lock")
        with locks.held(lock, locks.key_offset(name), wait):
            if os.path.exists(path):
                return path, False
            self._write(name, *make())
        return path, True

    def _write(self, name: str, data: bytes, source_mtime: float) -> None:
        temporary = os.path.join(self.directory, "tmp", name.replace("/", "~"))
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                # or a power cut could leave an empty file under the final name
                os.fdatasync(file.fileno())
                now = os.fstat(file.fileno()).st_mtime
            mtime = min(source_mtime, now - _SETTLED)
            os.utime(temporary, (now, mtime))
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise


def _names_in(directory: str) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return os.listdir(directory)
    return []


def _unlink(path: str) -> bool:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True
