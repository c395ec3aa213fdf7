"""Source pictures: opened strictly below their root, whatever the database says.

Paths come from a table that other programs write. A path that leads out of the root by ``..``, as
an absolute one or by a symbolic link is refused, and nothing but a regular file is opened. The
kernel does the check where it can (openat2(2), RESOLVE_BENEATH); else the path is walked here, one
component at a time, so that no rename by another process can slip a link in between.
"""

import contextlib
import ctypes
import errno
import os
import re
import stat
from collections.abc import Iterator
from typing import BinaryIO

from handlers import access

# openat2(2) has this number on every architecture; glibc has no function for it
_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_BENEATH = 0x08
# O_NONBLOCK: the open of a FIFO returns at once, and fstat tells what it is
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_WALK = os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW
# as many as the kernel itself follows, path_resolution(7)
_LINKS_FOLLOWED = 40
_RACES_TRIED = 8
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")

_libc = ctypes.CDLL(None, use_errno=True)


class SourceRefused(Exception):
    """Raised when a path does not lead to a regular, readable file below the root.

    :ivar path: the path as given.
    :ivar why: the reason, a few words.
    """

    def __init__(self, path: str, why: str):
        super().__init__(f"{path!r}: {why}")
        self.path = path
        self.why = why


class SourceMissing(Exception):
    """Raised when there is no file at the path; ``path`` holds it as given."""

    def __init__(self, path: str):
        super().__init__(f"{path!r}: no such file")
        self.path = path


class RootUnavailable(OSError):
    """Raised when the root cannot be used for now: missing, closed to this user, failing.

    Its arguments are the directory and the reason; ``str()`` names the option as well.
    """

    def __str__(self):
        return f"images.root {self.args[0]}: {self.args[1]}"


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def open_source(root: str, path: str) -> BinaryIO:
    """Open the regular file *path*, relative to the directory *root*, for reading.

    Symbolic links are followed as long as they stay below *root*. The call never blocks on a FIFO
    or a device, and is safe against other processes that rename or link while it runs.

    File names are UTF-8, whatever the locale: Debian starts Apache with ``LANG=C``.

    :param root: the directory that holds every source; it may itself be reached through links.
    :param path: as the database has it, relative to *root* or an absolute path below it: str, bytes
        that are no UTF-8 as surrogate escapes.
    :raises SourceMissing: if there is no such file.
    :raises SourceRefused: if the path leads out of the root, or not to a readable regular file.
    :raises RootUnavailable: if *root* cannot be used, or the machine is out of descriptors.
    """
    name = _checked(root, path)
    root_fd = _open_root(root)
    try:
        fd = _open_beneath(root_fd, name)
        if fd is None:
            fd = _walk_beneath(root_fd, os.path.realpath(_encoded(root)), name)
    except _Outside:
        raise SourceRefused(path, "leads out of the root") from None
    except OSError as error:
        raise _meaning(root, root_fd, path, error) from error
    finally:
        os.close(root_fd)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise SourceRefused(path, "not a regular file")
    return os.fdopen(fd, "rb")


@contextlib.contextmanager
def read(root: str, path: str) -> Iterator[None]:
    """Turn what the system raises while the open source *path* is read into RootUnavailable."""
    try:
        yield
    except OSError as error:
        # without a number it comes from a library, or from a client that has gone
        if error.errno is None or isinstance(error, RootUnavailable):
            raise
        why = error.strerror or str(error)
        raise RootUnavailable(root, f"{path!r} cannot be read: {why}") from error


def check_root(root: str) -> None:
    """Make sure that the directory *root* can be used now.

    :raises RootUnavailable: if it cannot.
    """
    root_fd = _open_root(root)
    try:
        if not _is_open(root_fd):
            raise RootUnavailable(root, f"{access.user()} may not read it")
    finally:
        os.close(root_fd)


