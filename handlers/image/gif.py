"""The frames of a GIF file (GIF89a specification), each decoded by itself.

Pillow's decoder is given one frame at a time, as a GIF of its own that is as large as the frame.
What lies around a frame is transparent, as browsers show it; Pillow would fill it with the first
colour of the palette. Comments, XMP and other extensions are passed over.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from PIL import GifImagePlugin, Image

from handlers.image.errors import BrokenSource, RefusedSource
from handlers.image.excerpt import Excerpt, Piece
from handlers.image.limits import Header, Limits

_EXTENSION, _FRAME, _END = b"!", b",", b";"
_CONTROL, _APPLICATION = 0xF9, 0xFF
_LOOP = (b"NETSCAPE2.0", b"ANIMEXTS1.0")
#: A frame in palette colours; if it does not fill the canvas, that in RGBA as well.
_PIXEL_BYTES, _CANVAS_BYTES = 1, 4
#: Blocks for each part that a file may have: they hold 255 bytes at most, and XMP half of it.
_BLOCKS = 32
#: What becomes of a frame before the next one is shown: its place is cleared, or as it was before.
_CLEARED, _RESTORED = 2, 3
#: The decoder itself finds where a frame's data ends.
_UNTIL_END = 1 << 40


class Frame(NamedTuple):
    """One frame of a GIF file, and how it is shown on the canvas."""

    left: int
    top: int
    width: int
    height: int
    #: What the decoder is given.
    pieces: tuple[Piece, ...]
    #: Milliseconds.
    duration: int
    #: Whether what is beneath shows through somewhere.
    has_holes: bool
    disposal: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Where it lies on the canvas: left, upper, right, lower."""
        return self.left, self.top, self.left + self.width, self.top + self.height


class Animation(NamedTuple):
    """The frames of a GIF file; *loop* is how often they are shown, 0 for ever."""

    frames: tuple[Frame, ...]
    loop: int


def is_signature(start: bytes) -> bool:
    """Tell whether a file that begins with *start* is a GIF."""
    return start.startswith((b"GIF87a", b"GIF89a"))


def read(file: BinaryIO, file_bytes: int, limits: Limits) -> Header:
    """Return the header of the GIF *file*, up to and with its first frame.

    :raises BrokenSource: if it is damaged, or has no frame.
    :raises RefusedSource: if it has too many blocks before its first frame.
    """
    walk = _Walk(file, limits.parts * _BLOCKS)
    frame = walk.next_frame()
    if walk.left < 0:
        raise RefusedSource(f"GIF of over {limits.parts * _BLOCKS} blocks before its picture")
    if frame is None:
        raise BrokenSource("GIF without a frame")
    if not frame.width or not frame.height:
        raise BrokenSource("GIF without pixels")
    width, height = walk.width, walk.height
    is_whole = frame.box == (0, 0, width, height)
    decoder_bytes = 0 if is_whole else frame.width * frame.height * (_PIXEL_BYTES + _CANVAS_BYTES)
    return Header(
        "GIF",
        width,
        height,
        decoder_bytes,
        _PIXEL_BYTES if is_whole else _CANVAS_BYTES,
        details=frame,
    )


def open_still(file: BinaryIO, header: Header, scale: int) -> Image.Image:
    """Return the first frame of the GIF *file*, on a canvas of the picture's size."""
    frame, size = header.details, (header.width, header.height)
    picture = decoded(file, frame)
    if frame.box == (0, 0, *size):
        return picture
    canvas = Image.new("RGBA", size)
    canvas.paste(picture.convert("RGBA"), frame.box[:2])
    return canvas


def animation(file: BinaryIO, limits: Limits) -> Animation | None:
    """Return the frames of the GIF *file*; None if there are too many, or too many blocks.

    None also if one reaches beyond the canvas of the first.
    """
    walk = _Walk(file, limits.parts * _BLOCKS)
    frames = []
    while (frame := walk.next_frame()) is not None:
        frames.append(frame)
        walk.skip_blocks()
        _, _, right, lower = frame.box
        if walk.left < 0 or len(frames) > limits.frames:
            return None
        if right > walk.width or lower > walk.height:
            return None
    # shown once by itself, and as often again as the file says
    loop = 1 if walk.again is None else walk.again and walk.again + 1
    return Animation(tuple(frames), loop)


