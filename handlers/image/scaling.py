"""Scaling a decoded picture down to a thumbnail: one reduction by whole numbers, one LANCZOS.

Pictures in modes that cannot be scaled as they are (palette, 16 bit, straight alpha) are converted
and reduced together, in bands of rows, so that the converted picture never exists at full size.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from PIL import Image

from handlers.image.errors import BrokenSource
from handlers.image.resampling import Box, resample
from handlers.image.strips import Strips

#: How much larger than the thumbnail a picture stays, at least, when it is reduced by averaging.
#: At 1.8 that shows a little (45 dB against LANCZOS alone); more than 2.5 gains nothing visible.
GAP = 2.5

_LANCZOS_SUPPORT = 3
_BAND_PIXELS = 1 << 17
_WORKING_BYTES = 4
#: Mode -> the mode it is scaled in; alpha is premultiplied, or hidden colours would shine through.
_WORKING = {
    "L": "L",
    "RGB": "RGB",
    "RGBX": "RGBX",
    "CMYK": "CMYK",
    "YCbCr": "YCbCr",
    "1": "L",
    "I;16": "L",
    "I;16B": "L",
    "I": "L",
    "F": "L",
    "LA": "La",
    "P": "RGB",
    "PA": "RGBa",
    "RGBA": "RGBa",
    # what has been reduced before
    "RGBa": "RGBa",
    "La": "La",
}
#: Mode it was scaled in -> mode of the thumbnail, where that is another one.
_FINISHED = {"RGBX": "RGB", "YCbCr": "RGB", "La": "LA", "RGBa": "RGBA"}
_DEEP = {"I;16", "I;16B", "I", "F"}


class View(NamedTuple):
    """A part of a picture, reduced.

    :ivar left: where it begins in the picture, as *upper* is.
    :ivar across: how many columns of the picture became one, as *down* is for rows.
    """

    picture: Image.Image
    left: int = 0
    upper: int = 0
    across: int = 1
    down: int = 1

    def box(self, box: Box) -> Box:
        """Return where in here the *box* of the picture lies."""
        return (
            (box[0] - self.left) / self.across,
            (box[1] - self.upper) / self.down,
            (box[2] - self.left) / self.across,
            (box[3] - self.upper) / self.down,
        )


def peak_bytes(
    held_bytes: int, box: Box, size: tuple[int, int], direct: bool, gap: float = GAP
) -> int:
    """Return the bytes of memory at the peak of :func:`prepared` and the resampling after it.

    :param held_bytes: those of the picture as decoded.
    :param direct: whether it is in a mode that is resampled as it is.
    """
    across, down = factors(box, size, gap)
    rows = math.ceil((box[3] - box[1]) / down)
    resampling = (size[0] * rows + 2 * size[0] * size[1]) * _WORKING_BYTES
    if direct and across == down == 1:
        return held_bytes + resampling
    reduced = math.ceil((box[2] - box[0]) / across) * rows * _WORKING_BYTES
    return max(held_bytes + reduced, reduced + resampling)


def prepared(
    picture: Image.Image | Strips, size: tuple[int, int], box: Box, gap: float = GAP
) -> tuple[Image.Image, Box]:
    """Return a picture that can be resampled well and fast to *size*, and the *box* in it.

    Of a picture in strips it is what has been decoded.

    It is *picture* itself if it is in a mode for that, and not much larger than *size*. Else it
    is what the box needs of it, converted and reduced; *picture* may be dropped then.

    :param gap: how much larger than *size* it stays at least.
    :raises BrokenSource: for a mode that is not scaled, such as LAB.
    """
    mode = _working_mode(picture)
    reduction = factors(box, size, gap)
    if mode == picture.mode and reduction == (1, 1) and isinstance(picture, Image.Image):
        return picture, box
    view = _reduced(picture, mode, reduction, _region(picture, size, box))
    return view.picture, view.box(box)


def common(picture: Image.Image | Strips, wanted: Sequence[tuple[tuple[int, int], Box]]) -> View:
    """Return of *picture* what is needed to make several thumbnails of it.

    It is the whole picture as it is, or so much of it as all of them show, reduced as far as suits
    the largest one; *picture* may be dropped then.

    :param wanted: size and box of each of them.
    :raises BrokenSource: for a mode that is not scaled.
    """
    across, down = map(min, zip(*(factors(box, size) for size, box in wanted), strict=True))
    if across == down == 1 and isinstance(picture, Image.Image):
        return View(picture)
    regions = [_region(picture, size, box) for size, box in wanted]
    lefts, uppers, rights, lowers = zip(*regions, strict=True)
    region = min(lefts), min(uppers), max(rights), max(lowers)
    return _reduced(picture, _working_mode(picture), (across, down), region)


def scaled(picture: Image.Image, size: tuple[int, int], box: Box) -> Image.Image:
    """Return the *box* of a prepared *picture* at *size*, in mode L, LA, RGB, RGBA or CMYK."""
    thumbnail = resample(picture, size, box)
    finished = _FINISHED.get(thumbnail.mode)
    return thumbnail.convert(finished) if finished else thumbnail


def factors(box: Box, size: tuple[int, int], gap: float = GAP) -> tuple[int, int]:
    """Return by which numbers, across and down, the *box* is reduced before it is resampled."""
    across = int((box[2] - box[0]) / size[0] / gap) or 1
    down = int((box[3] - box[1]) / size[1] / gap) or 1
    return across, down


def _working_mode(picture: Image.Image | Strips) -> str:
    mode = _WORKING.get(picture.mode)
    if mode is None:
        raise BrokenSource(f"pictures of mode {picture.mode} are not scaled")
    return "RGBa" if "transparency" in picture.info else mode


def _region(
    picture: Image.Image | Strips, size: tuple[int, int], box: Box
) -> tuple[int, int, int, int]:
    """Return what of the picture the thumbnail depends on."""
    # LANCZOS looks beyond the box by its support at the scale that is left
    margin_x = _LANCZOS_SUPPORT * max(1.0, (box[2] - box[0]) / size[0])
    margin_y = _LANCZOS_SUPPORT * max(1.0, (box[3] - box[1]) / size[1])
    return (
        max(0, int(box[0] - margin_x)),
        max(0, int(box[1] - margin_y)),
        min(picture.width, math.ceil(box[2] + margin_x)),
        min(picture.height, math.ceil(box[3] + margin_y)),
    )


def _reduced(
    picture: Image.Image | Strips,
    mode: str,
    reduction: tuple[int, int],
    region: tuple[int, int, int, int],
) -> View:
    stretch = _stretch(picture) if picture.mode in _DEEP else None
    across, down = reduction
    left, upper, right, lower = region
    reduced = Image.new(
        mode, (math.ceil((right - left) / across), math.ceil((lower - upper) / down))
    )
    rows = max(1, _BAND_PIXELS // (right - left) // down) * down
    for top in range(upper, lower, rows):
        band = picture.crop((left, top, right, min(top + rows, lower)))
        if stretch is not None:
            band = (band.convert("I") if band.mode == "I;16B" else band).point(stretch)
        if mode in ("RGBa", "La") and band.mode != mode:
            band = band.convert("RGBA" if mode == "RGBa" else "LA")
        if band.mode != mode:
            band = band.convert(mode)
        reduced.paste(band.reduce(reduction), (0, (top - upper) // down))
    if isinstance(picture, Strips):
        picture.finish()
    return View(reduced, left, upper, across, down)


def _stretch(picture: Image.Image) -> Callable[[float], float]:
    """Return what brings the values of a deep picture into 0..255.

    16 bits are a fixed range. Integers and floats of 32 bits have no range of their own: the
    smallest customary one that holds them is taken.
    """
    if picture.mode in ("I;16", "I;16B"):
        return lambda value: value * (255 / 65535) + 0
    lowest, highest = picture.getextrema()
    ranges = (255, 65535) if picture.mode == "I" else (1, 255, 65535)
    top = next((top for top in ranges if highest <= top), highest)
    bottom = min(lowest, 0)
    factor = 255 / (top - bottom)
    return lambda value: value * factor + (-bottom * factor)
