"""CPU time of making one thumbnail, against other ways of making it, in one interleaved run.

Each rival is a function of (path, case) that does what its users do. They run in turn, round
after round, in one process; every ratio is the median of the ratios within a round, so that a
machine busy for a while slows both sides of each of them.
"""

import io
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageChops, ImageOps

from handlers.image.geometry import Geometry
from handlers.image.thumbnail import make

_SOURCES = {"12mp": (4000, 3000), "24mp": (6000, 4000)}
_GEOMETRIES = {"fit200": Geometry(200, 200), "crop400": Geometry(400, 400, True)}
#: (rival, name of the geometry) -> the ratio that must not be exceeded.
_BARS = {
    ("plain", "fit200"): 0.25,
    ("floor", "fit200"): 1.25,
    ("floor", "crop400"): 1.5,
}
_GRAIN = 3.5
_QUALITY = 90
_THUMBNAIL_QUALITY = 80


class Case(NamedTuple):
    """One source made into one thumbnail; *size* is what a fit comes to."""

    name: str
    geometry: Geometry
    size: tuple[int, int]


def run(args) -> list[dict]:
    """Return one row for each case and rival.

    :param args: has ``rounds``, how often each is measured.
    """
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        for source, size in _SOURCES.items():
            path = Path(directory, f"{source}.jpg")
            photograph(*size).save(path, quality=_QUALITY)
            for name, geometry in _GEOMETRIES.items():
                scale = min(geometry.width / size[0], geometry.height / size[1])
                fitted = round(size[0] * scale), round(size[1] * scale)
                case = Case(f"{source} {name}", geometry, fitted)
                rows += _rows(case, name, _measured(path, case, args.rounds))
    return rows


def photograph(width: int, height: int, seed: int = 1) -> Image.Image:
    """Return a picture with a photograph's statistics: detail at every size, and grain.

    As a JPEG of quality 90 it has about 2 bits a pixel.
    """
    chance = random.Random(seed)
    picture, rows = None, 4
    while rows < min(width, height) // 4:
        noise = Image.frombytes("RGB", (rows, rows), chance.randbytes(rows * rows * 3))
        octave = noise.resize((width, height), Image.Resampling.BICUBIC)
        picture = octave if picture is None else Image.blend(picture, octave, 0.2)
        rows = int(rows * 2.5)
    grain = Image.effect_noise((width, height), _GRAIN).convert("RGB")
    return ImageChops.add(picture, grain, 1, -128)


def ours(path: Path, case: Case) -> None:
    """Make the thumbnail as the handlers do, guards and all."""
    with open(path, "rb") as file:
        make(file, case.geometry, "jpg", quality=_THUMBNAIL_QUALITY)


def plain(path: Path, case: Case) -> None:
    """Open and resize: what most sites do."""
    with Image.open(path) as picture:
        if case.geometry.crop:
            box = _cover(picture.size, case.geometry)
            size = case.geometry[:2]
            _save(picture.resize(size, Image.Resampling.LANCZOS, box))
        else:
            _save(picture.resize(case.size, Image.Resampling.LANCZOS))


def thumbnail(path: Path, case: Case) -> None:
    """Use Image.thumbnail, and ImageOps.fit after it for a crop."""
    with Image.open(path) as picture:
        if case.geometry.crop:
            scale = max(case.geometry.width / picture.width, case.geometry.height / picture.height)
            picture.thumbnail([round(side * scale) for side in picture.size])
            _save(ImageOps.fit(picture, case.geometry[:2], Image.Resampling.LANCZOS))
        else:
            picture.thumbnail(case.geometry[:2])
            _save(picture)


def floor(path: Path, case: Case) -> None:
    """Decode at an eighth, the least that any maker of thumbnails has to do, and no more."""
    with Image.open(path) as picture:
        picture.draft(None, (picture.width // 8, picture.height // 8))
        picture.load()


_RIVALS = {"plain": plain, "thumbnail": thumbnail, "floor": floor}


def _measured(path: Path, case: Case, rounds: int) -> dict[str, list[float]]:
    makers = {"ours": ours, **_RIVALS}
    times = {name: [] for name in makers}
    for maker in makers.values():
        maker(path, case)
    for _ in range(rounds):
        for name, maker in makers.items():
            start = time.process_time()
            maker(path, case)
            times[name].append(time.process_time() - start)
    return times


def _rows(case: Case, geometry: str, times: dict[str, list[float]]) -> list[dict]:
    rows = []
    value = round(statistics.median(times["ours"]) * 1000, 2)
    for rival in _RIVALS:
        ratios = [a / b for a, b in zip(times["ours"], times[rival], strict=True)]
        ratio, bar = statistics.median(ratios), _BARS.get((rival, geometry))
        rows.append(
            {
                "bench": "cold",
                "case": case.name,
                "value": value,
                "unit": "ms CPU",
                "rival": rival,
                "ratio": round(ratio, 3),
                "bar": bar,
                "holds": None if bar is None else ratio <= bar,
            }
        )
    return rows


def _cover(size: tuple[int, int], geometry: Geometry) -> tuple[float, float, float, float]:
    scale = max(geometry.width / size[0], geometry.height / size[1])
    width, height = geometry.width / scale, geometry.height / scale
    left, upper = (size[0] - width) / 2, (size[1] - height) / 2
    return left, upper, left + width, upper + height


def _save(picture: Image.Image) -> None:
    picture.save(io.BytesIO(), "JPEG", quality=_THUMBNAIL_QUALITY)
