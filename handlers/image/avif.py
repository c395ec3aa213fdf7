"""AVIF files, through libavif as Pillow is built with it.

libavif looks at each item of a file for each other one, so the tables of items are counted here
before it sees them (ISO/IEC 14496-12, section 8.11; ISO/IEC 23008-12, section 9.3).
"""

import math
import struct
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from PIL import Image

from handlers.image import cicp
from handlers.image.errors import BrokenSource, RefusedSource
from handlers.image.excerpt import Excerpt, Piece, joined
from handlers.image.limits import Header, Limits, check_size

try:
    from PIL import _avif
except ImportError:
    _avif = None

_STILL, _SEQUENCE = b"avif", b"avis"
#: RGB as libavif makes it and as Pillow gets it, with alpha and without.
_COPIES_BYTES = {False: 6, True: 8}
#: What dav1d keeps of a frame beside its planes.
_BESIDE_BYTES = 1
#: Bytes of a pixel in the picture that Pillow holds.
_PIXEL_BYTES = 4
#: Boxes that hold boxes, and the bytes in them before the first one.
_FIRST_BOX_AT = {b"meta": 4, b"iinf": 6, b"iprp": 0, b"ipco": 0}
#: Boxes that are tables of item numbers, two bytes each or more.
_TABLES = (b"ipma", b"iref", b"grpl")
_NUMBER_BYTES = 2
#: Bytes of a property that is looked at: a colr box may hold a profile.
_PROPERTY_BYTES = 1 << 10


def is_signature(start: bytes) -> bool:
    """Tell whether a file that begins with *start* is an AVIF, by any of its brands."""
    return start[4:8] == b"ftyp" and not {_STILL, _SEQUENCE}.isdisjoint(brands(start))


def brands(start: bytes) -> list[bytes]:
    """Return the brands that a file of ISO/IEC 14496-12 begins with, the major one first."""
    end = int.from_bytes(start[:4], "big")
    return [start[at : at + 4] for at in (8, *range(16, min(end, len(start)), 4))]


def read(file: BinaryIO, file_bytes: int, limits: Limits) -> Header:
    """Return the header of the AVIF *file*, as libavif parses it; no pixel is decoded.

    Of a sequence it is that of its still picture.

    :raises BrokenSource: if it is damaged, a sequence without a still picture, or Pillow was built
        without AVIF.
    :raises RefusedSource: if it has too many items, properties or places of data.
    """
    told = _Told()
    _read_boxes(file, file_bytes, limits, told)
    if not told.has_items:
        raise BrokenSource("AVIF sequence without a still picture")
    pieces = _as_still(file, file_bytes)
    (width, height), _, mode, profile, _, turned, _ = _decoder(file, pieces).get_info()
    pixel_bytes = _BESIDE_BYTES + told.plane_bytes() + _COPIES_BYTES[mode == "RGBA"]
    return Header(
        "AVIF",
        width,
        height,
        math.ceil(width * height * (pixel_bytes - _PIXEL_BYTES)) + file_bytes,
        _PIXEL_BYTES,
        turned,
        pieces=pieces,
        colour=profile or told.colour(),
    )


def open_still(file: BinaryIO, header: Header, scale: int) -> Image.Image:
    """Return the decoded picture in *file*.

    Pillow's plugin keeps the decoder and its planes while it copies the pixels out; here they are
    freed first.

    :raises BrokenSource: if it is damaged, or not what *header* says.
    """
    decoder = _decoder(file, header.pieces)
    size, _, mode, *_ = decoder.get_info()
    check_size(header, size)
    pixels = decoder.get_frame(0)[0]
    del decoder
    return Image.frombuffer(mode, size, pixels, "raw", mode, 0, 1)


