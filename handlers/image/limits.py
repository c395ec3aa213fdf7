"""What one thumbnail may cost, decided from the header of its source before anything is decoded.

The cost of a picture is not its file size, nor its number of pixels: 88 megapixels are 11 MB in a
baseline JPEG, which is scaled while it is decoded, and 1.1 GB in a WebP of 34 bytes. So each
format's reader (:mod:`handlers.image.formats`) works out the bytes that its decoder and Pillow
will hold, and :func:`check` compares them with one budget.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from handlers.image.cicp import Bright, Coding
from handlers.image.errors import BrokenSource, RefusedSource, TooCostly
from handlers.image.excerpt import Piece

_MEGABYTE = 1024 * 1024
_LARGEST_SCALE = 8
_POINTER_BYTES = 8


@dataclass(frozen=True)
class Limits:
    """The bounds of one thumbnail; a source over any of them is refused.

    The defaults serve what phones, cameras and screenshots make: baseline JPEG, which is scaled
    while it is decoded, of 200 megapixels and more, anything else of 50. They keep the process that
    makes a thumbnail below 256 MB, whatever the source, and below five seconds of CPU time on a
    machine of 2020.
    """

    #: Bytes of memory that making one thumbnail may take at its peak.
    memory: int = 256 * _MEGABYTE
    #: Bytes of the source file.
    file_bytes: int = 128 * _MEGABYTE
    #: Pixels of the source, of any format.
    pixels: int = 250_000_000
    #: Pixels of a source that has to be decoded whole: all but baseline JPEG. What is sold as 50
    #: megapixels has up to 51.
    whole_pixels: int = 52_000_000
    #: Scans of a JPEG that has more than one: each is a pass over the whole picture.
    scans: int = 64
    #: Scans times pixels of a JPEG that has more scans than programs write. A million takes half a
    #: millisecond, even if nothing is in it.
    scan_pixels: int = 400_000_000
    #: Bytes of the file of such a JPEG: they are decoded at a fifth of the speed of one scan.
    scan_bytes: int = 48 * _MEGABYTE
    #: Pieces a source may consist of before its picture begins: segments, chunks, blocks. They are
    #: walked one by one, in Python.
    parts: int = 4096
    #: Bytes of the tags of a TIFF, which Pillow reads all. Of other formats it sees none.
    metadata_bytes: int = 8 * _MEGABYTE
    #: Frames of an animation that is kept animated; one that has more is served as its first.
    frames: int = 120
    #: Pixels of all frames of such an animation, with those of its thumbnail counted four times,
    #: since it is encoded. A million takes 20 milliseconds.
    frame_pixels: int = 30_000_000
    #: Formats that are decoded at all, in Pillow's names. TIFF may be added.
    formats: tuple[str, ...] = ("JPEG", "PNG", "GIF", "WEBP", "AVIF")


class Header(NamedTuple):
    """What the header of a source says about it, and what decoding it will cost."""

    #: Pillow's name of the format.
    format: str
    #: Pixels, as stored, before any turning by orientation.
    width: int
    height: int
    #: Bytes the decoder holds beside the picture: coefficients, canvases, the file.
    decoder_bytes: int
    #: Bytes of each pixel in the picture that Pillow holds after decoding.
    pixel_bytes: int
    #: EXIF orientation, 1 to 8.
    orientation: int = 1
    #: True if the decoder can leave out all but every 2nd, 4th or 8th row and column.
    scalable: bool = False
    #: True if a smaller decoding is the whole picture stretched; else its last pixel may be a part.
    stretched: bool = False
    #: True if nothing of the picture is kept while it is scaled on the way: a JPEG of one scan.
    streamed: bool = False
    #: True if the decoded picture is scaled as it is, without being converted first.
    direct: bool = False
    #: Frames, where the reader counts them; 1 stands for a still picture and for "not counted".
    frames: int = 1
    #: What the decoder is given of the file, see :mod:`handlers.image.excerpt`; None: all of it.
    pieces: tuple[Piece, ...] | None = None
    #: What the numbers of its pixels mean, for :func:`handlers.image.colour.to_srgb`; None: sRGB.
    colour: bytes | Coding | Bright | None = None
    #: What else the format's own reader has to tell its opener.
    details: object = None
    #: Bytes that decoding it in strips takes, in place of the two above; None: it has to be whole.
    strips_bytes: int | None = None
    #: True if that takes less time, too.
    quick_in_strips: bool = False


def check_file(file_bytes: int, limits: Limits) -> None:
    """Refuse a source for the length of its file.

    :raises RefusedSource: if it is over the limit.
    """
    if file_bytes > limits.file_bytes:
        raise RefusedSource(f"a file of {file_bytes} bytes, over file_bytes {limits.file_bytes}")


def check(header: Header, cost_bytes: int, limits: Limits) -> None:
    """Refuse a source for what its header promises.

    :param cost_bytes: the memory that making the thumbnail will take at its peak.
    :raises RefusedSource: if it is over a limit, as TooCostly if a smaller thumbnail might not be.
    """
    pixels = header.width * header.height
    if pixels > limits.pixels:
        raise RefusedSource(f"{header.format} of {pixels} pixels, over pixels {limits.pixels}")
    if pixels > limits.whole_pixels and not header.streamed:
        raise RefusedSource(
            f"{header.format} of {pixels} pixels to decode whole, "
            f"over whole_pixels {limits.whole_pixels}"
        )
    if cost_bytes > limits.memory:
        least = held_bytes(header, _LARGEST_SCALE if header.scalable else 1) + header.decoder_bytes
        if header.strips_bytes is not None:
            least = min(least, header.strips_bytes)
        kind = RefusedSource if least > limits.memory else TooCostly
        raise kind(
            f"{header.format} of {header.width}x{header.height} would take {cost_bytes} bytes, "
            f"over memory {limits.memory}"
        )


def check_size(header: Header, size: tuple[int, int]) -> None:
    """Raise BrokenSource if a decoder is about to make a picture of another *size* than checked."""
    if size != (header.width, header.height):
        raise BrokenSource(f"{header.format} of two sizes: {size} is not its header's")


def held_bytes(header: Header, scale: int) -> int:
    """Return the bytes of the decoded picture.

    Pillow keeps each row at a multiple of four bytes, and a pointer to it: a picture one pixel wide
    takes twelve times what its pixels do.

    :param scale: 1, or the 2, 4 or 8 by which the decoder leaves out rows and columns.
    """
    row_bytes = math.ceil(math.ceil(header.width / scale) * header.pixel_bytes / 4) * 4
    return math.ceil(header.height / scale) * (row_bytes + _POINTER_BYTES)
