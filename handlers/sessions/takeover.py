"""Sessions that mod_python's own FileSession has left: read once, then stored in the store here.

They lie at ``<directory>/mp_sess/<2 hex>/<sid>``, each a pickle of a dict with ``_data``,
``_created``, ``_accessed`` and ``_timeout``. A pickle can run any code when it is read, and the
usual directory is below /tmp, where anybody may put files. So this is done only for a directory
that was named for it; directories and files must be this user's and closed to others' writes; and
unless classes are allowed by name of the option, nothing but plain values (numbers, text, bytes,
lists, tuples, dicts, sets, None) is unpickled, which cannot run code.
"""

import contextlib
import io
import logging
import os
import pickle
import stat
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from handlers.sessions import directory
from handlers.sessions import sid as sids
from handlers.sessions.store import MAX_SIZE

logger = logging.getLogger(__name__)

# a folder is named by the first digits of the ids in it
_FOLDER = 2
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Taken(NamedTuple):
    """A session as mod_python had it; times in seconds since the epoch, timeout in seconds."""

    values: dict
    created: float
    accessed: float
    timeout: float


class FileSessions:
    """The directory ``mp_sess`` of mod_python's FileSession.

    :param path: the directory itself, ``.../mp_sess``.
    :param classes: unpickle objects of any class, too: only where nobody else has ever been able
        to write to the directory.
    :raises StoreRefused: if others can write to it, or it is another user's.
    :raises StoreUnavailable: if it is not there.
    """

    def __init__(self, path: str, *, classes: bool = False, clock: Callable[[], float] = time.time):
        self.path = directory.private(path, create=False)
        self._classes = classes
        self.clock = clock

    def ids(self) -> Iterator[str]:
        """Yield the ids of all sessions that lie there, whether they can be read or not."""
        with os.scandir(self.path) as folders:
            names = sorted(entry.name for entry in folders if len(entry.name) == _FOLDER)
        for name in names:
            # removed, or no directory
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                yield from filter(sids.valid, os.listdir(f"{self.path}/{name}"))

    def take(self, sid: str) -> Taken | None:
        """Return the session, or None if there is no live one that may be read.

        The file stays until :meth:`remove`, which is to be called when the session has been saved
        in its new place: a child killed between the two takes it over again.
        """
        if not sids.valid(sid):
            return None
        path = self._file(sid)
        try:
            content = self._read(path)
            loads = pickle.loads if self._classes else _loads_plain
            found = content and loads(content)
            taken = found and Taken(*(found[f"_{name}"] for name in ("data", *_TIMES)))
        # the pickle of a class that is gone or has changed raises whatever its code raises
        except Exception as error:
            logger.warning("session of mod_python not taken over: %s: %r", path, error)
            return None
        if not taken or not isinstance(taken.values, dict):
            return None
        return taken if self.clock() - taken.accessed <= taken.timeout else None

    def remove(self, sid: str) -> None:
        """Remove the file of a session that has been taken over."""
        if sids.valid(sid):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._file(sid))

    def _file(self, sid: str) -> str:
        return f"{self.path}/{sid[:2]}/{sid}"

    def _read(self, path: str) -> bytes | None:
        try:
            directory.private(os.path.dirname(path), create=False)
            fd = os.open(path, _READ)
        except (FileNotFoundError, directory.StoreUnavailable):
            return None
        with open(fd, "rb") as file:
            found = os.fstat(fd)
            ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
            if not ours or found.st_mode & 0o022 or found.st_nlink != 1:
                raise PermissionError("others can write to it, or it is not this user's")
            if found.st_size > MAX_SIZE:
                raise ValueError(f"{found.st_size} bytes")
            return file.read()


_TIMES = ("created", "accessed", "timeout")


def _latin1(text: str, encoding: str) -> bytes:
    # how protocol 2 writes bytes
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding}")
    return text.encode("latin-1")


def _no_bytes() -> bytes:
    return b""


# Python 2's name for the module, which protocol 2 still writes, and today's
_BUILTINS = ("__builtin__", "builtins")
_PLAIN = {(module, kind.__name__): kind for module in _BUILTINS for kind in (set, frozenset)}
_PLAIN |= {(module, "bytes"): _no_bytes for module in _BUILTINS}
_PLAIN["_codecs", "encode"] = _latin1


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) not in _PLAIN:
            raise pickle.UnpicklingError(f"{module}.{name} is a class, and none is allowed")
        return _PLAIN[module, name]


def _loads_plain(content: bytes):
    return _PlainUnpickler(io.BytesIO(content)).load()