class _Told:
    """What the boxes of a file say of its primary picture."""

    def __init__(self):
        self.has_items = False
        #: Bits of a sample, samples for each pixel; the most of all items.
        self._depth, self._samples = 8, 1.0
        self._has_alpha = False
        self._properties: list[tuple[bytes, bytes]] = []
        self._primary, self._own = None, {}

    def take(self, name: bytes, data: bytes) -> None:
        """Take the contents of a box, or their beginning."""
        if name == b"pitm":
            self._primary = int.from_bytes(data[4:], "big")
        elif name == b"ipma":
            self._own |= _associations(data)

    def take_property(self, name: bytes, data: bytes) -> None:
        """Take a property; they are numbered as they come."""
        self._properties.append((name, data))
        if name == b"av1C" and len(data) > 2:
            flags = data[2]
            depth = 8 if not flags & 0x40 else 12 if flags & 0x20 else 10
            samples = (
                1.0 if flags & 0x10 else 1 + 2 / ((1 + (flags >> 3 & 1)) * (1 + (flags >> 2 & 1)))
            )
            self._depth, self._samples = max(self._depth, depth), max(self._samples, samples)
        elif name == b"auxC" and b"alpha" in data:
            self._has_alpha = True

    def plane_bytes(self) -> float:
        """Return the bytes of a pixel as it is decoded."""
        return (self._samples + self._has_alpha) * (1 if self._depth == 8 else 2)

    def colour(self) -> cicp.Coding | cicp.Bright | None:
        """Return what the numbers of the primary picture's colours mean."""
        own = dict(self._of_primary())
        codes, light, display = (own.get(name, b"") for name in (b"colr", b"clli", b"mdcv"))
        if codes[:4] != b"nclx" or len(codes) < 8:
            return None
        peak = int.from_bytes(light[:2], "big") if len(light) >= 4 else 0
        if not peak and len(display) >= 24:
            peak = int.from_bytes(display[16:20], "big") / 10_000
        return cicp.of_codes(*struct.unpack_from(">HH", codes, 4), peak or None)

    def _of_primary(self) -> Iterator[tuple[bytes, bytes]]:
        for number in self._own.get(self._primary, range(1, len(self._properties) + 1)):
            if 0 < number <= len(self._properties):
                name, data = self._properties[number - 1]
                # a profile may stand beside the numbers
                if name != b"colr" or data[:4] == b"nclx":
                    yield name, data


def _associations(data: bytes) -> dict[int, list[int]]:
    """Return item -> the numbers of its properties, from the contents of an ipma box."""
    try:
        wide, long = data[0], data[3] & 1
        (entries,) = struct.unpack_from(">I", data, 4)
        found, at = {}, 8
        for _ in range(entries):
            item, count = struct.unpack_from(">IB" if wide else ">HB", data, at)
            at += 5 if wide else 3
            numbers = struct.unpack_from(f">{count}{'H' if long else 'B'}", data, at)
            at += count * (2 if long else 1)
            found[item] = [number & (0x7FFF if long else 0x7F) for number in numbers]
        return found
    except (IndexError, struct.error):
        raise BrokenSource("AVIF table of properties is too short") from None


def _as_still(file: BinaryIO, file_bytes: int) -> tuple[Piece, ...]:
    """Return the pieces of the file, those of a sequence without what makes it one.

    libavif would decode the first frame of the sequence then, which may have millions of them.
    """
    pieces: list[Piece] = []
    for name, start, _, end in _boxes(file, 0, file_bytes):
        piece: Piece = (start, end - start)
        if name == b"ftyp":
            file.seek(start)
            whole = file.read(end - start)
            if whole[8:12] == _SEQUENCE:
                piece = whole.replace(_SEQUENCE, _STILL)
        elif name == b"moov":
            # places in the file are counted from its start, so its length stays
            pieces += [(start, 4), b"free"]
            piece = (start + 8, end - start - 8)
        pieces.append(piece)
    return tuple(joined(pieces))


def _read_boxes(file: BinaryIO, file_bytes: int, limits: Limits, told: _Told) -> None:
    """Have *told* take what the boxes say, and count the entries of all tables of items."""
    left = limits.parts
    places = [(b"", 0, file_bytes)]
    while places:
        inside, *place = places.pop()
        for name, _, start, end in _boxes(file, *place):
            left -= 1
            told.has_items = told.has_items or name == b"meta"
            if name in _FIRST_BOX_AT:
                places.append((name, start + _FIRST_BOX_AT[name], end))
            elif name in _TABLES:
                left -= (end - start) // _NUMBER_BYTES
            elif name == b"iloc":
                file.seek(start)
                left -= _places(file.read(min(end - start, limits.metadata_bytes)), left)
            if left < 0:
                raise RefusedSource(f"AVIF of over {limits.parts} parts")
            file.seek(start)
            if inside == b"ipco":
                told.take_property(name, file.read(min(end - start, _PROPERTY_BYTES)))
            elif name in (b"pitm", b"ipma"):
                told.take(name, file.read(end - start))


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int, int]]:
    """Yield (name, start, start of its contents, end) of the boxes between two places."""
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
        yield name, start, first, after
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


def _decoder(file: BinaryIO, pieces: Sequence[Piece]):
    if _avif is None:
        raise BrokenSource("AVIF cannot be decoded here")
    # one thread: the server runs as many children as it has work for
    return _avif.AvifDecoder(Excerpt(file, pieces).read(), "auto", 1)
