"""CPU time of one made thumbnail, against what other programs and packages take for it.

The sources are synthetic, with the statistics that decide how long a decoder takes: detail at every
size, and grain. The rivals stand for libraries and for what their users do; those that are not
installed are left out, and named. All run in turn, round after round; every ratio is the median of
the ratios within a round, so that a machine busy for a while slows both sides of each of them.
"""

import contextlib
import statistics
import sys
import tempfile
import unittest.mock
from pathlib import Path
from typing import NamedTuple

from handlers import state_directory, worker
from handlers.image import resampling
from handlers.image.geometry import Geometry
from handlers.image.limits import Limits
from handlers.image.thumbnail import make
from handlers.maker import client
from handlers.maker.job import Job
from tests.benchmarks import _rivals
from tests.servers.httpd import makers_of
from tests.support import photograph

_SOURCES = {"12mp": (4000, 3000), "24mp": (6000, 4000)}
_GEOMETRIES = {"fit200": Geometry(200, 200), "crop400": Geometry(400, 400, True)}
#: (rival, name of the geometry) -> the ratio that must not be exceeded.
_BARS = {
    ("plain", "fit200"): 0.25,
    ("floor", "fit200"): 1.25,
    ("floor", "crop400"): 1.5,
    ("pyvips", "fit200"): 1.0,
    ("pyvips", "crop400"): 1.0,
}
_QUALITY = 90
_THUMBNAIL_QUALITY = 80
_OURS = "ours"
_FAST = "with cykooz.resizer"
_BY_MAKER = "by a maker"
_OWN = (_OURS, _FAST, _BY_MAKER)


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
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        rivals, missing = stack.enter_context(_rivals.installed())
        for name in missing:
            print(f"not installed: {name}", file=sys.stderr)
        rivals |= {
            "floor": _rivals.timed(_rivals.floor),
            _BY_MAKER: stack.enter_context(_maker()),
        }
        if resampling.fast is None:
            print("not installed: cykooz.resizer (pip install cykooz.resizer)", file=sys.stderr)
        else:
            rivals[_FAST] = _rivals.timed(with_resizer)
        for source, size in _SOURCES.items():
            path = Path(directory, f"{source}.jpg")
            photograph(*size).save(path, quality=_QUALITY)
            for name, geometry in _GEOMETRIES.items():
                scale = min(geometry.width / size[0], geometry.height / size[1])
                fitted = round(size[0] * scale), round(size[1] * scale)
                case = Case(f"{source} {name}", geometry, fitted)
                rows += _rows(case, name, _measured(path, case, rivals, args.rounds))
    return rows


def ours(path: Path, case: Case) -> None:
    """Make the thumbnail as the handlers do, guards and all, with what is always installed."""
    with unittest.mock.patch.object(resampling, "fast", None):
        with_resizer(path, case)


def with_resizer(path: Path, case: Case) -> bytes:
    """Make the thumbnail as the handlers do where cykooz.resizer is installed."""
    with open(path, "rb") as file:
        return make(file, case.geometry, "jpg", quality=_THUMBNAIL_QUALITY).data


@contextlib.contextmanager
def _maker():
    """Yield what makes it as a child of the server does: by a maker, with what is installed."""
    with tempfile.TemporaryDirectory() as cache:
        state_directory.ensure(cache)

        def used():
            # proc_pid_schedstat: nanoseconds on a CPU
            pids = makers_of(cache)
            told = [Path(f"/proc/{pid}/schedstat").read_text().split()[0] for pid in pids]
            return _rivals.cpu_seconds() + sum(map(int, told)) / 1e9

        def by_maker(path, case):
            geometry = case.geometry
            size = f"{geometry.width}x{geometry.height}{'-crop' * geometry.crop}"
            job = Job(size, "jpg", None, Limits(), _THUMBNAIL_QUALITY, False, False)
            start = used()
            with open(path, "rb") as file:
                client.ask(cache, 0, job, [file.fileno()], worker.Bounds(60, 60, 1 << 30))
            return used() - start

        yield by_maker


def _measured(path, case, rivals, rounds) -> dict[str, list[float]]:
    makers = {_OURS: _rivals.timed(ours), **rivals}
    times = {name: [] for name in makers}
    for maker in makers.values():
        maker(path, case)
    for _ in range(rounds):
        for name, maker in makers.items():
            times[name].append(maker(path, case))
    return times


def _rows(case: Case, geometry: str, times: dict[str, list[float]]) -> list[dict]:
    rows = []
    for name in _OWN:
        own = times.get(name)
        if own is None:
            continue
        value = round(statistics.median(own) * 1000, 2)
        of_case = []
        for rival in times.keys() - set(_OWN):
            ratio = statistics.median(a / b for a, b in zip(own, times[rival], strict=True))
            bar = _BARS.get((rival, geometry))
            of_case.append(
                {
                    "bench": "cold",
                    "case": case.name if name == _OURS else f"{case.name}, {name}",
                    "value": value,
                    "unit": "ms CPU",
                    "rival": rival,
                    "ratio": round(ratio, 3),
                    "bar": bar,
                    "holds": None if bar is None else ratio <= bar,
                }
            )
        rows += sorted(of_case, key=lambda row: row["ratio"])
    return rows
