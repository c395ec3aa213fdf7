"""The header of a PNG file, and the list of its chunks (PNG third edition, section 5)."""

import os
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import BinaryIO, NamedTuple

from PIL import Image, ImageChops, PngImagePlugin

from handlers.image import cicp, orientation, strips
from handlers.image.colour import LARGEST_PROFILE, is_profile
from handlers.image.errors import BrokenSource, RefusedSource
from handlers.image.excerpt import Excerpt, Piece, joined
from handlers.image.limits import Header, Limits, check_size

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: The signature and IHDR.
_HEADER_BYTES = 33

#: Chunks that say something about the pixels, and only before them. Browsers believe none of them
#: but the palette if its checksum or its length is wrong, and of two the first.
_TELLING = {
    b"PLTE",
    b"tRNS",
    b"iCCP",
    b"gAMA",
    b"cHRM",
    b"sRGB",
    b"cICP",
    b"mDCV",
    b"cLLI",
    b"eXIf",
}
_EXIF_BYTES = 1 << 20
_LONGEST_NAME = 79
_INTENTS = 4
_MOST_COLOURS = 256
#: Files are cut into chunks of 4 or 8 KB by libpng, 64 KB by others; nobody goes below this.
_CHUNK_BYTES = 1024
#: Colour types.
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6
#: Bytes of the transparent colour by colour type.
_KEY_BYTES = {_GREY: 2, _RGB: 6}
#: Unpackers of Pillow's for samples of 16 bits that take the upper byte, and the lower one.
_UPPER, _LOWER = {_GREY: "L;16B", _RGB: "RGB;16B"}, {_GREY: "L;16", _RGB: "RGB;16L"}
#: What finding a transparent colour of 16 bits takes beside the picture, for each pixel.
_KEY_WORK_BYTES = 5
_ROWS_KEPT = 4 * 8
_SAMPLES = {_GREY: 1, _RGB: 3, _PALETTE: 1, _GREY_ALPHA: 2, _RGBA: 4}
#: Depth and colour type of what libvips decodes in 0.9 of the time and less, and the pixels from
#: which on that is more than what it takes to begin.
_QUICK = {(8, _RGB), (8, _GREY_ALPHA), (8, _RGBA)}
_QUICK_PIXELS = 4_000_000
#: Deflate blocks that give no pixels take up to 70 ns for each byte of the file. In a picture of
#: up to so many compressed bytes that is half a second, or, if it has as many bytes of pixels, two
#: seconds. Larger ones are looked at first, which takes as long as decoding them: a photograph of
#: 12 megapixels has 20 MB.
_TRUSTED_BYTES, _MOST_TRUSTED_BYTES = 8 << 20, 24 << 20
_PIECE_BYTES = 64 << 10
#: What deflate makes of a piece, at least: stored blocks keep their size.
_LEAST_GAIN = 1 / 4


def is_signature(start: bytes) -> bool:
    """Tell whether a file that begins with *start* is a PNG."""
    return start.startswith(_SIGNATURE)


class _Details(NamedTuple):
    """How samples are to be read, which ones are transparent, and what they are inflated from."""

    colour: int
    bits: int
    #: One sample or three, as deep as those of the picture; None: no colour is transparent.
    key: tuple[int, ...] | None
    #: What the compressed data inflates to.
    pixel_bytes: int
    #: Offset and length of each part of it.
    data: tuple[tuple[int, int], ...]


