"""Pictures brighter than a page, shown on one: PQ and HLG (ITU-R BT.2100), tone-mapped to sRGB.

What browsers do on an ordinary screen: white paper is 203 nits (ITU-R BT.2408), it is dimmed to
make room for what is brighter, and the rest is bent up to the peak (SMPTE ST 2094-50, reference
white tone mapping). The brightest of red, green and blue in BT.2020 decides how much, so hues stay.
"""

import functools
import math
from collections.abc import Callable

from PIL import Image, ImageFilter

from handlers.image import cicp
from handlers.image.cicp import Bright

_WHITE_NITS = 203.0
_USUAL_PEAK = 1000.0
_NITS = 10000.0
#: How much white is dimmed where the peak is the usual one, and how the bend is rounded.
_DIMMED, _ROUNDED = 0.5, 0.65
#: Points of the table along each side; between them it is interpolated.
_POINTS = 33
_TABLES_KEPT = 2


def to_srgb(thumbnail: Image.Image, bright: Bright) -> Image.Image:
    """Return *thumbnail*, of mode L, LA, RGB or RGBA, in sRGB."""
    if thumbnail.mode in ("L", "LA"):
        grey, *alpha = thumbnail.split()
        return Image.merge(thumbnail.mode, (grey.point(_greys(bright)), *alpha))
    colours = thumbnail.convert("RGB").filter(_table(bright))
    if thumbnail.mode == "RGBA":
        colours.putalpha(thumbnail.getchannel("A"))
    return colours


@functools.lru_cache(_TABLES_KEPT)
def _table(bright: Bright) -> ImageFilter.Color3DLUT:
    shown = _shown(bright)
    curve = _curve(bright)
    steps = [curve(number / (_POINTS - 1)) for number in range(_POINTS)]
    table = []
    for blue in steps:
        for green in steps:
            for red in steps:
                table += shown(red, green, blue)
    return ImageFilter.Color3DLUT(_POINTS, table)


@functools.lru_cache(_TABLES_KEPT)
def _greys(bright: Bright) -> list[int]:
    shown, curve = _shown(bright), _curve(bright)
    return [round(255 * shown(*[curve(value / 255)] * 3)[1]) for value in range(256)]


def _curve(bright: Bright) -> Callable[[float], float]:
    return _pq if bright.transfer == cicp.PQ else _hlg


def _shown(bright: Bright) -> Callable[[float, float, float], list[float]]:
    """Return what makes of linear red, green and blue those of sRGB, 0 to 1."""
    to_2020 = cicp.product(cicp.inverse(cicp.to_xyz(cicp.BT2020)), cicp.to_xyz(bright.primaries))
    to_page = cicp.product(cicp.inverse(cicp.to_xyz(cicp.SRGB)), cicp.to_xyz(cicp.BT2020))
    luminance = cicp.to_xyz(bright.primaries)[1]
    gain = _gain(bright.peak)

    def shown(*light: float) -> list[float]:
        if bright.transfer == cicp.HLG:
            # the contrast of the whole picture, BT.2100 table 5
            grey = sum(a * b for a, b in zip(luminance, light, strict=True))
            factor = grey**0.2 * _USUAL_PEAK / _WHITE_NITS
            light = [value * factor for value in light]
        light = cicp.applied(to_2020, light)
        factor = gain(max(light))
        return [_encoded(value * factor) for value in cicp.applied(to_page, light)]

    return shown


def _pq(value: float) -> float:
    root = value ** (1 / 78.84375)
    light = max(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)
    return light ** (1 / 0.1593017578125) * _NITS / _WHITE_NITS


def _hlg(value: float) -> float:
    a = 0.17883277
    if value <= 0.5:
        return value * value / 3
    return (math.exp((value - 0.5 + a * math.log(4 * a)) / a) + 1 - 4 * a) / 12


def _gain(peak: float) -> Callable[[float], float]:
    """Return what light is multiplied with, by its brightness; 1 is white paper."""
    top = peak / _WHITE_NITS
    if top <= 1:
        return lambda brightness: 1.0
    room = math.log(top) / math.log(_USUAL_PEAK / _WHITE_NITS)
    white = 1 - (1 - _DIMMED) * min(room, 1)
    # a Bezier curve of second degree from white paper to the peak
    middle_x = (1 - _ROUNDED) + _ROUNDED / white
    middle_y = (1 - _ROUNDED) * white + _ROUNDED
    square, slope = 1 - 2 * middle_x + top, 2 * (middle_x - 1)

    def gain(brightness: float) -> float:
        if brightness <= 1:
            return white
        if brightness >= top:
            return 1 / brightness
        # the same root as of the usual formula, which fails where the square is nearly nothing
        over = brightness - 1
        t = 2 * over / (slope + math.sqrt(slope * slope + 4 * square * over))
        shown = white + 2 * (middle_y - white) * t + (white - 2 * middle_y + 1) * t * t
        return shown / brightness

    return gain


def _encoded(light: float) -> float:
    light = min(max(light, 0.0), 1.0)
    return 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055
