"""The header of a PNG file, and the list of its chunks (PNG third edition, section 5)."""

import struct
from typing import BinaryIO

from handlers.image import orientation
from handlers.image.errors import BrokenSource, RefusedSource
from handlers.image.limits import Header, Limits

_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_PICTURE = {b"IDAT", b"fdAT", b"fcTL"}
#: Chunks that Pillow inflates, up to a mebibyte each, though a kilobyte may hold that much.
_INFLATED = {b"zTXt", b"iTXt", b"iCCP"}
_INFLATED_BYTES = 1 << 20
_EXIF_BYTES = 1 << 20
#: Files are cut into chunks of 4 or 8 KB by libpng, 64 KB by others; nobody goes below this.
_CHUNK_BYTES = 1024
#: (colour type, is 16 bits deep) -> bytes of a pixel in Pillow's modes L P I;16, RGB LA RGBA.
_PIXEL_BYTES = {(0, False): 1, (0, True): 2, (3, False): 1}
_ROWS_KEPT = 4 * 8


def is_signature(start: bytes) -> bool:
    """Tell whether a file that begins with the 16 bytes *start* is a PNG."""
    return start.startswith(_SIGNATURE)


def read(file: BinaryIO, file_bytes: int, limits: Limits) -> Header:
    """Return the header of the PNG *file*; of an animated one, that of its still picture.

    All chunks are visited, since Pillow reads those after the picture, too.

    :raises BrokenSource: if it is damaged.
    :raises RefusedSource: if it has too many chunks, or too much metadata.
    """
    file.seek(len(_SIGNATURE))
    first = file.read(21)
    if len(first) < 21 or first[:8] != b"\0\0\0\rIHDR":
        raise BrokenSource("PNG without a header")
    width, height, bits, colour = struct.unpack_from(">IIBB", first, 8)
    if not width or not height:
        raise BrokenSource("PNG without pixels")
    file.seek(4, 1)
    parts, metadata, largest, turned, clear = 0, 0, 0, 1, False
    place = file.tell()
    while len(chunk := file.read(8)) == 8:
        length, name = int.from_bytes(chunk[:4], "big"), chunk[4:]
        if name == b"IEND":
            break
        parts += 1
        if name in _PICTURE:
            largest = max(largest, length)
        else:
            clear = clear or name == b"tRNS"
            metadata += _INFLATED_BYTES if name in _INFLATED else length
        if name == b"eXIf" and length <= _EXIF_BYTES:
            turned = orientation.read(file.read(length))
        if parts > limits.parts + file_bytes // _CHUNK_BYTES:
            raise RefusedSource("PNG cut into too many chunks")
        if metadata > limits.metadata_bytes:
            raise RefusedSource(f"PNG metadata over metadata_bytes {limits.metadata_bytes}")
        place += 12 + length
        file.seek(place)
    pixel_bytes = _PIXEL_BYTES.get((colour, bits == 16), 4)
    # Pillow reads what is left of a chunk at once when the picture needs no more of it
    decoder_bytes = metadata + min(largest, file_bytes) + _ROWS_KEPT * width
    direct = colour in (0, 2) and (colour, bits) != (0, 16) and not clear
    return Header("PNG", width, height, decoder_bytes, pixel_bytes, turned, direct=direct)
