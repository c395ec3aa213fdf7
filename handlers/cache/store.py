"""The files of the cache: where they lie, how they appear, how they go.

A file appears under its name by rename(2), complete or not at all. The name of a temporary file
follows from the final one, so what a killed process left is overwritten by the next maker.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from handlers import invalidation, locks, names, state_directory
from handlers.cache import marks
from handlers.cache.marks import EXTENSIONS

log = logging.getLogger(__name__)

# A file younger than this gets a weak ETag from Apache, which would change a moment later. Its
# fraction of a second is a mark: see marks.
_SETTLED_NS = 3 * 10**9
_PURGE_WAIT = 30.0
_BLOCK = 4096

#: Where thumbnails lie: those that Apache serves, and private ones where it does not look.
FOLDERS = ("thumbs", "private")

_coarse: set[str] = set()


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
        """Return the path of a part of the cache: ``thumbs`` or what has no URL."""
        if parts[0].partition("/")[0] == "thumbs":
            return os.path.join(self.directory, *parts)
        return state_directory.path(self.directory, *parts)

    def name(self, path: str) -> str | None:
        """Return the name of the thumbnail that lies at *path*, None for a path elsewhere."""
        above = self.path("")
        return path.removeprefix(above) if path.startswith(above) else None

    def has(self, name: str) -> bool:
        """Tell whether the thumbnail *name* is made."""
        return os.path.exists(self.path(name))

    def sizes(self) -> list[str]:
        """Return the sizes of which there is, or was, a thumbnail."""
        with contextlib.suppress(OSError), os.scandir(self.path("")) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        return []

    def copy_path(self, id: str) -> str:
        """Return where the middle-size copy of the picture *id* lies, if there is one."""
        return self.part("copies", f"{id}.jpg")

    def write_copy(
        self,
        id: str,
        data: bytes,
        source_mtime_ns: int,
        mark: int = 0,
        check: Callable[[], None] | None = None,
    ) -> None:
        """Let the middle-size copy of the picture *id* appear, unless another process is doing so.

        All it does is to save time later: one that cannot be written is done without. Otherwise as
        :meth:`write`.
        """
        with contextlib.suppress(OSError):
            state_directory.ensure(self.directory)
            with locks.held(self.part("lock"), locks.key_offset(f"copies/{id}"), 0):
                self.write(self.copy_path(id), data, source_mtime_ns, mark, check)

    def is_of(self, file: BinaryIO, source_mtime_ns: int, mark: int = 0) -> bool:
        """Tell whether the open copy *file* was written for a source of that time and *mark*."""
        found = os.fstat(file.fileno())
        return found.st_mtime_ns == _mtime_ns(file.name, source_mtime_ns, mark)

    def write(
        self,
        path: str,
        data: bytes,
        source_mtime_ns: int,
        mark: int = 0,
        check: Callable[[], None] | None = None,
    ) -> None:
        """Let the file *path*, a thumbnail or a copy, appear with *data* in it.

        Its modification time becomes that of its source, so that its validators stay the same when
        it is made again; the fraction of the second holds its *mark*, see
        :mod:`handlers.cache.marks`. Two formats of one thumbnail differ in their ETag even if they
        have the same length. Only this user can read copies and private thumbnails.

        :param check: called just before the rename; the file does not appear if it raises.
        :raises OSError: if the cache cannot be written; nothing is left under *path* then.
        """
        is_public = path.startswith(self.part("thumbs", ""))
        name = os.path.relpath(path, self.part("thumbs" if is_public else ""))
        temporary = self.part("tmp", name.replace("/", "~"))
        state_directory.ensure(self.directory, "tmp")
        if is_public:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        else:
            state_directory.ensure(self.directory, *os.path.dirname(name).split("/"))
        opener = None if is_public else state_directory.opener
        try:
            with open(temporary, "wb", opener=opener) as file:
                file.write(data)
                file.flush()
                # or a power cut could leave an empty file under the final name
                os.fdatasync(file.fileno())
                now = os.fstat(file.fileno()).st_mtime_ns
                # a copy has no validators: it may be as far in the future as its source
                is_copy = path.startswith(self.part("copies", ""))
                latest = None if is_copy else now - _SETTLED_NS
                wanted = _mtime_ns(path, source_mtime_ns, mark, latest)
                os.utime(file.fileno(), ns=(now, wanted))
                if os.fstat(file.fileno()).st_mtime_ns != wanted:
                    self._tell_coarse()
            # A child that empties the cache removes the stamp first and moves this directory away
            # next: a file renamed into the open directory after the check is moved away with it.
            into = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                if check is not None:
                    check()
                os.replace(temporary, os.path.basename(path), dst_dir_fd=into)
            finally:
                os.close(into)
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
        state_directory.ensure(self.directory)
        with open(self.part("growth"), "wb", opener=state_directory.opener):
            pass

    def _note_growth(self, length: int) -> None:
        # A byte for each block: who appends needs no lock, and the sum is the file's length.
        with (
            contextlib.suppress(OSError),
            open(self.part("growth"), "ab", buffering=0, opener=state_directory.opener) as file,
        ):
            file.write(bytes(-(-length // _BLOCK)))

    def _tell_coarse(self) -> None:
        if self.directory not in _coarse:
            _coarse.add(self.directory)
            log.warning(
                "thumbnail.cache %s: its file system does not keep nanoseconds, so each round of "
                "the sweep removes all thumbnails: take another file system",
                self.directory,
            )


def purge(directory: str, ids: Iterable[str]) -> int:
    """Hide what is known and made of the pictures *ids* until the database was asked again.

    Every process forgets their rows, see :mod:`handlers.invalidation`, and what was made of them is
    removed as :func:`remove` does it.

    :param directory: of the cache.
    :param ids: as the database has them.
    :returns: how many thumbnails there were.
    :raises OSError: if the cache cannot be written.
    """
    ids = list(ids)
    invalidation.invalidate(directory, ids)
    return remove(directory, map(names.of, ids))


def remove(directory: str, pictures: Iterable[str]) -> int:
    """Delete every size and format of the *pictures*, and what is remembered of them.

    A thumbnail that is being made meanwhile is waited for and deleted, too. Safe beside running
    makers, sweeps and other purges.

    :param directory: of the cache.
    :param pictures: their names, see :mod:`handlers.names`.
    :returns: how many thumbnails there were.
    :raises OSError: if one cannot be deleted.
    """
    state_directory.ensure(directory)
    stores = [(store, store.sizes()) for store in (Store(directory, name) for name in FOLDERS)]
    lock = state_directory.path(directory, "lock")
    count = 0
    for picture in pictures:
        for store, sizes in stores:
            for name in _names(picture, sizes):
                with locks.held(lock, locks.key_offset(name), _PURGE_WAIT):
                    count += _unlink(store.path(name))
                    _unlink(store.part("failures", name.replace("/", "~")))
        _unlink(stores[0][0].copy_path(picture))
        _unlink(state_directory.path(directory, "failures", picture))
    return count


def _names(id: str, sizes: Iterable[str]) -> Iterator[str]:
    return (f"{size}/{id}.{ext}" for size in sizes for ext in EXTENSIONS)


def _unlink(path: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
        return True
    return False


def _mtime_ns(path: str, source_ns: int, mark: int, latest_ns: int | None = None) -> int:
    return marks.mtime_ns(path.rpartition(".")[2], source_ns, mark, latest_ns)
