"""AVIF files, through libavif as Pillow is built with it."""

from typing import BinaryIO

from PIL import Image

from handlers.image.errors import BrokenSource
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


def is_signature(start: bytes) -> bool:
    """Tell whether a file that begins with the 16 bytes *start* is an AVIF still picture."""
    return start[4:8] == b"ftyp" and start[8:12] == _BRAND


def read(file: BinaryIO, file_bytes: int, limits: Limits) -> Header:
    """Return the header of the AVIF *file*, as libavif parses it; no pixel is decoded.

    :raises BrokenSource: if it is damaged, or Pillow was built without AVIF.
    """
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


def _decoder(file: BinaryIO):
    if _avif is None:
        raise BrokenSource("AVIF cannot be decoded here")
    file.seek(0)
    # one thread: the server runs as many children as it has work for
    return _avif.AvifDecoder(file.read(), "auto", 1)