def _open_root(root: str) -> int:
    try:
        return os.open(_encoded(root), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise RootUnavailable(root, access.why_unreadable(root, error, "directory")) from error


def _is_open(root_fd: int) -> bool:
    """Tell whether this process may open what lies in the root."""
    return os.access(f"/proc/self/fd/{root_fd}/.", os.X_OK, effective_ids=True)


def _encoded(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def is_empty(root: str) -> bool:
    """Tell whether nothing lies in the directory *root*, as below a mount point without a mount."""
    try:
        with os.scandir(_encoded(root)) as entries:
            return next(entries, None) is None
    except OSError:
        return False


def _checked(root: str, path: str) -> bytes:
    if not path or "\0" in path:
        raise SourceRefused(path, "empty, or with a NUL in it")
    if _URL.match(path):
        raise SourceRefused(path, "a URL")
    if ".." in path.split("/"):
        raise SourceRefused(path, "has a .. part")
    name = path
    if path.startswith("/"):
        name = _relative(root, path)
        if name is None:
            raise SourceRefused(path, "an absolute path that is not below images.root")
    try:
        return _encoded(name)
    except UnicodeEncodeError:
        raise SourceRefused(path, "no file can have this name") from None


def _relative(root: str, path: str) -> str | None:
    """Return the absolute *path* relative to *root*, by either's spelling; None if it is not below.

    This only cuts the text: what it leads to is checked like any other path.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    real = os.path.realpath(_encoded(root)).decode("utf-8", "surrogateescape")
    for above in (os.path.abspath(root), real):
        start = [part for part in above.split("/") if part]
        if parts[: len(start)] == start and len(parts) > len(start):
            return "/".join(parts[len(start) :])
    return None


def _meaning(root: str, root_fd: int, path: str, error: OSError) -> Exception:
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
        if is_empty(root):
            return RootUnavailable(root, "it is empty: is its file system mounted?")
        return SourceMissing(path)
    if error.errno in (errno.EACCES, errno.EPERM):
        if not _is_open(root_fd):
            return RootUnavailable(root, f"{access.user()} may not read it")
        return SourceRefused(path, "permission denied")
    if error.errno == errno.ELOOP:
        return SourceRefused(path, "too many symbolic links")
    if error.errno in (errno.ENXIO, errno.ENODEV, errno.EISDIR):
        return SourceRefused(path, "not a regular file")
    # a disk or a file server that fails, or no descriptor left: not the fault of this one source
    return RootUnavailable(root, error.strerror or str(error))


class _Outside(Exception):
    """Raised inside this module when a walk would leave the root."""


def _open_beneath(root_fd: int, name: bytes) -> int | None:
    """Let the kernel open *name*; None if it cannot decide (no openat2, or an absolute link)."""
    how = _OpenHow(_READ, 0, _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS)
    for _ in range(_RACES_TRIED):
        fd = _libc.syscall(
            ctypes.c_long(_OPENAT2),
            ctypes.c_int(root_fd),
            ctypes.c_char_p(name),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        # EAGAIN: something was renamed during the walk
        if number != errno.EAGAIN:
            break
    # EXDEV also stands for an absolute link, which may well lead to a place below the root;
    # EPERM is what seccomp filters of older containers answer to a call they do not know
    if number in (errno.ENOSYS, errno.EPERM, errno.EXDEV, errno.EAGAIN):
        return None
    raise OSError(number, os.strerror(number))


def _walk_beneath(root_fd: int, root: bytes, name: bytes) -> int:
    """Open *name* component by component, following links by hand and never above *root_fd*."""
    above = [os.dup(root_fd)]
    parts = name.split(b"/")[::-1]
    links = 0
    try:
        while parts:
            part = parts.pop()
            if part in (b"", b"."):
                continue
            if part == b"..":
                if len(above) == 1:
                    raise _Outside
                os.close(above.pop())
                continue
            fd = os.open(part, _WALK, dir_fd=above[-1])
            above.append(fd)
            mode = os.fstat(fd).st_mode
            if stat.S_ISLNK(mode):
                links += 1
                if links > _LINKS_FOLLOWED:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                target = os.readlink(b"", dir_fd=fd)
                os.close(above.pop())
                if target.startswith(b"/"):
                    target = _below(root, target)
                    while len(above) > 1:
                        os.close(above.pop())
                parts.extend(target.split(b"/")[::-1])
            elif not stat.S_ISDIR(mode):
                if parts:
                    raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
                return os.open(part, _READ | os.O_NOFOLLOW, dir_fd=above[-2])
        return os.open(b".", _READ, dir_fd=above[-1])
    finally:
        for fd in above:
            os.close(fd)


def _below(root: bytes, target: bytes) -> bytes:
    """Return the absolute *target* relative to *root*."""
    prefix = root.rstrip(b"/") + b"/"
    if not target.startswith(prefix):
        raise _Outside
    return target[len(prefix) :]
