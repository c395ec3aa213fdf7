"""The header of a JPEG file (ITU-T T.81, annex B), its scans, and its end.

The decoder is given tables, frame and scans, and JFIF's and Adobe's segments, by which it tells how
colours are coded. A profile and the orientation are read here; of all else it sees nothing.
"""

import math
import os
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

from PIL import Image, JpegImagePlugin

from handlers.image import orientation
from handlers.image.colour import LARGEST_PROFILE, is_profile
from handlers.image.errors import BrokenSource, RefusedSource
from handlers.image.excerpt import Excerpt, Piece
from handlers.image.limits import Header, Limits, check_size

_EOI = b"\xff\xd9"
_SOS, _APP0, _APP1, _APP2, _APP14, _END = 0xDA, 0xE0, 0xE1, 0xE2, 0xEE, 0xD9
#: Sequential and progressive Huffman frames; browsers show no other kind.
_FRAMES = {0xC0, 0xC1, 0xC2}
_PROGRESSIVE = 0xC2
_TABLES = {0xC4, 0xDB, 0xDD}
#: Segments that decoders pass over: arithmetic conditioning, DNL, APPn, comment.
_PASSED_OVER = {0xCC, 0xDC, 0xFE, *range(0xE0, 0xF0)}
#: Markers without a segment that decoders pass over: TEM, RSTn.
_ALONE = {0x01, *range(0xD0, 0xD8)}
#: Segments by which the decoder tells how colours are coded, how they begin, and their least
#: length; it passes over shorter ones, on which Pillow would give up.
_CODING = {_APP0: (b"JFIF\0", 14), _APP14: (b"Adobe", 12)}
_PROFILE = b"ICC_PROFILE\0"
#: Browsers believe the first Exif block of this length or more.
_EXIF, _EXIF_LEAST = b"Exif\0", 14
_BLOCK = 8
_BLOCK_BYTES = 64 * 2
#: Rows of the picture that the decoder keeps while it scales and converts them.
_ROWS_KEPT = 64
_PIECE = 1 << 16
_BAND = 64
#: A file that ends in this many zeros or more is taken for one that is not whole yet.
_ZEROS = 16
#: Bytes between segments that are none; cameras fill up to a few kilobytes.
_MOST_FILLING = 1 << 20
#: Scans that programs write for one picture.
_ORDINARY_SCANS = 16
_MARKER = re.compile(rb"\xff([^\x00\xff])", re.DOTALL)
#: What comes after the entropy-coded data of a scan: a marker that is no byte of it, nor RSTn.
_AFTER_SCAN = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])", re.DOTALL)
#: What the data might have gone on with; without a byte of 255, which begins a marker.
_ANYTHING = bytes((number * 167 + (number >> 3) * 91) % 255 for number in range(2048))


class _Frame(NamedTuple):
    is_progressive: bool
    width: int
    height: int
    #: Component's number -> how often it is sampled across and down.
    samplings: dict[int, tuple[int, int]]


def is_signature(start: bytes) -> bool:
    """Tell whether a file that begins with *start* is a JPEG."""
    return start.startswith(b"\xff\xd8\xff")


def read(file: BinaryIO, file_bytes: int, limits: Limits) -> Header:
    """Return the header of the JPEG *file*.

    The cost follows from how it is coded. One scan that interleaves all components is decoded row
    by row, and scaled on the way. Several scans, which every progressive file has but sequential
    ones may have too, are gathered as coefficients of the whole picture first: 3 bytes for each
    pixel with 4:2:0 sampling, 6 with 4:4:4.

    :raises BrokenSource: if it is damaged, or lossless, hierarchical or arithmetic-coded.
    :raises RefusedSource: if it has too many scans or segments.
    """
    frame, turned, profile = None, None, _Profile()
    pieces: list[Piece] = [(0, 2)]
    for marker, start, length in _segments(file, 2, limits):
        if marker in _FRAMES and frame is None:
            frame = _frame(marker, file.read(length))
        elif marker == _SOS and frame is not None:
            break
        elif marker in _PASSED_OVER:
            if marker == _APP1 and turned is None and length >= _EXIF_LEAST:
                block = file.read(length)
                turned = orientation.read(block[6:]) if block.startswith(_EXIF) else None
            elif marker == _APP2:
                profile.add(file.read(length))
            if not _tells_coding(file, marker, start, length):
                continue
        elif marker not in _TABLES:
            raise BrokenSource(f"JPEG of an unknown kind: marker {marker:#x}")
        pieces.append((start, length + 4))
    width, height, samplings = frame.width, frame.height, frame.samplings
    decoder_bytes = width * _ROWS_KEPT * len(samplings)
    is_streamed = not frame.is_progressive and file.read(1) == bytes((len(samplings),))
    if is_streamed:
        # where its data ends is looked for only if the decoder does not find it
        pieces.append((start, file_bytes - start))
    else:
        pieces += _scans(file, start, frame, limits)
        decoder_bytes += _coefficient_bytes(frame)
    return Header(
        "JPEG",
        width,
        height,
        decoder_bytes,
        1 if len(samplings) == 1 else 4,
        turned or 1,
        scalable=True,
        streamed=is_streamed,
        direct=True,
        pieces=tuple(pieces),
        colour=profile.whole(),
    )


