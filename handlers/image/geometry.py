"""The size of a thumbnail: its spelling, and the exact arithmetic of fitting and cropping."""

import re
from typing import NamedTuple

LARGEST = 10000
_SPELLING = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})(-crop)?")
_MIDDLE = 0.5


class BadGeometry(ValueError):
    """Raised when a text is not the canonical spelling of a geometry within the bounds."""


class Geometry(NamedTuple):
    """A thumbnail size in pixels: the largest extent of a fit, or the extent a crop covers.

    ``str()`` gives the canonical spelling, ``200x200`` or ``200x200-crop``; there is no other, so
    one geometry has one URL and one place in a cache.
    """

    width: int
    height: int
    crop: bool = False

    def __str__(self) -> str:
        return f"{self.width}x{self.height}{'-crop' if self.crop else ''}"


class Fitting(NamedTuple):
    """What :func:`fit` found: the exact *size* of the thumbnail, and the *box* of the source that
    it shows, as (left, upper, right, lower) in fractional source pixels."""

    size: tuple[int, int]
    box: tuple[float, float, float, float]


def parse(text: str) -> Geometry:
    """Return the geometry spelt by *text*: ``WIDTHxHEIGHT`` or ``WIDTHxHEIGHT-crop``.

    Only the canonical spelling is taken: ASCII digits, no leading zero, each from 1 to 10000.

    :raises BadGeometry: for anything else.
    """
    match = _SPELLING.fullmatch(text)
    if match is None:
        raise BadGeometry(f"not a size: {text[:40]!r}")
    geometry = Geometry(int(match[1]), int(match[2]), match[3] is not None)
    if max(geometry.width, geometry.height) > LARGEST:
        raise BadGeometry(f"{geometry} is over {LARGEST} pixels")
    return geometry


def fit(
    source_size: tuple[int, int],
    geometry: Geometry,
    focus: tuple[float, float] | None = None,
) -> Fitting:
    """Return the size of the thumbnail of a source of *source_size*, and the part that it shows.

    A fit shows everything, as large as *geometry* permits, never enlarged. A crop shows the
    largest part that has the aspect of *geometry*, scaled down to it; of a source too small to
    cover *geometry* it shows the same part at the source's own scale. No side is ever below 1.

    :param source_size: (width, height) in pixels, the way up that the picture is looked at.
    :param focus: the point a crop keeps as near to its middle as the edges allow, as fractions of
        width and height; a value outside 0..1 means the middle, as None does.
    """
    width, height = source_size
    if not geometry.crop:
        scale = min(1.0, geometry.width / width, geometry.height / height)
        return Fitting((_side(width * scale), _side(height * scale)), (0.0, 0.0, width, height))
    scale = min(1.0, width / geometry.width, height / geometry.height)
    size = _side(geometry.width * scale), _side(geometry.height * scale)
    # the aspect of the rounded size, so that both axes are scaled alike
    box_width = min(width, height * size[0] / size[1])
    box_height = min(height, width * size[1] / size[0])
    x, y = focus or (_MIDDLE, _MIDDLE)
    left, right = _span(x, box_width, width)
    upper, lower = _span(y, box_height, height)
    return Fitting(size, (left, upper, right, lower))


def _side(length: float) -> int:
    return max(1, int(length + 0.5))


def _span(focus: float, length: float, whole: int) -> tuple[float, float]:
    middle = focus if 0 <= focus <= 1 else _MIDDLE
    start = min(max(middle * whole - length / 2, 0.0), whole - length)
    return start, min(start + length, whole)
