"""What is seen of a picture: the chart that all members show, and the grid that compares two."""

import functools

from PIL import Image

SIZE = 160, 120
_GRID, _PATCH = 8, 16


def grid(picture):
    """Return the 64 cells of *picture*, each [red, green, blue, alpha]."""
    small = (
        picture.convert("RGBA").convert("RGBa").resize((_GRID * _PATCH,) * 2, Image.Resampling.BOX)
    )
    # halves of a cell, from a quarter of it on: every other one is a cell's middle
    quarter, side = _PATCH // 4, _PATCH * _GRID
    halves = small.crop((quarter, quarter, side + quarter, side + quarter)).reduce(_PATCH // 2)
    pixels = halves.load()
    return [
        list(pixels[x, y]) for y in range(0, halves.height, 2) for x in range(0, halves.width, 2)
    ]


def on_white(cells):
    """Return the grid of the same picture on white, as JPEG has it."""
    return [[red + 255 - a, green + 255 - a, blue + 255 - a, 255] for red, green, blue, a in cells]


def apart(cells, others):
    """Return the mean of the differences between two grids."""
    pairs = [pair for cell in zip(cells, others, strict=True) for pair in zip(*cell, strict=True)]
    return sum(abs(one - other) for one, other in pairs) / len(pairs)


def patches(mode="RGB"):
    """Return the colours of the chart's patches, row by row."""
    found = []
    for y in range(_GRID):
        for x in range(_GRID):
            ramp = 4 + 9 * (x + y * 4)
            if y in (2, 5) or mode == "L":
                found.append((min(255, ramp),) * 3)
            else:
                found.append(
                    ((40 + x * 29) % 256, (200 - y * 23 + x * 40) % 256, (x * 73 + y * 57) % 256)
                )
    return found


@functools.cache
def chart(mode="RGB", size=SIZE):
    """Return the chart in *mode*: L, LA, RGB, RGBA, P or CMYK."""
    colours = patches("L" if mode in ("L", "LA", "1") else "RGB")
    small = Image.new("RGB", (_GRID, _GRID))
    small.putdata(colours)
    picture = small.resize(size, Image.Resampling.NEAREST)
    if mode in ("LA", "RGBA"):
        alpha = (
            Image.linear_gradient("L").resize((_GRID, _GRID)).resize(size, Image.Resampling.NEAREST)
        )
        picture = picture.convert(mode)
        picture.putalpha(alpha)
        return picture
    if mode == "P":
        return picture.quantize(64, dither=Image.Dither.NONE)
    return picture.convert(mode)
