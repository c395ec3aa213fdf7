"""The header of a TIFF file (TIFF 6.0, section 2), and of a BigTIFF file.

Pillow makes Python objects of the numbers in a directory, and of each strip or tile one more, so
they are counted here before it sees them.
"""

import struct
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

from PIL import Image, ImageChops, TiffImagePlugin

from handlers.image.errors import BrokenSource, RefusedSource
from handlers.image.excerpt import Excerpt, Piece
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
#: A band as it is decoded, as a float, and the three of eight bits.
_COPIES_BYTES = 16
_BIG_ENDIAN, _NATIVE = "F;32BF", "F;32NF"
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
#: Compressions that Pillow's LibTIFF has no decoder for.
_UNREADABLE = {
    **dict.fromkeys((33003, 33005, 34712), "JPEG 2000"),
    34933: "PNG",
    34934: "JPEG XR",
    50002: "JPEG XL",
    52546: "JPEG XL",
}


def is_signature(start: bytes) -> bool:
    """Tell whether a file that begins with *start* is a TIFF."""
    return start[:4] in _ORDERS


class _Directory(NamedTuple):
    """The first directory of a file: tag -> its entry, as it stands there."""

    order: str
    is_big: bool
    entries: dict[int, bytes]

    def short(self, tag: int, default: int = 0) -> int:
        """Return the number of a *tag*, the first one if it has a few; of those that have one."""
        entry = self.entries.get(tag)
        if entry is None or self.is_big:
            return default
        kind, count = struct.unpack_from(self.order + "HI", entry, 2)
        if kind not in (3, 4) or (kind == 3 and count > 2):
            # several samples have their bits elsewhere; all have the same
            return default
        return struct.unpack_from(self.order + ("H" if kind == 3 else "I"), entry, 8)[0]


class _Samples(NamedTuple):
    """What Pillow cannot say of the samples, and how they are read all the same."""

    #: Bits of a sample, and whether it is a float.
    bits: int
    is_float: bool
    #: 3 if the decoder takes red, green and blue for three grey pixels; else 1.
    each: int
    #: Whether 0 is white.
    is_inverted: bool


def read(file: BinaryIO, file_bytes: int, limits: Limits) -> Header:
    """Return the header of the TIFF *file*, of its first picture.

    The plugin turns the picture upright by itself.

    :raises BrokenSource: if it is damaged, or of a kind that Pillow has no name for.
    :raises RefusedSource: if it has too many strips, tiles or other numbers, or too much metadata.
    """
    directory = _directory(file, limits)
    samples, pieces = _samples(directory), None
    if samples is not None:
        pieces = _rewritten(directory, samples, file_bytes)
    compression = directory.short(259, 1)
    if compression in _UNREADABLE:
        raise BrokenSource(f"TIFF with {_UNREADABLE[compression]} in it, which LibTIFF cannot read")
    try:
        picture = _opened(file, pieces)
    except SyntaxError as error:
        raise BrokenSource(f"TIFF of a kind that Pillow cannot read: {error}") from error
    width, height = picture.size
    decoder_bytes = width * height * _STRIP_BYTES + file_bytes
    if samples is not None:
        width //= samples.each
        decoder_bytes += width * height * _COPIES_BYTES
    return Header(
        "TIFF",
        width,
        height,
        decoder_bytes,
        _PIXEL_BYTES,
        pieces=pieces,
        colour=picture.info.get("icc_profile"),
        details=samples,
    )


def open_still(file: BinaryIO, header: Header, scale: int) -> Image.Image:
    """Return the first picture in *file*."""
    picture, samples = _opened(file, header.pieces), header.details
    each = 1 if samples is None else samples.each
    if picture.size != (header.width * each, header.height):
        check_size(header, picture.size)
    if samples is None:
        return picture
    picture.load()
    wide, size = _eight_bits(picture, samples), (header.width, header.height)
    if each == 1:
        return wide
    # a point is taken for the middle of a pixel
    bands = [
        wide.transform(size, Image.Transform.AFFINE, (each, 0, band - 1, 0, 1, 0))
        for band in range(each)
    ]
    return Image.merge("RGB", bands)


def _eight_bits(band: Image.Image, samples: _Samples) -> Image.Image:
    factor = 255.0 if samples.is_float else 255 / (2**samples.bits - 1)
    band = band.convert("F").point(lambda value: value * factor + 0.5).convert("L")
    return ImageChops.invert(band) if samples.is_inverted else band