def composed(
    file: BinaryIO, frames: tuple[Frame, ...], size: tuple[int, int]
) -> Iterator[Image.Image]:
    """Yield the canvas of *size* as each of the *frames* leaves it; it is one and the same."""
    canvas = Image.new("RGBA", size)
    for frame in frames:
        before = canvas.crop(frame.box) if frame.disposal == _RESTORED else None
        picture = decoded(file, frame).convert("RGBA")
        canvas.paste(picture, frame.box[:2], picture if frame.has_holes else None)
        yield canvas
        if frame.disposal == _CLEARED:
            canvas.paste((0, 0, 0, 0), frame.box)
        elif before is not None:
            canvas.paste(before, frame.box[:2])


def decoded(file: BinaryIO, frame: Frame) -> Image.Image:
    """Return *frame* alone, in the colours of its palette."""
    picture = GifImagePlugin.GifImageFile(Excerpt(file, frame.pieces))
    picture.load()
    if picture.size != (frame.width, frame.height):
        raise BrokenSource("GIF frame of two sizes")
    return picture


class _Walk:
    """A walk over the blocks of a GIF file, at most *left* of them.

    :ivar width, height: of the canvas; a first frame that is larger enlarges it.
    :ivar again: how often the file asks for its frames once more, None if it says nothing.
    """

    def __init__(self, file: BinaryIO, left: int):
        file.seek(6)
        self._file = file
        self.left = left
        screen = file.read(7)
        if len(screen) < 7:
            raise BrokenSource("GIF ends in its header")
        self.width, self.height, flags = struct.unpack_from("<HHB", screen)
        self.again: int | None = None
        self._palette, self._bits = self._read_palette(flags) or b"", flags & 7
        self._is_first = True

    def next_frame(self) -> Frame | None:
        """Go to the pixels of the next frame; None at the end of the file, or of the walk."""
        control = bytes(4)
        while self.left >= 0:
            kind = self._file.read(1)
            if kind == _EXTENSION:
                control = self._extension() or control
            elif kind == _FRAME:
                return self._frame(control)
            elif kind in (b"", _END):
                return None
            self.left -= 1
        return None

    def skip_blocks(self) -> None:
        while self.left >= 0 and (length := self._file.read(1)) not in (b"", b"\0"):
            self._file.seek(length[0], 1)
            self.left -= 1

    def _extension(self) -> bytes | None:
        """Pass over an extension; return what is in it if it is a graphic control."""
        kind, found = self._file.read(2), None
        if len(kind) == 2 and kind[1]:
            first = self._file.read(kind[1])
            if kind[0] == _CONTROL and len(first) >= 4:
                found = first
            elif kind[0] == _APPLICATION and first in _LOOP:
                block = self._file.read(5)
                if block[:2] == b"\3\1" and len(block) == 5:
                    self.again = int.from_bytes(block[2:4], "little")
                self._file.seek(-len(block), 1)
            self.skip_blocks()
        return found

    def _frame(self, control: bytes) -> Frame | None:
        descriptor = self._file.read(9)
        if len(descriptor) < 9:
            return None
        left, top, width, height, flags = struct.unpack("<HHHHB", descriptor)
        if self._is_first:
            self.width = max(self.width, left + width)
            self.height = max(self.height, top + height)
            self._is_first = False
        palette = self._read_palette(flags)
        if palette is None:
            palette, bits = self._palette, self._bits
        else:
            bits = flags & 7
        has_holes, clear = control[0] & 1, control[3]
        size = struct.pack("<HH", width, height)
        screen = b"GIF89a" + size + bytes((0x80 | bits if palette else 0, 0, 0))
        head = b"!\xf9\4" + bytes((has_holes, 0, 0, clear, 0)) + b",\0\0\0\0" + size
        start = self._file.tell()
        self._file.seek(1, 1)
        # only lines in another order are left of its flags
        pieces = (screen + palette + head + bytes((flags & 0x40,)), (start, _UNTIL_END))
        return Frame(
            left,
            top,
            width,
            height,
            pieces,
            int.from_bytes(control[1:3], "little") * 10,
            bool(has_holes),
            control[0] >> 2 & 7,
        )

    def _read_palette(self, flags: int) -> bytes | None:
        return self._file.read(3 << ((flags & 7) + 1)) if flags & 0x80 else None
