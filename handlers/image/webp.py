"""The chunks of a WebP file (RFC 9649): what decodes is told from what does not.

The decoder is given the picture, its alpha and its frames, in a RIFF of their own length: bytes
behind the file's, XMP and chunks of other programs cost nothing. A still picture, and the first
frame of an animation, are decoded alone.
"""

from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

from PIL import Image, _webp

from handlers.image import libwebp, orientation
from handlers.image.colour import LARGEST_PROFILE
from handlers.image.errors import BrokenSource, RefusedSource
from handlers.image.excerpt import Excerpt, Piece
from handlers.image.limits import Header, Limits, check_size

_EXIF_BYTES = 1 << 20
#: Flags of VP8X.
_MOVES, _HAS_ALPHA, _HAS_PROFILE = 0x02, 0x10, 0x20
_PIXEL_BYTES = 4
#: What libwebp takes for each pixel beside the rows in work: lossless coding is decoded to pixels
#: of its own first, and so is alpha; the animation decoder has two canvases.
_LOSSLESS_BYTES, _ALPHA_BYTES, _CANVAS_BYTES = 4, 5, 8
_ROWS_KEPT = 64
#: Chunks of a picture.
_CODED = (b"ALPH", b"VP8 ", b"VP8L")
_HEAD = 12


class _Picture(NamedTuple):
    """One picture of the file: where it lies on the canvas, and what it is decoded from."""

    left: int
    top: int
    width: int
    height: int
    is_lossless: bool
    has_alpha: bool
    pieces: tuple[Piece, ...]

    @property
    def box(self) -> tuple[int, int, int, int]:
        return self.left, self.top, self.left + self.width, self.top + self.height


class _Details(NamedTuple):
    first: _Picture
    #: What the animation decoder is given; nothing if the file is a still picture.
    film: tuple[Piece, ...]


class _Chunk(NamedTuple):
    name: bytes
    #: Offsets of the chunk, of its contents, and of what comes after it.
    start: int
    data: int
    end: int
    length: int


def is_signature(start: bytes) -> bool:
    """Tell whether a file that begins with *start* is a WebP."""
    return start[:4] == b"RIFF" and start[8:12] == b"WEBP"


def read(file: BinaryIO, file_bytes: int, limits: Limits) -> Header:
    """Return the header of the WebP *file*.

    :raises BrokenSource: if it is damaged.
    :raises RefusedSource: if it has too many chunks.
    """
    file.seek(4)
    end = min(file_bytes, 8 + int.from_bytes(file.read(4), "little"))
    flags, canvas, turned, profile, first = 0, None, None, None, None
    still: list[_Chunk] = []
    film: list[Piece] = []
    for chunk in _chunks(file, _HEAD, end, limits):
        file.seek(chunk.data)
        if chunk.name == b"VP8X" and canvas is None:
            head = file.read(10)
            if len(head) == 10:
                flags, canvas = head[0], _sides(head[4:])
        elif chunk.name == b"ICCP" and flags & _HAS_PROFILE and chunk.length <= LARGEST_PROFILE:
            profile = profile or file.read(chunk.length)
        elif chunk.name == b"EXIF" and turned is None and chunk.length <= _EXIF_BYTES:
            turned = orientation.read(file.read(chunk.length).removeprefix(b"Exif\0\0"))
        elif chunk.name in _CODED and not flags & _MOVES:
            still.append(chunk)
        elif chunk.name == b"ANMF" and flags & _MOVES:
            first = first or _frame(file, chunk, limits)
            film.append((chunk.start, chunk.end - chunk.start))
        elif chunk.name == b"ANIM":
            film.insert(0, (chunk.start, chunk.end - chunk.start))
    first = first or _picture(file, still)
    width, height = canvas or (first.width, first.height)
    if not flags & _MOVES and first.box != (0, 0, width, height):
        raise BrokenSource("WebP of two sizes")
    if flags & _MOVES:
        film.insert(0, _extended(flags & (_MOVES | _HAS_ALPHA), (width, height)))
    return _header(first, (width, height), turned or 1, profile, film)


def _header(
    first: _Picture,
    canvas: tuple[int, int],
    turned: int,
    profile: bytes | None,
    film: Sequence[Piece],
) -> Header:
    pixels, is_whole = first.width * first.height, first.box == (0, 0, *canvas)
    # the file's bytes are in memory while they are decoded
    decoder_bytes = _length(first.pieces) + _ROWS_KEPT * first.width
    if not libwebp.is_usable():
        decoder_bytes += pixels * (_CANVAS_BYTES + _LOSSLESS_BYTES)
    elif first.has_alpha and not first.is_lossless:
        decoder_bytes += pixels * _ALPHA_BYTES
    elif first.is_lossless:
        decoder_bytes += pixels * _LOSSLESS_BYTES
    if not is_whole:
        decoder_bytes += pixels * _PIXEL_BYTES
    return Header(
        "WEBP",
        *canvas,
        decoder_bytes,
        _PIXEL_BYTES,
        turned,
        scalable=is_whole and libwebp.is_usable(),
        stretched=True,
        direct=is_whole and not first.has_alpha,
        # the chunks of a film begin with two that are no frames
        frames=max(1, len(film) - 2),
        colour=profile,
        details=_Details(first, tuple(film)),
    )


