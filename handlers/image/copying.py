"""Middle-size copies of large JPEG sources, from which small thumbnails are made.

Most of the time of a thumbnail goes into the entropy decoding of its source, whatever its own size
is. A source that is wanted in several sizes is decoded once into a copy of a sixteenth
of its pixels or less, and the other thumbnails cost a fourth.
"""

import io
from typing import BinaryIO

from handlers.image import formats
from handlers.image.limits import Header, Limits, held_bytes

_SCALES = (8, 4)
_SHORTEST_SIDE = 720
_QUALITY = 92
_MODES = ("L", "RGB")
#: Bytes of a pixel while it is encoded.
_ENCODING_BYTES = 6


def make_copy(file: BinaryIO, limits: Limits | None = None) -> bytes | None:
    """Return a smaller JPEG of the JPEG in *file*, None if that would not pay or fit the limits.

    It is as the source is stored: not turned upright, with the source's profile and no other
    metadata. So it is of use only beside its source (see :func:`handlers.image.thumbnail.make`),
    and never served.

    :raises RefusedSource: if the source is over a limit.
    :raises BrokenSource: if it is no picture, or damaged.
    :raises SourceUnavailable: if *file* cannot be read for now.
    """
    limits = limits or Limits()
    with formats.storage():
        return _copy(file, limits)


def _copy(file: BinaryIO, limits: Limits) -> bytes | None:
    header = formats.inspect(file, limits)
    scale = _scale(header)
    if scale is None or header.width * header.height > limits.pixels:
        return None
    pixels = header.width * header.height // scale**2
    cost = held_bytes(header, scale) + header.decoder_bytes + pixels * _ENCODING_BYTES
    if cost > limits.memory:
        return None
    picture = formats.decoded(file, header, scale)
    if picture.mode not in _MODES:
        return None
    # a JPEG that is no copy says its colours by a profile or not at all
    profile = header.colour
    picture.info.clear()
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY, subsampling=0, icc_profile=profile)
    return buffer.getvalue()


def _scale(header: Header) -> int | None:
    if header.format != "JPEG" or not header.scalable:
        return None
    shorter = min(header.width, header.height)
    return next((scale for scale in _SCALES if shorter // scale >= _SHORTEST_SIDE), None)