def _opened(file: BinaryIO, pieces: Sequence[Piece] | None) -> TiffImagePlugin.TiffImageFile:
    file.seek(0)
    picture = TiffImagePlugin.TiffImageFile(file if pieces is None else Excerpt(file, pieces))
    # LibTIFF has brought floats into the order of this machine already
    picture.tile = [
        tile._replace(args=(_NATIVE, *tile.args[1:]))
        if tile.codec_name == "libtiff" and tile.args[0] == _BIG_ENDIAN
        else tile
        for tile in picture.tile
    ]
    return picture


def _samples(directory: _Directory) -> _Samples | None:
    """Return how to read samples that Pillow reads wrong, or not at all; None for all others."""
    bits, kind = directory.short(258, 1), directory.short(339, 1)
    photometric, each = directory.short(262, 1), directory.short(277, 1)
    is_grey = photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO) and each == 1
    # side by side, and not as differences between neighbours
    is_rgb = photometric == _RGB and each == 3 and directory.short(284, 1) == 1
    is_rgb = is_rgb and directory.short(317, 1) == 1
    is_float = (bits, kind) == (32, 3)
    if directory.is_big or not (is_grey or is_rgb):
        return None
    if is_rgb and (bits == 12 or is_float):
        return _Samples(bits, is_float, 3, False)
    if is_grey and (bits == 12 or (bits == 16 and photometric == _WHITE_IS_ZERO)) and kind == 1:
        return _Samples(bits, False, 1, photometric == _WHITE_IS_ZERO)
    return None


def _rewritten(directory: _Directory, samples: _Samples, file_bytes: int) -> tuple[Piece, ...]:
    """Return the file with another directory at its end: one of grey pixels."""
    order, entries = directory.order, dict(directory.entries)
    for tag in (256, 322):
        if samples.each > 1 and tag in entries:
            entries[tag] = struct.pack(
                order + "HHII", tag, 4, 1, directory.short(tag) * samples.each
            )
    new = {258: samples.bits, 262: _BLACK_IS_ZERO, 277: 1, 339: 3 if samples.is_float else 1}
    entries |= {
        tag: struct.pack(order + "HHIHH", tag, 3, 1, value, 0) for tag, value in new.items()
    }
    body = b"".join(entry for _, entry in sorted(entries.items()))
    body = struct.pack(order + "H", len(entries)) + body + bytes(4)
    place = struct.pack(order + "I", file_bytes + file_bytes % 2)
    return ((0, 4), place, (8, file_bytes - 8), bytes(file_bytes % 2) + body)


def _directory(file: BinaryIO, limits: Limits) -> _Directory:
    """Return the first directory, whose numbers are counted before Pillow sees them."""
    file.seek(0)
    start = file.read(16)
    order, is_big = _ORDERS[start[:4]], b"+" in start[:4]
    entry = struct.Struct(order + ("HHQ8x" if is_big else "HHI4x"))
    count_of_entries = struct.Struct(order + ("Q" if is_big else "H"))
    found = {}
    try:
        (place,) = struct.unpack_from(order + ("Q" if is_big else "I"), start, 8 if is_big else 4)
        file.seek(place)
        (entries,) = count_of_entries.unpack(file.read(count_of_entries.size))
        if entries > limits.parts:
            raise RefusedSource(f"TIFF of over {limits.parts} tags")
        metadata = 0
        for _ in range(entries):
            whole = file.read(entry.size)
            tag, kind, count = entry.unpack(whole)
            found[tag] = whole
            size = _SIZES.get(kind, 0)
            metadata += count * size
            if size > 1 and count > limits.parts:
                raise RefusedSource(f"TIFF of over {limits.parts} numbers in its tag {tag}")
        if not is_big:
            _bring_in(file, order, found)
    except (struct.error, OverflowError) as error:
        raise BrokenSource("TIFF ends in its directory") from error
    if metadata > limits.metadata_bytes:
        raise RefusedSource(f"TIFF metadata over metadata_bytes {limits.metadata_bytes}")
    return _Directory(order, is_big, found)


def _bring_in(file: BinaryIO, order: str, entries: dict[int, bytes]) -> None:
    """Write the numbers of three equal samples into their entries, which say where they are."""
    for tag in (258, 339):
        kind, count, place = struct.unpack_from(order + "HII", entries.get(tag, bytes(12)), 2)
        if kind == 3 and count == 3:
            file.seek(place)
            values = struct.unpack(order + "3H", file.read(6))
            if len(set(values)) == 1:
                entries[tag] = struct.pack(order + "HHIHH", tag, 3, 1, values[0], 0)