def open_still(file: BinaryIO, header: Header, scale: int) -> Image.Image:
    """Return the picture in *file*, decoded at a *scale*-th of its size.

    :raises BrokenSource: if it is damaged.
    """
    first, canvas = header.details.first, (header.width, header.height)
    data = _riff(file, first.pieces)
    if not libwebp.is_usable():
        size = first.width, first.height
        frame = _webp.WebPAnimDecoder(data).get_next()
        if frame is None:
            raise BrokenSource("WebP cannot be decoded")
        mode = "RGBA" if first.has_alpha else "RGBX"
        picture = Image.frombuffer(mode, size, frame[0], "raw", mode, 0, 1)
    else:
        size = -(-first.width // scale), -(-first.height // scale)
        picture = libwebp.decoded(data, size, first.has_alpha, is_scaled=scale > 1)
    if first.box == (0, 0, *canvas):
        return picture
    ground = Image.new("RGBA", canvas)
    ground.paste(picture.convert("RGBA"), first.box[:2])
    return ground


def composed(file: BinaryIO, header: Header) -> Iterator[tuple[Image.Image, int]]:
    """Yield each frame of an animation on its canvas, and the milliseconds that it is shown.

    :raises BrokenSource: if one is damaged.
    """
    decoder = _webp.WebPAnimDecoder(_riff(file, header.details.film))
    size, _, _, frames, _ = decoder.get_info()
    check_size(header, size)
    before = 0
    for _ in range(frames):
        frame = decoder.get_next()
        if frame is None:
            raise BrokenSource("WebP frame cannot be decoded")
        pixels, until = frame
        # what no frame has covered yet is transparent, whatever the file says of its alpha
        yield Image.frombuffer("RGBA", size, pixels, "raw", "RGBA", 0, 1), until - before
        before = until


def loop(file: BinaryIO, header: Header) -> int:
    """Return how often an animation is shown, 0 for ever."""
    return _webp.WebPAnimDecoder(_riff(file, header.details.film)).get_info()[1]


def _chunks(file: BinaryIO, place: int, end: int, limits: Limits) -> Iterator[_Chunk]:
    """Yield the chunks between two places; the last one may be cut off."""
    for _ in range(limits.parts):
        file.seek(place)
        head = file.read(8)
        if len(head) < 8 or place + 8 > end:
            return
        length = int.from_bytes(head[4:], "little")
        after = place + 8 + length + (length & 1)
        yield _Chunk(head[:4], place, place + 8, min(after, end), length)
        place = after
    raise RefusedSource(f"WebP of over {limits.parts} parts")


def _frame(file: BinaryIO, chunk: _Chunk, limits: Limits) -> _Picture:
    head = file.read(16)
    if len(head) < 16:
        raise BrokenSource("WebP ends in a frame")
    left, top = (2 * int.from_bytes(head[at : at + 3], "little") for at in (0, 3))
    pieces = _chunks(file, chunk.data + 16, chunk.end, limits)
    picture = _picture(file, [piece for piece in pieces if piece.name in _CODED])
    if (picture.width, picture.height) != _sides(head[6:12]):
        raise BrokenSource("WebP frame of two sizes")
    return picture._replace(left=left, top=top)


def _picture(file: BinaryIO, chunks: Sequence[_Chunk]) -> _Picture:
    """Return the picture that the *chunks* hold."""
    alpha, coded = None, None
    for chunk in chunks:
        if chunk.name == b"ALPH" and alpha is None:
            alpha = chunk
        elif chunk.name != b"ALPH" and coded is None:
            coded = chunk
    if coded is None:
        raise BrokenSource("WebP without a picture")
    if coded.data + coded.length > coded.end:
        raise BrokenSource("WebP ends in its picture")
    file.seek(coded.data)
    start = file.read(10)
    if coded.name == b"VP8L":
        if len(start) < 5:
            raise BrokenSource("WebP ends in its header")
        bits = int.from_bytes(start[1:5], "little")
        size, has_alpha = ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1), bool(bits >> 28 & 1)
        return _Picture(0, 0, *size, True, has_alpha, (_place(coded),))
    width, height = (int.from_bytes(start[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    if not width or not height:
        raise BrokenSource("WebP without pixels")
    pieces: tuple[Piece, ...] = (_place(coded),)
    if alpha is not None:
        pieces = (_extended(_HAS_ALPHA, (width, height)), _place(alpha), *pieces)
    return _Picture(0, 0, width, height, False, alpha is not None, pieces)


def _place(chunk: _Chunk) -> tuple[int, int]:
    return chunk.start, chunk.end - chunk.start


def _extended(flags: int, size: tuple[int, int]) -> bytes:
    sides = b"".join((side - 1).to_bytes(3, "little") for side in size)
    return b"VP8X\n\0\0\0" + bytes((flags, 0, 0, 0)) + sides


def _riff(file: BinaryIO, pieces: Sequence[Piece]) -> bytes:
    head = b"RIFF" + (4 + _length(pieces)).to_bytes(4, "little") + b"WEBP"
    return Excerpt(file, (head, *pieces)).read()


def _length(pieces: Sequence[Piece]) -> int:
    return sum(len(piece) if isinstance(piece, bytes) else piece[1] for piece in pieces)


def _sides(numbers: bytes) -> tuple[int, int]:
    width, height = (int.from_bytes(numbers[at : at + 3], "little") + 1 for at in (0, 3))
    return width, height
