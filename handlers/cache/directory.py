"""Directories of any length read in small pieces, by processes that may be killed in between.

Python's ``os.scandir`` cannot begin in the middle. The directory stream of the C library can: each
entry comes with a place (``d_off``, readdir(3)) that Linux file systems keep for as long as the
directory lives, so another process can go on from there. Entries that come or go meanwhile may or
may not be seen; all others are seen once.
"""

import contextlib
import ctypes
import os
import struct
from typing import NamedTuple

# struct dirent of 64-bit Linux: d_ino, d_off, d_reclen, d_type, then the name
_HEAD = struct.Struct("QqHB")
_NAME_AT = 19
_IS_DIRECTORY = 4

_libc = ctypes.CDLL(None, use_errno=True)
_libc.opendir.argtypes, _libc.opendir.restype = (ctypes.c_char_p,), ctypes.c_void_p
_libc.readdir.argtypes, _libc.readdir.restype = (ctypes.c_void_p,), ctypes.c_void_p
_libc.seekdir.argtypes, _libc.seekdir.restype = (ctypes.c_void_p, ctypes.c_long), None
_libc.closedir.argtypes, _libc.closedir.restype = (ctypes.c_void_p,), ctypes.c_int


class Piece(NamedTuple):
    """The names of some files, and where the next piece begins; None after the last one."""

    names: list[str]
    next: int | None


def read(path: str, place: int, count: int) -> Piece:
    """Return up to *count* entries of the directory *path* that are no directories.

    :param place: 0 for the beginning, or ``next`` of the piece before.
    :raises OSError: if it cannot be opened.
    """
    with _opened(path) as stream:
        if place:
            _libc.seekdir(stream, place)
        names = []
        for _ in range(count):
            entry = _libc.readdir(stream)
            if not entry:
                return Piece(names, None)
            _, place, _, kind = _HEAD.unpack(ctypes.string_at(entry, _HEAD.size))
            if kind != _IS_DIRECTORY:
                names.append(os.fsdecode(ctypes.string_at(entry + _NAME_AT)))
        return Piece(names, place)


@contextlib.contextmanager
def _opened(path: str):
    stream = _libc.opendir(os.fsencode(path))
    if not stream:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    try:
        yield stream
    finally:
        _libc.closedir(stream)
