"""AVIF files, through libavif as Pillow is built with it.

libavif looks at each item of a file for each other one, so the tables of items are counted here
before it sees them (ISO/IEC 14496-12, section 8.11; ISO/IEC 23008-12, section 9.3).
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

from PIL import Image

from handlers.image.errors import BrokenSource, RefusedSource
from handlers.image.limits import Header, Limits, check_size

try:
    from PIL import _avif
except ImportError:
    _avif = None

# not avis, a sequence: that may declare millions of frames in a few bytes
_BRAND = b"avif"
#: Planes of 10 bits without subsampling, with alpha, and libavif's RGBA beside them.
_BESIDE_BYTES = 10
_PIXEL_BYTES = 4
#: Boxes that hold boxes, and the bytes in them before the first one.
_FIRST_BOX_AT = {b"meta": 4, b"iinf": 6, b"iprp": 0, b"ipco": 0}
#: Boxes that are tables of item numbers, two bytes each or more.
_TABLES = (b"ipma", b"iref", b"grpl")
_NUMBER_BYTES = 2


def is_signature(start: bytes) -> bool:
    """Tell whether a file that begins with the 16 bytes *start* is an AVIF still picture."""
    return start[4:8] == b"ftyp" and start[8:12] == _BRAND


def read(file: BinaryIO, file_bytes: int, limits: Limits) -> Header:
    """Return the header of the AVIF *file*, as libavif parses it; no pixel is decoded.

    :raises BrokenSource: if it is damaged, or Pillow was built without AVIF.
    :raises RefusedSource: if it has too many items, properties or places of data.
    """
    _check_tables(file, file_bytes, limits)
    (width, height), _, _, _, _, turned, _ = _decoder(file).get_info()
    decoder_bytes = width * height * _BESIDE_BYTES + file_bytes
    return Header("AVIF", width, height, decoder_bytes, _PIXEL_BYTES, turned)


def open_still(file: BinaryIO, header: Header) -> Image.Image:
    """Return the decoded picture in *file*.

    Pillow's plugin keeps the decoder and its planes while it copies the pixels out; here they are
    freed first.

    :raises BrokenSource: if it is damaged, or not what *header* says.
    """
    decoder = _decoder(file)
    size, _, mode, profile, _, _, _ = decoder.get_info()
    check_size(header, size)
    pixels = decoder.get_frame(0)[0]
    del decoder
    picture = Image.frombuffer(mode, size, pixels, "raw", mode, 0, 1)
    if profile:
        picture.info["icc_profile"] = profile
    return picture


def _check_tables(file: BinaryIO, file_bytes: int, limits: Limits) -> None:
    """Count the entries of all tables of items, up to the limit on parts."""
    left = limits.parts
    places = [(0, file_bytes)]
    while places:
        for name, start, end in _boxes(file, *places.pop()):
            left -= 1
            if name in _FIRST_BOX_AT:
                places.append((start + _FIRST_BOX_AT[name], end))
            elif name in _TABLES:
                left -= (end - start) // _NUMBER_BYTES
            elif name == b"iloc":
                file.seek(start)
                left -= _places(file.read(min(end - start, limits.metadata_bytes)), left)
            if left < 0:
                raise RefusedSource(f"AVIF of over {limits.parts} parts")


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, start of its contents, end) of the boxes between two places of the file."""
    while start + 8 <= end:
        file.seek(start)
        head = file.read(16)
        size, name, first = int.from_bytes(head[:4], "big"), head[4:8], start + 8
        if size == 1:
            size, first = int.from_bytes(head[8:], "big"), start + 16
        # zero: to the end
        after = min(end, start + size) if size else end
        if after < first:
            raise BrokenSource("AVIF box without a length")
        yield name, first, after
        start = after


def _places(iloc: bytes, most: int) -> int:
    """Return how many items and places of data the table *iloc* has; more than *most* if over it.

    A place may take no bytes at all, so their number says nothing about that of the bytes.
    """
    try:
        version, sizes = iloc[0], int.from_bytes(iloc[4:6], "big")
        at = 8 if version < 2 else 10
        items = int.from_bytes(iloc[6:at], "big")
        offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
        place_bytes = offset + length + (index if version else 0)
        # number, construction method, data reference, base
        head_bytes = (2 if version < 2 else 4) + (2 if version else 0) + 2 + base
        count = items
        for _ in range(items):
            (places,) = struct.unpack_from(">H", iloc, at + head_bytes)
            count += places
            if count > most:
                break
            at += head_bytes + 2 + places * place_bytes
        return count
    except (IndexError, struct.error):
        raise BrokenSource("AVIF table of places is too short") from None


def _decoder(file: BinaryIO):
    if _avif is None:
        raise BrokenSource("AVIF cannot be decoded here")
    file.seek(0)
    # one thread: the server runs as many children as it has work for
    return _avif.AvifDecoder(file.read(), "auto", 1)
