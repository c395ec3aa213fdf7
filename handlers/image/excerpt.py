"""A file of which a decoder sees some places only.

Pillow reads everything that a picture's file holds: it joins EXIF blocks, inflates texts, takes
Photoshop's resources apart, in Python and at a cost that grows faster than the file. A thumbnail
needs none of it, so the decoder is given what the pixels depend on and nothing else.
"""

import bisect
import io
import itertools
from collections.abc import Iterable
from typing import BinaryIO


class Excerpt:
    """The *places* of an open *file*, one after the other, as a file for reading.

    The file is read at its own position, so nobody else may read it meanwhile.

    :param places: (offset, length) in bytes, in the order in which they are read.
    """

    def __init__(self, file: BinaryIO, places: Iterable[tuple[int, int]]):
        self._file = file
        self._places = joined(places)
        self._starts = list(itertools.accumulate((size for _, size in self._places), initial=0))
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        """Return up to *size* bytes, all that are left if it is negative."""
        end = self._starts[-1]
        stop = end if size < 0 else min(end, self._at + size)
        pieces = []
        while self._at < stop:
            number = bisect.bisect_right(self._starts, self._at) - 1
            offset, length = self._places[number]
            into = self._at - self._starts[number]
            self._file.seek(offset + into)
            piece = self._file.read(min(length - into, stop - self._at))
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


def joined(places: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return *places* with neighbours made one."""
    found: list[tuple[int, int]] = []
    for offset, length in places:
        if found and sum(found[-1]) == offset:
            found[-1] = found[-1][0], found[-1][1] + length
        else:
            found.append((offset, length))
    return found
