"""File information in the form of the Apache Portable Runtime: apache.stat and req.finfo."""

import os
import stat as modes

from .constants import (
    APR_BLK,
    APR_CHR,
    APR_DIR,
    APR_FINFO_LINK,
    APR_FINFO_NLINK,
    APR_FINFO_NORM,
    APR_LNK,
    APR_NOFILE,
    APR_PIPE,
    APR_REG,
    APR_SOCK,
    APR_UNKFILE,
)

_FILETYPES = {
    modes.S_IFREG: APR_REG,
    modes.S_IFDIR: APR_DIR,
    modes.S_IFCHR: APR_CHR,
    modes.S_IFBLK: APR_BLK,
    modes.S_IFIFO: APR_PIPE,
    modes.S_IFLNK: APR_LNK,
    modes.S_IFSOCK: APR_SOCK,
}
# the order of the FINFO_* constants
_TUPLE_ORDER = (
    *("protection", "inode", "device", "nlink", "user", "group", "size"),
    *("atime", "mtime", "ctime", "fname", "name", "filetype"),
)
_REPR_ORDER = (
    *("fname", "filetype", "valid", "protection", "user", "group", "size"),
    *("inode", "device", "nlink", "atime", "mtime", "ctime", "name"),
)


class FileInfo:
    """What stat(2) says of a file; also indexed by the ``FINFO_*`` constants.

    :ivar fname: the path as it was given.
    :ivar filetype: one of ``APR_REG``, ``APR_DIR`` ...; ``APR_NOFILE`` if there is no file, and all
        other members are then None, as in mod_python.
    :ivar protection: permissions in APR's form, one hexadecimal digit for each octal digit of the
        mode: mode 0644 is 0x644.
    :ivar size: bytes.
    :ivar mtime: and ``atime``, ``ctime``: whole seconds since 1970.
    """

    __slots__ = (*_REPR_ORDER, "_mtime_ns")

    def __init__(self, fname: str | None, found: os.stat_result | None):
        self.fname = fname
        self.name = None
        if found is None:
            self.filetype = APR_NOFILE
            for member in _REPR_ORDER[2:-1]:
                setattr(self, member, None)
            self._mtime_ns = None
            return
        self.filetype = _FILETYPES.get(modes.S_IFMT(found.st_mode), APR_UNKFILE)
        self.valid = APR_FINFO_NORM | APR_FINFO_NLINK
        self.protection = _protection(found.st_mode)
        self.user = found.st_uid
        self.group = found.st_gid
        self.size = found.st_size
        self.inode = found.st_ino
        self.device = found.st_dev
        self.nlink = found.st_nlink
        self.atime = int(found.st_atime)
        self.mtime = int(found.st_mtime)
        self.ctime = int(found.st_ctime)
        self._mtime_ns = found.st_mtime_ns

    @classmethod
    def of_apache(cls, told: dict) -> "FileInfo":
        """Return one of the members of an ``apr_finfo_t``, whose times are microseconds."""
        found = cls(told["fname"], None)
        for member in _REPR_ORDER:
            setattr(found, member, told[member])
        for member in ("atime", "mtime", "ctime"):
            setattr(found, member, told[member] // 1_000_000)
        found._mtime_ns = told["mtime"] * 1000
        return found

    def __getitem__(self, place: int):
        if not 0 <= place < len(_TUPLE_ORDER):
            raise IndexError("finfo index out of range")
        return getattr(self, _TUPLE_ORDER[place])

    def __repr__(self):
        return repr({member: getattr(self, member) for member in _REPR_ORDER})


def stat(fname: str, wanted: int) -> FileInfo:
    """Return the :class:`FileInfo` of *fname*; its filetype is ``APR_NOFILE`` if it is missing.

    :param wanted: ``APR_FINFO_*`` bits; all fields are filled in any case. ``APR_FINFO_LINK`` looks
        at a symbolic link itself.
    :raises OSError: for any failure but a missing file, for instance ENOTDIR or EACCES.
    """
    if not isinstance(fname, str):
        raise TypeError(f"argument 1 must be str, not {type(fname).__name__}")
    try:
        found = os.lstat(fname) if wanted & APR_FINFO_LINK else os.stat(fname)
    except FileNotFoundError:
        return FileInfo(None, None)
    return FileInfo(fname, found)


def stat_or_nothing(fname: str) -> FileInfo:
    """Return the :class:`FileInfo` of *fname*, with ``APR_NOFILE`` if it cannot be had at all."""
    try:
        return FileInfo(fname, os.stat(fname))
    except (OSError, ValueError):
        return FileInfo(fname, None)


def mtime_ns(finfo: FileInfo) -> int:
    """Return the modification time in nanoseconds of a file that exists."""
    return finfo._mtime_ns


def _protection(mode: int) -> int:
    permissions = (mode & 0o700) << 2 | (mode & 0o070) << 1 | mode & 0o007
    special = (mode & (modes.S_ISUID | modes.S_ISGID | modes.S_ISVTX)) << 4
    return special | permissions
