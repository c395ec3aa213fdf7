"""What one thumbnail may cost, decided from the header of its source before anything is decoded.

The cost of a picture is not its file size, nor its number of pixels: 88 megapixels are 11 MB in a
baseline JPEG, which is scaled while it is decoded, and 1.1 GB in a WebP of 34 bytes. So each
format's reader (:mod:`handlers.image.formats`) works out the bytes that its decoder and Pillow
will hold, and :func:`check` compares them with one budget.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from handlers.image.errors import BrokenSource, RefusedSource, TooCostly

_MEGABYTE = 1024 * 1024
_LARGEST_SCALE = 8
_POINTER_BYTES = 8


@dataclass(frozen=True)
class Limits:
    """The bounds of one thumbnail; a source over any of them is refused.

    The defaults keep a child that starts at 40 MB below 96 MB, and below one second of CPU time
    on a machine of 2020, whatever the source. They serve baseline JPEG up to :attr:`pixels`,
    progressive JPEG of 17 megapixels, RGB and RGBA PNG of 12, lossy WebP of 4.
    """

    #: Bytes of memory that making one thumbnail may take at its peak.
    memory: int = 52 * _MEGABYTE
    #: Bytes of the source file.
    file_bytes: int = 50 * _MEGABYTE
    #: Pixels of the source, of any format; most formats are stopped by :attr:`memory` before.
    pixels: int = 250_000_000
    #: Scans of a JPEG that has more than one: each is a pass over the whole picture.
    scans: int = 64
    #: Scans times pixels of such a JPEG. Twelve megapixels in the customary ten scans are 120
    #: million; each million takes half a millisecond, even if nothing is in it.
    scan_pixels: int = 400_000_000
    #: Bytes of the file of such a JPEG: they are decoded at a fifth of the speed of one scan.
    scan_bytes: int = 16 * _MEGABYTE
    #: Pieces a source may consist of before its picture begins: segments, chunks, blocks.
    #: Decoders walk them one by one, and Pillow does so in Python.
    parts: int = 4096
    #: Bytes of everything in the source that is not picture: EXIF, XMP, profiles, comments.
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
    #: True if the decoded picture is scaled as it is, without being converted first.
    direct: bool = False
    #: Frames, where the reader counts them; 1 stands for a still picture and for "not counted".
    frames: int = 1
    #: (offset, length) of what the decoder needs of the file; None for all of it.
    places: tuple[tuple[int, int], ...] | None = None


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
    if cost_bytes > limits.memory:
        least = held_bytes(header, _LARGEST_SCALE if header.scalable else 1) + header.decoder_bytes
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