def open_still(file: BinaryIO, header: Header, scale: int) -> Image.Image:
    """Return the decoded picture in *file*, every *scale*-th row and column of it.

    A file that is whole but for its end, as cameras and panorama programs leave it, is decoded as
    others are.

    :raises BrokenSource: if it is damaged, lacks rows, or is not what *header* says.
    """
    pieces = header.pieces
    if pieces[-1] == _EOI:
        return _decoded(file, header, pieces, scale)
    if header.streamed:
        fault = None
        try:
            if not _ends_in_zeros(file):
                return _decoded(file, header, pieces, scale)
        except OSError as error:
            # with a number it is the storage that fails
            if error.errno is not None:
                raise
            fault = error
        start, length = pieces[-1]
        file.seek(start + 2)
        data = start + 2 + int.from_bytes(file.read(2), "big")
        end, marker = _data_end(file, data, start + length)
        if marker == _END:
            if fault is not None:
                raise fault
            return _decoded(file, header, pieces, scale)
        pieces = (*pieces[:-1], (start, end - start))
    # Whatever is missing is decoded from what is put behind the data, so the picture is whole if
    # that makes no difference.
    other = _fingerprint(_decoded(file, header, (*pieces, _ANYTHING, _EOI), scale))
    picture = _decoded(file, header, (*pieces, _EOI), scale)
    if _fingerprint(picture) != other:
        raise BrokenSource("JPEG ends before its last row")
    return picture


