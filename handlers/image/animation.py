"""Animations that stay animated: every frame scaled, and put together as one WebP."""

from typing import BinaryIO

from PIL import GifImagePlugin, Image, WebPImagePlugin

from handlers.image import colour, gif, limits, resampling, scaling
from handlers.image.encode import Moving
from handlers.image.formats import damage

#: Bytes of a pixel while frames are composed: GIF in palette, RGBA and the frame before;
#: WebP in two canvases, the frame copied out, and Pillow's picture.
_FRAME_BYTES = {"GIF": 12, "WEBP": 20}
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
        # a frame beyond the first one's canvas would make Pillow enlarge it on the way
        if found is None or (found.width, found.height) != (header.width, header.height):
            return None
        frames = found.frames
    if not 1 < frames <= bounds.frames:
        return None
    source, thumbnail = header.width * header.height, size[0] * size[1]
    if frames * (source + _ENCODING * thumbnail) > bounds.frame_pixels:
        return None
    memory = source * _FRAME_BYTES[header.format] + frames * thumbnail * _THUMBNAIL_BYTES
    return memory if memory <= bounds.memory else None


def frames(
    file: BinaryIO, header: limits.Header, size: tuple[int, int], box: resampling.Box
) -> tuple[list[Image.Image], Moving]:
    """Return all frames of a GIF or WebP animation, composed and scaled, and how they are shown.

    :raises BrokenSource: if one of them cannot be decoded.
    """
    plugins = {"GIF": GifImagePlugin.GifImageFile, "WEBP": WebPImagePlugin.WebPImageFile}
    file.seek(0)
    thumbnails, durations = [], []
    with damage():
        picture = plugins[header.format](file)
        profile = picture.info.get("icc_profile")
        for number in range(picture.n_frames):
            picture.seek(number)
            picture.load()
            shown = int(picture.info.get("duration", 0))
            durations.append(shown if shown >= _SHORTEST else _USUAL)
            frame, part = scaling.prepared(picture, size, box)
            thumbnail = scaling.scaled(frame, size, part)
            thumbnails.append(colour.to_srgb(thumbnail, profile))
        # a GIF without the extension is shown once; WebP spells that 1
        loop = picture.info.get("loop", 1)
    return thumbnails, Moving(durations, loop)
