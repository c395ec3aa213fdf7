"""The header of a GIF file (GIF89a specification), and the count of its frames."""

import struct
from typing import BinaryIO, NamedTuple

from handlers.image.errors import BrokenSource, RefusedSource
from handlers.image.limits import Header, Limits

_EXTENSION, _FRAME = b"!", b","
#: The picture in palette colours, and the background under it.
_PIXEL_BYTES = 2


class Animation(NamedTuple):
    """The frames of a GIF file: how many, and the canvas that holds them all, in pixels."""

    frames: int
    width: int
    height: int


def is_signature(start: bytes) -> bool:
    """Tell whether a file that begins with the 16 bytes *start* is a GIF."""
    return start.startswith((b"GIF87a", b"GIF89a"))


def read(file: BinaryIO, file_bytes: int, limits: Limits) -> Header:
    """Return the header of the GIF *file*, up to and with its first frame.

    :raises BrokenSource: if it is damaged, or has no frame.
    :raises RefusedSource: if it has too many blocks before its first frame.
    """
    walk = _Walk(file, limits.parts)
    if not walk.next_frame():
        raise BrokenSource("GIF without a frame")
    if walk.left < 0:
        raise RefusedSource(f"GIF of over {limits.parts} parts before its picture")
    if not walk.width or not walk.height:
        raise BrokenSource("GIF without pixels")
    return Header("GIF", walk.width, walk.height, 0, _PIXEL_BYTES)


def animation(file: BinaryIO, limits: Limits) -> Animation | None:
    """Count the frames of the GIF *file*; None if there are too many, or too many pieces."""
    walk = _Walk(file, limits.parts * 32)
    frames = 0
    while walk.next_frame():
        frames += 1
        walk.skip_blocks()
        if walk.left < 0 or frames > limits.frames:
            return None
    return Animation(frames, walk.width, walk.height)


class _Walk:
    """A walk over the blocks of a GIF file, at most *left* of them."""

    def __init__(self, file: BinaryIO, left: int):
        file.seek(6)
        self._file = file
        self.left = left
        screen = file.read(7)
        if len(screen) < 7:
            raise BrokenSource("GIF ends in its header")
        self.width, self.height, flags = struct.unpack_from("<HHB", screen)
        self._skip_palette(flags)

    def next_frame(self) -> bool:
        """Go to the pixels of the next frame; False at the end of the file, or of the walk."""
        while self.left >= 0:
            kind = self._file.read(1)
            if kind == _EXTENSION:
                self._file.seek(1, 1)
                self.skip_blocks()
            elif kind == _FRAME:
                frame = self._file.read(9)
                if len(frame) < 9:
                    return False
                left, top, width, height, flags = struct.unpack("<HHHHB", frame)
                self.width = max(self.width, left + width)
                self.height = max(self.height, top + height)
                self._skip_palette(flags)
                self._file.seek(1, 1)
                return True
            elif kind in (b"", b";"):
                return False
            self.left -= 1
        return True

    def skip_blocks(self) -> None:
        while self.left >= 0 and (length := self._file.read(1)) not in (b"", b"\0"):
            self._file.seek(length[0], 1)
            self.left -= 1

    def _skip_palette(self, flags: int) -> None:
        if flags & 0x80:
            self._file.seek(3 << ((flags & 7) + 1), 1)