def _decoded(file: BinaryIO, header: Header, pieces: Sequence[Piece], scale: int) -> Image.Image:
    picture = JpegImagePlugin.JpegImageFile(Excerpt(file, pieces))
    check_size(header, picture.size)
    if scale > 1:
        picture.draft(None, (max(1, header.width // scale), max(1, header.height // scale)))
    picture.load()
    return picture


def _fingerprint(picture: Image.Image) -> int:
    found = 0
    for top in range(0, picture.height, _BAND):
        band = picture.crop((0, top, picture.width, min(top + _BAND, picture.height)))
        found = zlib.crc32(band.tobytes(), found)
    return found


class _Profile:
    """The profile that APP2 segments hold in pieces (ICC.1:2022, annex B.4)."""

    def __init__(self):
        self._pieces: dict[int, bytes] = {}
        self._count = 0
        self._left = LARGEST_PROFILE

    def add(self, segment: bytes) -> None:
        """Take the *segment* if it is a piece of the profile."""
        at = len(_PROFILE)
        if not segment.startswith(_PROFILE) or len(segment) <= at + 2:
            return
        number, count, data = segment[at], segment[at + 1], segment[at + 2 :]
        self._count = self._count or count
        self._left -= len(data)
        if 1 <= number <= count == self._count and self._left >= 0:
            self._pieces.setdefault(number, data)

    def whole(self) -> bytes | None:
        """Return the profile, None if there is none, or a piece is missing."""
        if not self._pieces or len(self._pieces) < self._count:
            return None
        profile = b"".join(data for _, data in sorted(self._pieces.items()))
        return profile if is_profile(profile) else None


def _segments(file: BinaryIO, place: int, limits: Limits) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, its offset, bytes behind its length), the file being read from there on.

    What is no segment is passed over, as decoders do.
    """
    filling = 0
    for _ in range(limits.parts):
        marker, start = _marker(file, place)
        filling += start - place
        if filling > _MOST_FILLING:
            raise RefusedSource(f"JPEG with over {_MOST_FILLING} bytes between its segments")
        place = start + 2
        if marker in _ALONE:
            continue
        file.seek(place)
        field = file.read(2)
        if len(field) < 2 or field < b"\0\2":
            raise BrokenSource("JPEG segment without a length")
        length = int.from_bytes(field, "big") - 2
        yield marker, start, length
        place += length + 2
    raise RefusedSource(f"JPEG of over {limits.parts} parts")


def _marker(file: BinaryIO, place: int) -> tuple[int, int]:
    """Return the next marker from *place* on, and the offset of its two bytes."""
    file.seek(place)
    last = b""
    while piece := file.read(_PIECE if last else 2):
        if found := _MARKER.search(last + piece):
            return found[1][0], place - len(last) + found.end() - 2
        place += len(piece)
        last = (last + piece)[-1:]
    raise BrokenSource("JPEG ends in its header")


def _tells_coding(file: BinaryIO, marker: int, start: int, length: int) -> bool:
    begins, least = _CODING.get(marker, (b"", 0))
    if not begins or length < least:
        return False
    file.seek(start + 4)
    return file.read(len(begins)) == begins


def _frame(marker: int, segment: bytes) -> _Frame:
    try:
        bits, height, width, components = struct.unpack_from(">BHHB", segment)
        samplings = {
            segment[6 + 3 * number]: divmod(segment[7 + 3 * number], 16)
            for number in range(components)
        }
    except (struct.error, IndexError):
        raise BrokenSource("JPEG frame header is too short") from None
    sides = {side for sampling in samplings.values() for side in sampling}
    if bits != 8 or not width or not height or len(samplings) != components or not components:
        raise BrokenSource("JPEG frame header makes no sense")
    if not sides <= {1, 2, 3, 4}:
        raise BrokenSource("JPEG frame header makes no sense")
    return _Frame(marker == _PROGRESSIVE, width, height, samplings)


def _coefficient_bytes(frame: _Frame) -> int:
    samplings = frame.samplings.values()
    across = math.ceil(frame.width / (_BLOCK * max(h for h, _ in samplings)))
    down = math.ceil(frame.height / (_BLOCK * max(v for _, v in samplings)))
    return sum(across * h * down * v * _BLOCK_BYTES for h, v in samplings)


def _scans(file: BinaryIO, place: int, frame: _Frame, limits: Limits) -> list[Piece]:
    """Return the tables and scans from *place* on, and an EOI if the file has one.

    :raises RefusedSource: if there are too many scans.
    :raises BrokenSource: if there is no EOI, and scans are missing.
    """
    pieces: list[Piece] = []
    scans, tables, missing, marker = 0, 0, _Missing(frame), _SOS
    file_bytes = file.seek(0, os.SEEK_END)
    if file_bytes > limits.scan_bytes:
        raise RefusedSource(f"JPEG of several scans over scan_bytes {limits.scan_bytes}")
    while marker == _SOS or marker in _TABLES or marker in _PASSED_OVER:
        file.seek(place + 2)
        length = 2 + int.from_bytes(file.read(2), "big")
        end = place + length
        if marker == _SOS:
            scans += 1
            _check_scans(scans, frame.width * frame.height, limits)
            missing.take(file.read(length - 4))
            end, _ = _data_end(file, end, file_bytes)
        else:
            tables += 1
            if tables > limits.parts:
                raise RefusedSource(f"JPEG of over {limits.parts} parts")
        if marker not in _PASSED_OVER:
            pieces.append((place, min(end, file_bytes) - place))
        try:
            marker, place = _marker(file, end)
            while marker in _ALONE:
                marker, place = _marker(file, place + 2)
        except BrokenSource:
            break
    if marker == _END:
        return [*pieces, _EOI]
    if missing:
        raise BrokenSource("JPEG ends before its last scan")
    return pieces


class _Missing:
    """The coefficients of a picture that no scan has brought yet, in all their bits."""

    def __init__(self, frame: _Frame):
        self._is_progressive = frame.is_progressive
        self._left = {component: set(range(64)) for component in frame.samplings}

    def take(self, header: bytes) -> None:
        """Cross out what the scan with this *header* brings to its last bit."""
        count = header[0] if header else 0
        if len(header) < 4 + 2 * count:
            return
        first, last, bits = header[1 + 2 * count : 4 + 2 * count]
        if not self._is_progressive:
            first, last, bits = 0, 63, 0
        if bits & 15 == 0:
            for number in range(count):
                left = self._left.get(header[1 + 2 * number], set())
                left.difference_update(range(first, last + 1))

    def __bool__(self):
        return any(self._left.values())


def _check_scans(scans: int, pixels: int, limits: Limits) -> None:
    if scans > limits.scans:
        raise RefusedSource(f"JPEG of over {limits.scans} scans")
    if scans > _ORDINARY_SCANS and scans * pixels > limits.scan_pixels:
        raise RefusedSource(
            f"JPEG of {scans} scans or more of {pixels} pixels, "
            f"over scan_pixels {limits.scan_pixels}"
        )


def _data_end(file: BinaryIO, start: int, end: int) -> tuple[int, int | None]:
    """Return where the entropy-coded data from *start* on ends, at *end* at the latest.

    And the marker that comes then; None if there is none, and zeros at the end are no data.
    """
    file.seek(start)
    place, last = start, b""
    while place < end and (piece := file.read(min(_PIECE, end - place))):
        if found := _AFTER_SCAN.search(last + piece):
            return place - len(last) + found.start(), found[1][0]
        place += len(piece)
        last = (last + piece)[-1:]
    return _without_zeros(file, start, place), None


def _ends_in_zeros(file: BinaryIO) -> bool:
    file.seek(-min(_ZEROS, file.seek(0, os.SEEK_END)), os.SEEK_END)
    return not file.read(_ZEROS).strip(b"\0")


def _without_zeros(file: BinaryIO, start: int, end: int) -> int:
    """Return where what is stored between the two places ends, but for zeros.

    A full disk and some uploads in progress leave zeros in place of the rest of the file.
    """
    while end > start:
        size = min(_PIECE, end - start)
        file.seek(end - size)
        kept = len(file.read(size).rstrip(b"\0"))
        if kept:
            # one may be the last byte of the data
            return min(end, end - size + kept + 1)
        end -= size
    return end
