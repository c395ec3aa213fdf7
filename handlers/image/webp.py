"""The header of a WebP file (RFC 9649), and the count of its frames."""

from typing import BinaryIO, NamedTuple

from PIL import Image, _webp

from handlers.image import orientation
from handlers.image.errors import BrokenSource, RefusedSource
from handlers.image.limits import Header, Limits, check_size

_EXIF_BYTES = 1 << 20
#: Two canvases in libwebp's animation decoder, which Pillow uses for stills, too.
_CANVAS_BYTES = 8
_PIXEL_BYTES = 4


class Chunks(NamedTuple):
    """What the chunks of a WebP file say.

    *has_alpha* is False only if there is surely none; *frames* is 0 for a still picture.
    """

    width: int
    height: int
    has_alpha: bool
    orientation: int
    frames: int


def is_signature(start: bytes) -> bool:
    """Tell whether a file that begins with the 16 bytes *start* is a WebP."""
    return start[:4] == b"RIFF" and start[8:12] == b"WEBP"


def read(file: BinaryIO, file_bytes: int, limits: Limits) -> Header:
    """Return the header of the WebP *file*.

    :raises BrokenSource: if it is damaged.
    :raises RefusedSource: if it has too many chunks, or too much metadata.
    """
    found = chunks(file, limits)
    decoder_bytes = found.width * found.height * _CANVAS_BYTES + file_bytes
    return Header(
        "WEBP",
        found.width,
        found.height,
        decoder_bytes,
        _PIXEL_BYTES,
        found.orientation,
        direct=not found.has_alpha,
        frames=max(1, found.frames),
    )


def open_still(file: BinaryIO, header: Header) -> Image.Image:
    """Return the decoded picture in *file*; of an animation, its first frame.

    Pillow's plugin keeps libwebp's two canvases while it copies the pixels out, 16 bytes a pixel.
    Asking the decoder under it, and looking at the pixels in place, takes 12.

    :raises BrokenSource: if it is damaged, or not what *header* says.
    """
    decoder = _webp.WebPAnimDecoder(file.read())
    size, _, _, _, mode = decoder.get_info()
    check_size(header, size)
    frame = decoder.get_next()
    if frame is None:
        raise BrokenSource("WebP frame cannot be decoded")
    picture = Image.frombuffer(mode, size, frame[0], "raw", mode, 0, 1)
    if profile := decoder.get_chunk("ICCP"):
        picture.info["icc_profile"] = profile
    return picture


def chunks(file: BinaryIO, limits: Limits) -> Chunks:
    """Visit all chunks of the WebP *file*; raises as :func:`read` does."""
    size, has_alpha, turned, frames, metadata = None, False, 1, 0, 0
    place = 12
    for _ in range(limits.parts):
        file.seek(place)
        chunk = file.read(8)
        if len(chunk) < 8:
            break
        name, length = chunk[:4], int.from_bytes(chunk[4:], "little")
        place += 8 + length + (length & 1)
        if name in (b"VP8X", b"VP8 ", b"VP8L"):
            size = size or _size(name, file.read(10))
            has_alpha = has_alpha or name == b"VP8L"
        elif name in (b"ALPH", b"ANMF"):
            has_alpha = True
            frames += name == b"ANMF"
        else:
            metadata += length
            if name == b"EXIF" and length <= _EXIF_BYTES:
                turned = orientation.read(file.read(length))
        if metadata > limits.metadata_bytes:
            raise RefusedSource(f"WebP metadata over metadata_bytes {limits.metadata_bytes}")
    else:
        raise RefusedSource(f"WebP of over {limits.parts} parts")
    if size is None:
        raise BrokenSource("WebP without a picture")
    return Chunks(*size, has_alpha, turned, frames)


def _size(name: bytes, start: bytes) -> tuple[int, int]:
    if (len(start) < 10 and name != b"VP8L") or len(start) < 5:
        raise BrokenSource("WebP ends in its header")
    if name == b"VP8X":
        return (
            int.from_bytes(start[4:7], "little") + 1,
            int.from_bytes(start[7:10], "little") + 1,
        )
    if name == b"VP8L":
        bits = int.from_bytes(start[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width = int.from_bytes(start[6:8], "little") & 0x3FFF
    height = int.from_bytes(start[8:10], "little") & 0x3FFF
    if not width or not height:
        raise BrokenSource("WebP without pixels")
    return width, height
