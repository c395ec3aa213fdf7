"""Decoded pictures that a maker keeps for a moment, for other thumbnails of them.

A visitor who asks for one thumbnail of a picture often wants another size of it soon. The decoded
picture stays here until it was used, until it is too old, or until its memory is needed: the oldest
goes first. It is found by its source's file, so one whose source was replaced is never found.
"""

import os
import time

from handlers.image import memory
from handlers.image.geometry import Geometry
from handlers.image.planning import MOST_KEPT
from handlers.image.thumbnail import Kept
from handlers.maker.job import KEPT_SECONDS

#: What a picture is known by: its file, and the point that crops keep in view.
Key = tuple


def key(fd: int, focus: tuple[float, float] | None) -> Key:
    """Return what the picture in the open file *fd* is known by."""
    found = os.fstat(fd)
    times = found.st_mtime_ns, found.st_ctime_ns
    return (found.st_dev, found.st_ino, found.st_size, *times, focus)


class Pictures:
    """Decoded pictures of one maker, together :data:`MOST_KEPT` bytes at most."""

    def __init__(self):
        # the oldest first
        self._kept: dict[Key, tuple[float, Kept]] = {}

    @property
    def bytes(self) -> int:
        """The bytes of memory that they take."""
        return sum(kept.bytes for _, kept in self._kept.values())

    def keep(self, key: Key, kept: Kept) -> None:
        """Keep a picture, in place of what is known by the same *key*."""
        self._drop(key)
        self.make_room(kept.bytes, MOST_KEPT)
        self._kept[key] = time.monotonic() + KEPT_SECONDS, kept

    def find(self, key: Key, geometry: Geometry) -> Kept | None:
        """Return the picture if a thumbnail of that *geometry* can be made of it, else None."""
        _, kept = self._kept.get(key, (0.0, None))
        return kept if kept is not None and geometry in kept.wanted else None

    def used(self, key: Key, geometry: Geometry) -> None:
        """Drop the picture if no other thumbnail is wanted of it than that of *geometry*."""
        wanted = self._kept[key][1].wanted
        del wanted[geometry]
        if not wanted:
            self._drop(key)

    def make_room(self, wanted: int, limit: int) -> None:
        """Drop pictures until they and *wanted* bytes are together within the *limit*."""
        for oldest in list(self._kept):
            if self.bytes + wanted <= limit:
                break
            self._drop(oldest)

    def left(self) -> float | None:
        """Return the seconds until one is too old, None if there is none; drop those that are."""
        now = time.monotonic()
        for oldest in list(self._kept):
            end = self._kept[oldest][0]
            if end > now:
                return end - now
            self._drop(oldest)
        return None

    def _drop(self, key: Key) -> None:
        _, kept = self._kept.pop(key, (0.0, None))
        if kept is not None:
            size = kept.bytes
            # nobody may hold it any more, or there is nothing to give back
            del kept
            memory.give_back(size)