def read(file: BinaryIO, file_bytes: int, limits: Limits) -> Header:
    """Return the header of the PNG *file*; of an animated one, that of its still picture.

    The chunks before the picture and those it lies in are visited. The decoder is given these:
    IHDR, PLTE, the tRNS of a palette, IDAT, IEND.

    :raises BrokenSource: if it is damaged.
    :raises RefusedSource: if it has too many chunks.
    """
    file.seek(len(_SIGNATURE))
    first = file.read(21)
    if len(first) < 21 or first[:8] != b"\0\0\0\rIHDR":
        raise BrokenSource("PNG without a header")
    width, height, bits, colour = struct.unpack_from(">IIBB", first, 8)
    is_interlaced = first[20] != 0
    if not width or not height:
        raise BrokenSource("PNG without pixels")
    told, picture = _chunks(file, file_bytes, colour, limits)
    row_bytes = 1 + (width * _SAMPLES.get(colour, 4) * bits + 7) // 8
    pieces: list[Piece] = [(0, _HEADER_BYTES)]
    if colour == _PALETTE:
        pieces += [_chunk(name, told[name]) for name in (b"PLTE", b"tRNS") if name in told]
    pieces += [(place - 8, length + 12) for place, length in picture]
    key = _key(told.get(b"tRNS"), colour, bits)
    pixel_bytes = 1 if colour in (_GREY, _PALETTE) else 4
    # Pillow reads what is left of a chunk at once when the picture needs no more of it
    largest = max((length for _, length in picture), default=0)
    decoder_bytes = min(largest, file_bytes) + _ROWS_KEPT * width
    if key is not None and bits == 16:
        pixel_bytes = 4
        decoder_bytes += _KEY_WORK_BYTES * width * height
    strips_bytes = None
    # Pillow makes RGBA of deep grey with alpha, which rounds in another way
    is_usual = (bits, colour) != (16, _GREY_ALPHA) and not is_interlaced and key is None
    if colour == _PALETTE:
        # libpng drops what no pixel can name, and then a tRNS that is longer than the rest
        palette_bytes = min(len(told.get(b"PLTE", b"")), 3 << bits)
        is_usual = is_usual and 3 * len(told.get(b"tRNS", b"")) <= palette_bytes
    if strips.is_usable() and is_usual and width >= strips.NARROWEST:
        data_bytes = sum(length + 12 for _, length in picture)
        # a longer file is read while it is decoded
        is_held = data_bytes <= _trusted_bytes(row_bytes * height)
        strips_bytes = strips.memory(width, data_bytes if is_held else 0)
    return Header(
        "PNG",
        width,
        height,
        decoder_bytes,
        pixel_bytes,
        orientation.read(told.get(b"eXIf", b"")),
        direct=colour in (_GREY, _RGB) and b"tRNS" not in told,
        pieces=(*joined(pieces), _chunk(b"IEND", b"")),
        colour=_colour(told),
        details=_Details(colour, bits, key, row_bytes * height, tuple(picture)),
        strips_bytes=strips_bytes,
        quick_in_strips=(bits, colour) in _QUICK and width * height >= _QUICK_PIXELS,
    )


def open_strips(file: BinaryIO, header: Header) -> strips.Strips:
    """Return the picture in *file*, decoded while it is scaled.

    :raises BrokenSource: if it is damaged, or not what *header* says.
    """
    trusted = _trusted_bytes(header.details.pixel_bytes)
    picture = strips.Strips(Excerpt(file, header.pieces), trusted)
    check_size(header, picture.size)
    return picture


def open_still(file: BinaryIO, header: Header, scale: int) -> Image.Image:
    """Return the picture in *file*, decoded when it is loaded.

    :raises BrokenSource: if it is damaged, or not what *header* says.
    :raises RefusedSource: if its compressed data gives too few pixels.
    """
    colour, bits, key, pixel_bytes, data = header.details
    _check_deflate(file, data, pixel_bytes)
    if bits != 16 or colour not in _UPPER:
        picture = _opened(file, header)
        if key is not None:
            factor = 255 // (2**bits - 1)
            values = [value * factor for value in key]
            picture.info["transparency"] = values[0] if colour == _GREY else tuple(values)
        return picture
    if key is None:
        return _opened(file, header, _UPPER[colour])
    # Pillow keeps eight bits of a sample, and a colour is the transparent one in all sixteen
    lower = _where(_opened(file, header, _LOWER[colour]), [value & 255 for value in key])
    picture = _opened(file, header, _UPPER[colour])
    clear = ImageChops.multiply(_where(picture, [value >> 8 for value in key]), lower)
    picture.putalpha(ImageChops.invert(clear))
    return picture


def _opened(file: BinaryIO, header: Header, unpacker: str | None = None) -> Image.Image:
    picture = PngImagePlugin.PngImageFile(Excerpt(file, header.pieces))
    check_size(header, picture.size)
    if unpacker is not None:
        picture._mode = unpacker.partition(";")[0]
        picture.tile = [tile._replace(args=unpacker) for tile in picture.tile]
    return picture


def _where(picture: Image.Image, values: Sequence[int]) -> Image.Image:
    """Return a mask, 255 where the samples are *values* and else 0."""
    found = None
    for number, value in enumerate(values):
        band = picture.getchannel(number).point([255 * (at == value) for at in range(256)])
        found = band if found is None else ImageChops.multiply(found, band)
    return found


