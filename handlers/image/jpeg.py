"""The header of a JPEG file (ITU-T T.81, annex B)."""

import math
import struct
from typing import BinaryIO

from handlers.image import orientation
from handlers.image.errors import BrokenSource, RefusedSource
from handlers.image.limits import Header, Limits

_SOS, _APP0, _APP1, _APP2, _APP14 = 0xDA, 0xE0, 0xE1, 0xE2, 0xEE
#: Sequential and progressive Huffman frames; browsers show no other kind.
_FRAMES = {0xC0, 0xC1, 0xC2}
_PROGRESSIVE = 0xC2
#: Segments that may come before the first scan: tables, restart interval, APPn, comment.
_TABLES = {0xC4, 0xDB, 0xDD}
_SEGMENTS = {*_TABLES, 0xFE, *range(0xE0, 0xF0)}
#: APPn segments that tell the decoder about colour, by how they begin, and their least length;
#: it passes over shorter ones, on which Pillow would give up.
_COLOUR = {
    _APP0: (b"JFIF\0", 14),
    _APP2: (b"ICC_PROFILE\0", 15),
    _APP14: (b"Adobe", 12),
}
_BLOCK = 8
_BLOCK_BYTES = 64 * 2
#: Rows of the picture that the decoder keeps while it scales and converts them.
_ROWS_KEPT = 64
_PIECE = 1 << 20


def is_signature(start: bytes) -> bool:
    """Tell whether a file that begins with the 16 bytes *start* is a JPEG."""
    return start.startswith(b"\xff\xd8\xff")


def read(file: BinaryIO, file_bytes: int, limits: Limits) -> Header:
    """Return the header of the JPEG *file*.

    The cost follows from how it is coded. One scan that interleaves all components is decoded row
    by row, and scaled on the way. Several scans, which every progressive file has but sequential
    ones may have too, are gathered as coefficients of the whole picture first: 3 bytes for each
    pixel with 4:2:0 sampling, 6 with 4:4:4.

    :raises BrokenSource: if it is damaged, or lossless, hierarchical or arithmetic-coded.
    :raises RefusedSource: if it has too many scans or segments, or too much metadata.
    """
    file.seek(2)
    frame, turned, metadata = None, 1, 0
    places = [(0, 2)]
    for _ in range(limits.parts):
        marker = _marker(file)
        if marker is None:
            continue
        start = file.tell() - 2
        length = _length(file)
        if marker in _FRAMES and frame is None:
            frame = _frame(marker, file.read(length))
            places.append((start, length + 4))
        elif marker == _SOS and frame is not None:
            components = file.read(1)
            places.append((start, file_bytes - start))
            break
        elif marker in _SEGMENTS:
            metadata += length
            if marker == _APP1 and turned == 1:
                turned = orientation.read(file.read(length))
            elif marker in _TABLES or _tells_colour(file, marker, length):
                places.append((start, length + 4))
            file.seek(start + length + 4)
        else:
            raise BrokenSource(f"JPEG of an unknown kind: marker {marker:#x}")
        if metadata > limits.metadata_bytes:
            raise RefusedSource(f"JPEG metadata over metadata_bytes {limits.metadata_bytes}")
    else:
        raise RefusedSource(f"JPEG of over {limits.parts} parts")
    progressive, width, height, samplings = frame
    decoder_bytes = width * _ROWS_KEPT * len(samplings) + 2 * metadata
    if progressive or components[0] < len(samplings):
        _check_scans(file, file_bytes, width * height, limits)
        decoder_bytes += _coefficient_bytes(width, height, samplings)
    pixel_bytes = 1 if len(samplings) == 1 else 4
    return Header(
        "JPEG",
        width,
        height,
        decoder_bytes,
        pixel_bytes,
        turned,
        scalable=True,
        direct=True,
        places=tuple(places),
    )


def _marker(file: BinaryIO) -> int | None:
    """Return the marker at the place reached; None if a byte of filling was skipped instead."""
    first = file.read(1)
    if first != b"\xff":
        if not first:
            raise BrokenSource("JPEG ends in its header")
        return None
    second = file.read(1)
    if second == b"\xff":
        file.seek(-1, 1)
        return None
    if second in (b"", b"\0"):
        return None
    return second[0]


def _tells_colour(file: BinaryIO, marker: int, length: int) -> bool:
    start, least = _COLOUR.get(marker, (b"", 0))
    return bool(start) and length >= least and file.read(len(start)) == start


def _length(file: BinaryIO) -> int:
    field = file.read(2)
    if len(field) < 2 or field < b"\0\2":
        raise BrokenSource("JPEG segment without a length")
    return int.from_bytes(field, "big") - 2


def _frame(marker: int, segment: bytes) -> tuple[bool, int, int, list[tuple[int, int]]]:
    try:
        bits, height, width, components = struct.unpack_from(">BHHB", segment)
        samplings = [divmod(segment[7 + 3 * number], 16) for number in range(components)]
    except (struct.error, IndexError):
        raise BrokenSource("JPEG frame header is too short") from None
    sides = {side for sampling in samplings for side in sampling}
    if bits != 8 or not width or not height or not samplings or not sides <= {1, 2, 3, 4}:
        raise BrokenSource("JPEG frame header makes no sense")
    return marker == _PROGRESSIVE, width, height, samplings


def _coefficient_bytes(width: int, height: int, samplings: list[tuple[int, int]]) -> int:
    across = math.ceil(width / (_BLOCK * max(h for h, _ in samplings)))
    down = math.ceil(height / (_BLOCK * max(v for _, v in samplings)))
    return sum(across * h * down * v * _BLOCK_BYTES for h, v in samplings)


def _check_scans(file: BinaryIO, file_bytes: int, pixels: int, limits: Limits) -> None:
    if file_bytes > limits.scan_bytes:
        raise RefusedSource(f"JPEG of several scans over scan_bytes {limits.scan_bytes}")
    # an upper bound: inside a scan a 0xFF is always followed by a zero or a restart marker
    scans, last = 1, b""
    while piece := file.read(_PIECE):
        scans += (last + piece).count(b"\xff\xda")
        last = piece[-1:]
    if scans > limits.scans:
        raise RefusedSource(f"JPEG of {scans} scans, over scans {limits.scans}")
    if scans * pixels > limits.scan_pixels:
        raise RefusedSource(
            f"JPEG of {scans} scans of {pixels} pixels, over scan_pixels {limits.scan_pixels}"
        )
