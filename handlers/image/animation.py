"""Animations that stay animated: every frame scaled, and put together as one WebP."""

from typing import BinaryIO

from PIL import Image

from handlers.image import colour, gif, limits, resampling, scaling, webp
from handlers.image.encode import Moving
from handlers.image.formats import damage

#: Bytes of a pixel while frames are composed: GIF in palette, RGBA, canvas, and what was beneath;
#: WebP in two canvases, the frame copied out, and Pillow's picture.
_FRAME_BYTES = {"GIF": 13, "WEBP": 20}
#: The frames scaled, and what the encoder makes of them.
_THUMBNAIL_BYTES = 8
#: Encoding a pixel takes as long as decoding and scaling four.
_ENCODING = 4
# browsers show frames that claim to be shorter than the first for the second
_SHORTEST, _USUAL = 20, 100


def price(
    file: BinaryIO, header: limits.Header, size: tuple[int, int], bounds: limits.Limits
) -> int | None:
    """Return the bytes of memory that keeping the picture moving will take.

    None if it does not move, or more than *bounds* allow: then its first frame has to do.
    """
    frames = header.frames
    if header.format == "GIF":
        found = gif.animation(file, bounds)
        frames = 0 if found is None else len(found.frames)
    if not 1 < frames <= bounds.frames:
        return None
    source, thumbnail = header.width * header.height, size[0] * size[1]
    if frames * (source + _ENCODING * thumbnail) > bounds.frame_pixels:
        return None
    memory = source * _FRAME_BYTES[header.format] + frames * thumbnail * _THUMBNAIL_BYTES
    return memory if memory <= bounds.memory else None


def frames(
    file: BinaryIO,
    header: limits.Header,
    size: tuple[int, int],
    box: resampling.Box,
    bounds: limits.Limits,
) -> tuple[list[Image.Image], Moving]:
    """Return all frames of a GIF or WebP animation, composed and scaled, and how they are shown.

    :raises BrokenSource: if one of them cannot be decoded.
    """
    thumbnails, durations = [], []
    with damage():
        if header.format == "GIF":
            film = gif.animation(file, bounds)
            shown = [frame.duration for frame in film.frames]
            canvases = gif.composed(file, film.frames, (header.width, header.height))
            pictures, loop = zip(canvases, shown, strict=True), film.loop
        else:
            pictures, loop = webp.composed(file, header), webp.loop(file, header)
        for picture, duration in pictures:
            durations.append(duration if duration >= _SHORTEST else _USUAL)
            frame, part = scaling.prepared(picture, size, box)
            thumbnail = scaling.scaled(frame, size, part)
            thumbnails.append(colour.to_srgb(thumbnail, header.colour))
    return thumbnails, Moving(durations, loop)