def _chunks(
    file: BinaryIO, file_bytes: int, colour: int, limits: Limits
) -> tuple[dict[bytes, bytes], list[tuple[int, int]]]:
    """Return the chunks that tell something, and (offset, length) of the picture's data."""
    told, picture, parts = {}, [], 0
    place, read_at = _HEADER_BYTES, _reader(file)
    while len(chunk := read_at(8, place)) == 8:
        length, name = int.from_bytes(chunk[:4], "big"), chunk[4:]
        parts += 1
        if name == b"IEND":
            break
        if name == b"IDAT":
            picture.append((place + 8, length))
        elif name in _TELLING and not picture and name not in told and length <= _EXIF_BYTES:
            data, checksum = read_at(length, place + 8), read_at(4, place + 8 + length)
            if name == b"PLTE" or zlib.crc32(name + data).to_bytes(4, "big") == checksum:
                told[name] = data
            if name == b"tRNS" and colour == _PALETTE and not _fits(told, length):
                told.pop(name, None)
        if parts > limits.parts + file_bytes // _CHUNK_BYTES:
            raise RefusedSource("PNG cut into too many chunks")
        place += 12 + length
    return told, picture


def _reader(file: BinaryIO) -> Callable[[int, int], bytes]:
    """Return what reads so many bytes at a place of the file.

    A chunk's head is read alone: a buffer would be filled for each.
    """
    try:
        descriptor = file.fileno()
    except OSError:
        # in memory
        def read(size: int, place: int) -> bytes:
            file.seek(place)
            return file.read(size)

        return read
    return lambda size, place: os.pread(descriptor, size, place)


def _fits(told: Mapping[bytes, bytes], length: int) -> bool:
    """Tell whether a tRNS of *length* can be that of the palette."""
    return b"PLTE" in told and 0 < length <= _MOST_COLOURS


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _key(data: bytes | None, colour: int, bits: int) -> tuple[int, ...] | None:
    """Return the transparent colour, None if there is none."""
    size = _KEY_BYTES.get(colour)
    if data is None or size is None or len(data) < size:
        return None
    return tuple(value & (1 << bits) - 1 for value in struct.unpack_from(f">{size // 2}H", data))


def _colour(told: Mapping[bytes, bytes]) -> bytes | cicp.Coding | cicp.Bright | None:
    """Return what the pixels mean: the first that holds of cICP, iCCP, sRGB, gAMA with cHRM."""
    codes = told.get(b"cICP", b"")
    # no matrix, and the full range: the only ones that PNG can have
    if len(codes) == 4 and codes[2:] == b"\0\1":
        found = cicp.of_codes(codes[0], codes[1], _peak(told), as_video=True)
        if found is not None or tuple(codes[:2]) == cicp.SRGB_CODES:
            return found
    profile = _profile(told.get(b"iCCP", b""))
    if profile is not None:
        return profile
    intent = told.get(b"sRGB", b"")
    gamma, chroma = told.get(b"gAMA", b""), told.get(b"cHRM", b"")
    if (len(intent) == 1 and intent[0] < _INTENTS) or len(gamma) != 4:
        return None
    primaries = None
    if len(chroma) == 32:
        primaries = tuple(value / 100_000 for value in struct.unpack(">8I", chroma))
    return cicp.of_gamma(int.from_bytes(gamma, "big") / 100_000, primaries)


def _peak(told: Mapping[bytes, bytes]) -> float | None:
    """Return the nits of the brightest pixel, or of the display that the picture was made on."""
    light, display = told.get(b"cLLI", b""), told.get(b"mDCV", b"")
    nits = int.from_bytes(light[:4], "big") if len(light) == 8 else 0
    if not nits and len(display) == 24:
        nits = int.from_bytes(display[16:20], "big")
    return nits / 10_000 or None


def _profile(chunk: bytes) -> bytes | None:
    """Return the profile in the iCCP *chunk*, None if there is none that is whole."""
    name, _, rest = chunk.partition(b"\0")
    if not 0 < len(name) <= _LONGEST_NAME or rest[:1] != b"\0":
        return None
    inflating = zlib.decompressobj()
    try:
        profile = inflating.decompress(rest[1:], LARGEST_PROFILE)
    except zlib.error:
        return None
    return profile if inflating.eof and is_profile(profile) else None


def _trusted_bytes(pixel_bytes: int) -> int:
    return max(_TRUSTED_BYTES, min(pixel_bytes, _MOST_TRUSTED_BYTES))


def _check_deflate(file: BinaryIO, picture: Iterable[tuple[int, int]], pixel_bytes: int) -> None:
    """Refuse a picture whose compressed data goes on and on without giving pixels.

    :param pixel_bytes: what it inflates to, where the decoder stops.
    """
    if sum(length for _, length in picture) <= _trusted_bytes(pixel_bytes):
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
