"""EXIF orientation: how a stored picture is turned to be looked at.

The eight values are those of tag 0x0112 in TIFF 6.0 and Exif 2.3. Everything here works on
numbers, so that only the thumbnail is ever turned, never the picture.
"""

import struct

from PIL import Image

_TAG = 0x0112
_SHORT = 3
_ENTRY_BYTES = 12
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}

#: Orientation -> the Pillow operation that sets a stored picture upright (1 needs none).
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read(exif: bytes) -> int:
    """Return the orientation, 1 to 8, that an EXIF block gives; 1 if it gives none that is valid.

    The block begins as a TIFF file does. Only its first directory is read, and each of its
    entries once, whatever the block claims.
    """
    order = _ORDERS.get(exif[:4])
    try:
        if order is None:
            return 1
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (entries,) = struct.unpack_from(order + "H", exif, start)
        for number in range(entries):
            tag, kind, count, value = struct.unpack_from(
                order + "HHIH", exif, start + 2 + number * _ENTRY_BYTES
            )
            if (tag, kind, count) == (_TAG, _SHORT, 1):
                return value if value in UPRIGHT else 1
    except struct.error:
        return 1
    return 1


def swap(size: tuple, orientation: int) -> tuple:
    """Return *size* with its sides changed over if *orientation* lays the picture on its side."""
    return size[::-1] if orientation > 4 else size


def stored_box(
    box: tuple[float, float, float, float], stored: tuple[int, int], orientation: int
) -> tuple[float, float, float, float]:
    """Return where the *box* of an upright picture lies in the picture as it is stored.

    :param stored: (width, height) of the stored picture.
    """
    width, height = stored
    left, upper, right, lower = box
    if orientation > 4:
        left, upper, right, lower = upper, left, lower, right
    if orientation in (2, 3, 7, 8):
        left, right = width - right, width - left
    if orientation in (3, 4, 6, 7):
        upper, lower = height - lower, height - upper
    return left, upper, right, lower
