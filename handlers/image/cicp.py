"""Colour that is told by numbers: code points (ITU-T H.273), PNG's gAMA and cHRM.

Numbers whose meaning is not known, or left open, mean sRGB, as they do to browsers.
"""

import struct
from typing import NamedTuple

#: x and y of white, red, green and blue.
Primaries = tuple[float, float, float, float, float, float, float, float]
_Matrix = list[list[float]]

_D65 = (0.3127, 0.329)
_C = (0.31, 0.316)
_DCI = (0.314, 0.351)
_E = (1 / 3, 1 / 3)
SRGB: Primaries = (*_D65, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
BT2020: Primaries = (*_D65, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046)
# H.273, table 2
_PRIMARIES: dict[int, Primaries] = {
    1: SRGB,
    4: (*_C, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.6, 0.15, 0.06),
    6: (*_D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    7: (*_D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    8: (*_C, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    9: BT2020,
    10: (*_E, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0),
    11: (*_DCI, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
    12: (*_D65, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
    22: (*_D65, 0.63, 0.34, 0.295, 0.605, 0.155, 0.077),
}
PQ, HLG = 16, 18
#: Primaries and transfer of sRGB.
SRGB_CODES = 1, 13
# the parameters of ICC.1:2022, 10.18: g for x^g, or g, a, b, c, d for (ax + b)^g from d on, else cx
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
# H.273, table 3
_CURVES: dict[int, tuple[float, ...]] = {
    4: (2.2,),
    5: (2.8,),
    7: (1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 0.25, 0.0913),
    8: (1.0,),
    13: _SRGB_CURVE,
    17: (2.6, (52.37 / 48) ** (1 / 2.6), 0.0, 0.0, 0.0),
}
#: Those of television: BT.709, 601, 2020 with 10 and 12 bits, and xvYCC.
_TELEVISION = {1, 6, 11, 14, 15}
_TELEVISION_CURVE = (2.4,)
#: Nits of the brightest a PQ picture is taken to have where it does not say, and an HLG one has.
_PEAK = 1000.0
# a PNG says gAMA 0.45455 and means sRGB; libpng takes what is within a twentieth of it for that
_GAMMA, _NEARLY = 1 / 2.2, 0.05
_LARGEST_EXPONENT = 32000.0
_D50 = (0.9642, 1.0, 0.8249)
_BRADFORD = [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
_SINGULAR = 1e-6


class Coding(NamedTuple):
    """Colours by a matrix and a curve: *curve* has the parameters that ICC gives to ``para``."""

    primaries: Primaries
    curve: tuple[float, ...]


class Bright(NamedTuple):
    """Colours brighter than a page: *transfer* is PQ or HLG, *peak* its brightest in nits."""

    primaries: Primaries
    transfer: int
    peak: float


def of_codes(
    primaries: int, transfer: int, peak: float | None = None, *, as_video: bool = False
) -> Coding | Bright | None:
    """Return what two code points mean; None if that is sRGB, or not known.

    :param peak: nits of the brightest, if the picture says so.
    :param as_video: whether the curves of television are shown as on a television, with an exponent
        of 2.4: browsers do so in PNG. In AVIF they take them for that of sRGB.
    """
    found = _PRIMARIES.get(primaries)
    if found is None:
        return None
    if transfer == PQ:
        return Bright(found, PQ, peak or _PEAK)
    if transfer == HLG:
        return Bright(found, HLG, _PEAK)
    if transfer in _TELEVISION:
        curve = _TELEVISION_CURVE if as_video else _SRGB_CURVE
    else:
        curve = _CURVES.get(transfer)
    if curve is None or (found, curve) == (SRGB, _SRGB_CURVE):
        return None
    return Coding(found, curve)


def of_gamma(gamma: float, primaries: Primaries | None) -> Coding | None:
    """Return what PNG's gAMA and cHRM mean together; None for sRGB, or what makes no sense.

    :param gamma: the exponent of encoding, such as 0.45455.
    :param primaries: None if there is no cHRM.
    """
    if gamma <= 0:
        return None
    if primaries is None:
        if abs(gamma / _GAMMA - 1) < _NEARLY:
            return None
        primaries = SRGB
    elif not _is_possible(primaries):
        return None
    return Coding(primaries, (min(1 / gamma, _LARGEST_EXPONENT),))


def profile(coding: Coding, is_grey: bool) -> bytes:
    """Return an ICC profile (ICC.1:2022) that says what *coding* does."""
    kind = 0 if len(coding.curve) == 1 else 3
    curve = b"para" + struct.pack(">IHH", 0, kind, 0) + b"".join(map(_fixed, coding.curve))
    if is_grey:
        tags = {b"kTRC": curve}
    else:
        red, green, blue = zip(*_adapted(coding.primaries), strict=True)
        tags = {b"rXYZ": _xyz(red), b"gXYZ": _xyz(green), b"bXYZ": _xyz(blue)}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    tags[b"wtpt"] = _xyz(_D50)
    table, body, start = [], b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        table.append(struct.pack(">4sII", name, start + len(body), len(data)))
        body += data
    header = struct.pack(
        ">I4xI4s4s4s12x4s28x12s48x",
        start + len(body),
        0x04300000,
        b"mntr",
        b"GRAY" if is_grey else b"RGB ",
        b"XYZ ",
        b"acsp",
        _xyz(_D50)[8:],
    )
    return header + struct.pack(">I", len(tags)) + b"".join(table) + body


def to_xyz(primaries: Primaries) -> _Matrix:
    """Return the matrix from linear red, green and blue to X, Y, Z, white having Y = 1."""
    white, *colours = (_column(*primaries[at : at + 2]) for at in range(0, 8, 2))
    matrix = [list(row) for row in zip(*colours, strict=True)]
    parts = applied(inverse(matrix), [value / white[1] for value in white])
    return [[value * part for value, part in zip(row, parts, strict=True)] for row in matrix]


def product(one: _Matrix, other: _Matrix) -> _Matrix:
    """Return the product of two matrices."""
    columns = [applied(one, column) for column in zip(*other, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def applied(matrix: _Matrix, vector) -> list[float]:
    """Return the product of *matrix* and *vector*."""
    x, y, z = vector
    return [a * x + b * y + c * z for a, b, c in matrix]


def inverse(matrix: _Matrix) -> _Matrix:
    """Return the inverse of *matrix*.

    :raises ZeroDivisionError: if it has none.
    """
    (a, b, c), (d, e, f), (g, h, i) = matrix
    whole = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    return [
        [(e * i - f * h) / whole, (c * h - b * i) / whole, (b * f - c * e) / whole],
        [(f * g - d * i) / whole, (a * i - c * g) / whole, (c * d - a * f) / whole],
        [(d * h - e * g) / whole, (b * g - a * h) / whole, (a * e - b * d) / whole],
    ]


def _column(x: float, y: float) -> tuple[float, float, float]:
    return x, y, 1 - x - y


def _adapted(primaries: Primaries) -> _Matrix:
    """Return the matrix to X, Y, Z with a white of D50, which ICC asks for."""
    matrix = to_xyz(primaries)
    white = applied(matrix, (1, 1, 1))
    here, there = applied(_BRADFORD, white), applied(_BRADFORD, _D50)
    scaled = [
        [value * to / of for value in row]
        for row, of, to in zip(_BRADFORD, here, there, strict=True)
    ]
    return product(product(inverse(_BRADFORD), scaled), matrix)


def _is_possible(primaries: Primaries) -> bool:
    """Tell whether they span a triangle, and white has some light in it."""
    white, red, green, blue = (primaries[at : at + 2] for at in range(0, 8, 2))
    area = (green[0] - red[0]) * (blue[1] - red[1]) - (blue[0] - red[0]) * (green[1] - red[1])
    return abs(area) > _SINGULAR and white[1] > _SINGULAR


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(values) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(_fixed, values))
