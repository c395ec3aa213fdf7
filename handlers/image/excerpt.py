"""A file of which a decoder sees some places only.

Pillow reads everything that a picture's file holds: it joins EXIF blocks, inflates texts, takes
Photoshop's resources apart, in Python and at a cost that grows faster than the file, and gives the
picture up for a fault in any of them. A thumbnail needs none of it, so the decoder is given what
the pixels depend on and nothing else.
"""

import bisect
import contextlib
import io
import itertools
import mmap
from collections.abc import Iterable
from typing import BinaryIO

#: (offset, length) of bytes of the file, or other bytes in their place.
Piece = tuple[int, int] | bytes


class Excerpt:
    """The *pieces* of an open *file*, one after the other, as a file for reading.

    The file is read at its own position, so nobody else may read it meanwhile.

    :param pieces: in the order in which they are read.
    """

    def __init__(self, file: BinaryIO, pieces: Iterable[Piece]):
        self._file = file
        self._pieces = joined(pieces)
        self._starts = list(itertools.accumulate(map(_length, self._pieces), initial=0))
        self._at = 0

    @property
    def length(self) -> int:
        """The bytes of all pieces, whether the file has them or not."""
        return self._starts[-1]

    def whole(self) -> mmap.mmap:
        """Return all bytes that the file has, in memory of their own, into which they are read.

        Joining pieces of many megabytes, or filling memory page by page, takes longer than reading.
        """
        end, parts = self._file.seek(0, io.SEEK_END), []
        for piece in self._pieces:
            has = _length(piece) if isinstance(piece, bytes) else max(0, end - piece[0])
            parts.append((piece, min(_length(piece), has)))
            if has < _length(piece):
                break
        size, at = sum(length for _, length in parts), 0
        data = mmap.mmap(-1, max(1, size), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        # not every kernel has large pages
        with contextlib.suppress(OSError):
            data.madvise(mmap.MADV_HUGEPAGE)
        with memoryview(data) as view:
            for piece, length in parts:
                with view[at : at + length] as place:
                    if isinstance(piece, bytes):
                        place[:] = piece
                    else:
                        self._file.seek(piece[0])
                        self._file.readinto(place)
                at += length
        return data

    def read(self, size: int = -1) -> bytes:
        """Return up to *size* bytes, all that are left if it is negative."""
        end = self._starts[-1]
        stop = end if size < 0 else min(end, self._at + size)
        pieces = []
        while self._at < stop:
            number = bisect.bisect_right(self._starts, self._at) - 1
            piece = self._part(number, self._at - self._starts[number], stop - self._at)
            if not piece:
                break
            pieces.append(piece)
            self._at += len(piece)
        return b"".join(pieces)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to *offset*, as :meth:`io.IOBase.seek` does; return it from the start."""
        self._at = max(0, offset + {0: 0, 1: self._at, 2: self._starts[-1]}[whence])
        return self._at

    def tell(self) -> int:
        """Return the position from the start."""
        return self._at

    def _part(self, number: int, into: int, size: int) -> bytes:
        piece = self._pieces[number]
        if isinstance(piece, bytes):
            return piece[into : into + size]
        offset, length = piece
        self._file.seek(offset + into)
        return self._file.read(min(length - into, size))


def joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Return *pieces* with neighbours in the file made one."""
    found: list[Piece] = []
    for piece in pieces:
        last = found[-1] if found else b""
        if isinstance(piece, tuple) and isinstance(last, tuple) and sum(last) == piece[0]:
            found[-1] = last[0], last[1] + piece[1]
        else:
            found.append(piece)
    return found


def _length(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece[1]
