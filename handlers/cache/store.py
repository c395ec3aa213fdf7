"""The files of the cache: where they lie, how they appear, how they go.

A file appears under its name by rename(2), complete or not at all. The name of a temporary file
follows from the final one, so what a killed process left is overwritten by the next maker.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from handlers import locks

#: The extensions that thumbnails have, best compressed first.
EXTENSIONS = ("avif", "webp", "jpg", "png")

# A file younger than this gets a weak ETag from Apache, which would change a moment later.
_SETTLED_NS = 2 * 10**9
_PURGE_WAIT = 30.0
_BLOCK = 4096

#: Where thumbnails lie: those that Apache serves, and private ones where it does not look.
FOLDERS = ("thumbs", "private")


class Store:
    """Finished thumbnails below *directory*, shared by all processes and threads.

    :param directory: made if need be; must lie on one file system.
    :param folder: one of FOLDERS.
    """

    def __init__(self, directory: str, folder: str = "thumbs"):
        self.directory = directory
        self._folder = folder

    def path(self, name: str) -> str:
        """Return where the thumbnail *name*, such as ``200x200/12345.jpg``, lies once made."""
        return self.part(self._folder, name)

    def part(self, *parts: str) -> str:
        """Return the path of something else in the cache."""
        return os.path.join(self.directory, *parts)

    def name(self, path: str) -> str | None:
        """Return the name of the thumbnail that lies at *path*, None for a path elsewhere."""
        above = self.path("")
        return path.removeprefix(above) if path.startswith(above) else None

    def has(self, name: str) -> bool:
        """Tell whether the thumbnail *name* is made."""
        return os.path.exists(self.path(name))

    def sizes(self) -> list[str]:
        """Return the sizes of which there is, or was, a thumbnail."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self.path("")) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        return []

    def copy_path(self, id: str) -> str:
        """Return where the middle-size copy of the picture *id* lies, if there is one."""
        return self.part("copies", f"{id}.jpg")

    def write_copy(self, id: str, data: bytes, source_mtime_ns: int) -> None:
        """Let the middle-size copy of the picture *id* appear, unless another process is doing so.

        All it does is to save time later: one that cannot be written is done without.
        """
        lock = self.part("lock")
        with (
            contextlib.suppress(OSError),
            locks.held(lock, locks.key_offset(f"copies/{id}"), 0),
        ):
            self.write(self.copy_path(id), data, source_mtime_ns)

    def is_of(self, file: BinaryIO, source_mtime_ns: int) -> bool:
        """Tell whether the open copy *file* was written for a source of that time."""
        found = os.fstat(file.fileno())
        return found.st_mtime_ns == _mtime_ns(file.name, source_mtime_ns)

    def write(self, path: str, data: bytes, source_mtime_ns: int) -> None:
        """Let the file *path*, a thumbnail or a copy, appear with *data* in it.

        Its modification time becomes that of its source, so that its validators stay the same when
        it is made again. The microseconds differ between the formats of one thumbnail, so that two
        of the same length differ in their ETag.

        :raises OSError: if the cache cannot be written; nothing is left under *path* then.
        """
        name = os.path.relpath(path, self.directory)
        temporary = self.part("tmp", name.removeprefix("thumbs/").replace("/", "~"))
        for directory in (os.path.dirname(temporary), os.path.dirname(path)):
            os.makedirs(directory, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                # or a power cut could leave an empty file under the final name
                os.fdatasync(file.fileno())
                now = os.fstat(file.fileno()).st_mtime_ns
            os.utime(temporary, ns=(now, _mtime_ns(path, min(source_mtime_ns, now - _SETTLED_NS))))
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        self._note_growth(len(data))

    def growth(self) -> int:
        """Return the bytes written since :meth:`forget_growth`, in whole blocks of the disk."""
        with contextlib.suppress(FileNotFoundError):
            return os.stat(self.part("growth")).st_size * _BLOCK
        return 0

    def forget_growth(self) -> None:
        """Begin to count anew."""
        with open(self.part("growth"), "wb"):
            pass

    def _note_growth(self, length: int) -> None:
        # A byte for each block: who appends needs no lock, and the sum is the file's length.
        with contextlib.suppress(OSError), open(self.part("growth"), "ab", buffering=0) as file:
            file.write(bytes(-(-length // _BLOCK)))


def purge(directory: str, ids: Iterable[str]) -> int:
    """Delete every size and format of the pictures *ids*, and what is remembered of them.

    A thumbnail that is being made meanwhile is waited for and deleted, too. Safe beside running
    makers, sweeps and other purges.

    :param directory: of the cache.
    :returns: how many thumbnails there were.
    :raises OSError: if one cannot be deleted.
    """
    stores = [(store, store.sizes()) for store in (Store(directory, name) for name in FOLDERS)]
    lock = os.path.join(directory, "lock")
    count = 0
    for id in ids:
        for store, sizes in stores:
            for name in _names(id, sizes):
                with locks.held(lock, locks.key_offset(name), _PURGE_WAIT):
                    count += _unlink(store.path(name))
                    _unlink(store.part("failures", name.replace("/", "~")))
            _unlink(store.copy_path(id))
    return count


def _names(id: str, sizes: Iterable[str]) -> Iterator[str]:
    return (f"{size}/{id}.{ext}" for size in sizes for ext in EXTENSIONS)


def _unlink(path: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
        return True
    return False


def _mtime_ns(path: str, source_ns: int) -> int:
    ext = path.rpartition(".")[2]
    microseconds = source_ns // 1000
    return (microseconds - microseconds % len(EXTENSIONS) + EXTENSIONS.index(ext)) * 1000
