"""The header of a TIFF file (TIFF 6.0, section 2), and of a BigTIFF file.

Pillow makes Python objects of the numbers in a directory, and of each strip or tile one more, so
they are counted here before it sees them.
"""

import struct
from typing import BinaryIO

from PIL import Image, TiffImagePlugin

from handlers.image.errors import BrokenSource, RefusedSource
from handlers.image.limits import Header, Limits, check_size

_ORDERS = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}
#: Type of a value -> the bytes of each; types that are not here are passed over.
_SIZES = {
    **dict.fromkeys((1, 2, 6, 7), 1),
    **dict.fromkeys((3, 8), 2),
    **dict.fromkeys((4, 9, 11, 13), 4),
    **dict.fromkeys((5, 10, 12, 16, 17, 18), 8),
}
#: A strip may be as large as the picture.
_STRIP_BYTES = 4
_PIXEL_BYTES = 4


def is_signature(start: bytes) -> bool:
    """Tell whether a file that begins with *start* is a TIFF."""
    return start[:4] in _ORDERS


def read(file: BinaryIO, file_bytes: int, limits: Limits) -> Header:
    """Return the header of the TIFF *file*, of its first picture.

    The plugin turns the picture upright by itself.

    :raises BrokenSource: if it is damaged.
    :raises RefusedSource: if it has too many strips, tiles or other numbers, or too much metadata.
    """
    _check_directory(file, limits)
    file.seek(0)
    picture = TiffImagePlugin.TiffImageFile(file)
    width, height = picture.size
    decoder_bytes = width * height * _STRIP_BYTES + file_bytes
    colour = picture.info.get("icc_profile")
    return Header("TIFF", width, height, decoder_bytes, _PIXEL_BYTES, colour=colour)


def open_still(file: BinaryIO, header: Header, scale: int) -> Image.Image:
    """Return the first picture in *file*, decoded when it is loaded."""
    picture = TiffImagePlugin.TiffImageFile(file)
    check_size(header, picture.size)
    return picture


def _check_directory(file: BinaryIO, limits: Limits) -> None:
    file.seek(0)
    start = file.read(16)
    order, is_big = _ORDERS[start[:4]], b"+" in start[:4]
    entry = struct.Struct(order + ("HHQ8x" if is_big else "HHI4x"))
    count_of_entries = struct.Struct(order + ("Q" if is_big else "H"))
    try:
        (place,) = struct.unpack_from(order + ("Q" if is_big else "I"), start, 8 if is_big else 4)
        file.seek(place)
        (entries,) = count_of_entries.unpack(file.read(count_of_entries.size))
        if entries > limits.parts:
            raise RefusedSource(f"TIFF of over {limits.parts} tags")
        metadata = 0
        for _ in range(entries):
            tag, kind, count = entry.unpack(file.read(entry.size))
            size = _SIZES.get(kind, 0)
            metadata += count * size
            if size > 1 and count > limits.parts:
                raise RefusedSource(f"TIFF of over {limits.parts} numbers in its tag {tag}")
    except (struct.error, OverflowError) as error:
        raise BrokenSource("TIFF ends in its directory") from error
    if metadata > limits.metadata_bytes:
        raise RefusedSource(f"TIFF metadata over metadata_bytes {limits.metadata_bytes}")
