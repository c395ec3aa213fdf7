"""The formats that are decoded: told by their first bytes, read by one Pillow plugin each.

Pillow's own ``Image.open`` is not used. It tries plugin after plugin, and it guards by
``Image.MAX_IMAGE_PIXELS``, one number for all formats and for everybody in the interpreter: too
strict for JPEG, too lax for WebP, and a warning that threads cannot catch apart. Here the guard
is :func:`handlers.image.limits.check`, on the header, before the plugin is asked for pixels.
"""

import contextlib
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from PIL import Image

from handlers.image import avif, gif, jpeg, png, strips, tiff, webp
from handlers.image.errors import BrokenSource, RefusedSource, SourceUnavailable
from handlers.image.limits import Header, Limits, check_file

# what Pillow's plugins raise for damaged files, apart from their own two kinds of bomb
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    LookupError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


#: Brands of files that are coded as HEVC, which is patented: Pillow has no decoder for it.
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
#: An AVIF may name its kind behind some others.
_SIGNATURE_BYTES = 512


def inspect(file: BinaryIO, limits: Limits) -> Header:
    """Return the header of the picture *file*, which is read from its start.

    :raises RefusedSource: for a format that is not among ``limits.formats``, a file over
        ``limits.file_bytes``, or a header that is over a limit by itself.
    :raises BrokenSource: for a file that is empty, damaged, or of no known format.
    """
    file_bytes = file.seek(0, os.SEEK_END)
    check_file(file_bytes, limits)
    file.seek(0)
    format = _sniff(file.read(_SIGNATURE_BYTES))
    if format not in limits.formats:
        raise RefusedSource(f"format {format} is not among {', '.join(limits.formats)}")
    with damage():
        return _FORMATS[format].read(file, file_bytes, limits)


def decoded(file: BinaryIO, header: Header, scale: int = 1) -> Image.Image:
    """Return the picture that *header* tells of, with its pixels; of an animation, the first frame.

    This is the one place where the codec of a still picture runs: in C, to its end, without a
    chance for signal handlers or other Python code of this thread.

    :param scale: 2, 4 or 8 if ``header.scalable``, to decode every 2nd, 4th or 8th row and column.
    :raises BrokenSource: if it is damaged, ends too early, or is not what its header said.
    """
    file.seek(0)
    with damage():
        picture = _FORMATS[header.format].open(file, header, scale)
        picture.load()
        return picture


def in_strips(file: BinaryIO, header: Header) -> strips.Strips:
    """Return the picture of a header with ``strips_bytes``, to be decoded while it is scaled.

    :raises BrokenSource: if it is damaged, here or while it is decoded.
    """
    file.seek(0)
    return png.open_strips(file, header)


@contextlib.contextmanager
def damage() -> Iterator[None]:
    """Turn what Pillow raises for a damaged file inside the block into BrokenSource.

    An OSError with a number comes from the system: it is the storage that fails, not the picture.
    """
    try:
        yield
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise BrokenSource(str(error) or type(error).__name__) from error


@contextlib.contextmanager
def storage() -> Iterator[None]:
    """Turn what the system raises when a file cannot be read into SourceUnavailable."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise SourceUnavailable(error.strerror or str(error)) from error


def _sniff(start: bytes) -> str:
    for name, format in _FORMATS.items():
        if format.is_signature(start):
            return name
    if start[4:8] == b"ftyp" and not _HEIC.isdisjoint(avif.brands(start)):
        raise BrokenSource("HEIC is not supported: make a JPEG of it")
    raise BrokenSource("not a picture of a known format")


class _Format(NamedTuple):
    """How one format is told, read and opened."""

    is_signature: Callable[[bytes], bool]
    read: Callable[[BinaryIO, int, Limits], Header]
    open: Callable[[BinaryIO, Header, int], Image.Image]


_FORMATS = {
    "JPEG": _Format(jpeg.is_signature, jpeg.read, jpeg.open_still),
    "PNG": _Format(png.is_signature, png.read, png.open_still),
    "GIF": _Format(gif.is_signature, gif.read, gif.open_still),
    "WEBP": _Format(webp.is_signature, webp.read, webp.open_still),
    "AVIF": _Format(avif.is_signature, avif.read, avif.open_still),
    "TIFF": _Format(tiff.is_signature, tiff.read, tiff.open_still),
}
#: The formats that ``Limits.formats`` can name.
KNOWN_FORMATS = tuple(_FORMATS)
