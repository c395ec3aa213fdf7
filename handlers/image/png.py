"""The header of a PNG file, and the list of its chunks (PNG third edition, section 5)."""

import struct
import zlib
from collections.abc import Iterable
from typing import BinaryIO

from handlers.image import orientation
from handlers.image.errors import BrokenSource, RefusedSource
from handlers.image.excerpt import Excerpt, joined
from handlers.image.limits import Header, Limits

_SIGNATURE = b"\x89PNG\r\n\x1a\n"

#: Chunks that the pixels depend on. Pillow sees no others: no text, no EXIF, no frame of an
#: animation, and no checksum of one that does not matter.
_NEEDED = {b"PLTE", b"tRNS", b"iCCP", b"IDAT", b"IEND"}
#: Pillow inflates a profile up to a mebibyte, though a kilobyte may hold that much.
_PROFILE_BYTES = 1 << 20
_EXIF_BYTES = 1 << 20
#: Files are cut into chunks of 4 or 8 KB by libpng, 64 KB by others; nobody goes below this.
_CHUNK_BYTES = 1024
#: (colour type, is 16 bits deep) -> bytes of a pixel in Pillow's modes L P I;16, RGB LA RGBA.
_PIXEL_BYTES = {(0, False): 1, (0, True): 2, (3, False): 1}
_ROWS_KEPT = 4 * 8
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
#: Deflate blocks that give no pixels take up to 70 ns for each byte of the file. In a picture of
#: up to so many compressed bytes that is half a second; larger ones are looked at first.
_TRUSTED_BYTES = 8 << 20
_PIECE_BYTES = 64 << 10
#: What deflate makes of a piece, at least: stored blocks keep their size.
_LEAST_GAIN = 1 / 4


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
    parts, metadata, turned, clear = 0, 0, 1, False
    place = file.tell()
    places, picture = [(0, place)], []
    while len(chunk := file.read(8)) == 8:
        length, name = int.from_bytes(chunk[:4], "big"), chunk[4:]
        parts += 1
        if name in _NEEDED:
            places.append((place, 12 + length))
        if name == b"IEND":
            break
        if name == b"IDAT":
            picture.append((place + 8, length))
        elif name in _NEEDED:
            clear = clear or name == b"tRNS"
            metadata += _PROFILE_BYTES if name == b"iCCP" else length
        elif name == b"eXIf" and length <= _EXIF_BYTES:
            turned = orientation.read(file.read(length))
        if parts > limits.parts + file_bytes // _CHUNK_BYTES:
            raise RefusedSource("PNG cut into too many chunks")
        if metadata > limits.metadata_bytes:
            raise RefusedSource(f"PNG metadata over metadata_bytes {limits.metadata_bytes}")
        place += 12 + length
        file.seek(place)
    row_bytes = 1 + (width * _SAMPLES.get(colour, 4) * bits + 7) // 8
    _check_deflate(file, picture, row_bytes * height)
    largest = max((length for _, length in picture), default=0)
    pixel_bytes = _PIXEL_BYTES.get((colour, bits == 16), 4)
    # Pillow reads what is left of a chunk at once when the picture needs no more of it
    decoder_bytes = metadata + min(largest, file_bytes) + _ROWS_KEPT * width
    direct = colour in (0, 2) and (colour, bits) != (0, 16) and not clear
    return Header(
        "PNG",
        width,
        height,
        decoder_bytes,
        pixel_bytes,
        turned,
        direct=direct,
        places=tuple(joined(places)),
    )


def _check_deflate(file: BinaryIO, picture: Iterable[tuple[int, int]], pixel_bytes: int) -> None:
    """Refuse a picture whose compressed data goes on and on without giving pixels.

    :param pixel_bytes: what it inflates to, where the decoder stops.
    """
    if sum(length for _, length in picture) <= _TRUSTED_BYTES:
        return
    data, inflating = Excerpt(file, picture), zlib.decompressobj()
    while pixel_bytes > 0 and not inflating.eof and (piece := data.read(_PIECE_BYTES)):
        size, gained = len(piece), 0
        while piece and pixel_bytes > 0:
            try:
                made = len(inflating.decompress(piece, _PIECE_BYTES))
            except zlib.error as error:
                raise BrokenSource(f"PNG: {error}") from error
            gained, pixel_bytes = gained + made, pixel_bytes - made
            piece = inflating.unconsumed_tail
        if pixel_bytes > 0 and not inflating.eof and gained < size * _LEAST_GAIN:
            raise RefusedSource("PNG whose compressed data gives too few pixels")
