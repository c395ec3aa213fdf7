"""CPU time of two sizes of one picture by a maker, with ``thumbnail.together`` and without.

The size that is asked for may cost more, as more is decoded, and the other one is made of that.
"""

import pathlib
import statistics
import tempfile

from handlers import state_directory, worker
from handlers.image.limits import Limits
from handlers.maker import client
from handlers.maker.job import Job
from tests.benchmarks import _rivals
from tests.benchmarks._load import row
from tests.servers.httpd import makers_of
from tests.support import photograph

_SOURCES = {
    "12 MP JPEG": ("12.jpg", (4000, 3000)),
    "3 MP JPEG": ("3.jpg", (2000, 1500)),
    "12 MP PNG": ("12.png", (4000, 3000)),
}
_PAIRS = [
    ("200x200", "400x400", "jpg"),
    ("400x400", "200x200", "jpg"),
    ("200x200", "400x400", "webp"),
]
_BOTH_BAR = 0.8
_BOUNDS = worker.Bounds(60, 60, 1 << 30)


def run(args):
    """Return, for each source and pair of sizes, what the first one and both together take."""
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        state_directory.ensure(directory)
        for name, (file, size) in _SOURCES.items():
            path = pathlib.Path(directory, file)
            photograph(*size).save(path, **({"quality": 90} if file.endswith("jpg") else {}))
            for pair in _PAIRS:
                rows += _rows(directory, path, name, pair, args.rounds)
    return rows


def _rows(cache, path, name, pair, rounds):
    first, other, ext = pair
    alone, beside, both_alone, both_beside = [], [], [], []
    for number in range(rounds + 1):
        one, two = (_seconds(cache, path, _job(size, ext)) for size in (first, other))
        kept = _seconds(cache, path, _job(first, ext)._replace(beside=(other,)))
        made = _seconds(cache, path, _job(other, ext)._replace(of_kept=True))
        # the first round loads what later ones have
        if number:
            alone.append(one)
            both_alone.append(one + two)
            beside.append(kept)
            both_beside.append(kept + made)
    case = f"{name}, {first}, then {other}, {ext}"
    figures = {"the first": (beside, alone, None), "both": (both_beside, both_alone, _BOTH_BAR)}
    found = []
    for what, (own, others, bar) in figures.items():
        ratio = statistics.median(a / b for a, b in zip(own, others, strict=True))
        holds = None if bar is None else ratio <= bar
        value = statistics.median(own) * 1000
        text = None if bar is None else f"<= {bar}"
        found.append(
            row("together", f"{case}: {what}", value, "ms CPU", "alone", ratio, text, holds)
        )
    return found


def _job(size, ext):
    return Job(size, ext, None, Limits(), None, False, False)


def _seconds(cache, path, job):
    start = _used(cache)
    with open(path, "rb") as file:
        done = client.ask(cache, 0, job, [file.fileno()], _BOUNDS)
    assert "error" not in done.answer, done.answer
    return _used(cache) - start


def _used(cache):
    # proc_pid_schedstat: nanoseconds on a CPU
    told = [pathlib.Path(f"/proc/{pid}/schedstat").read_text() for pid in makers_of(cache)]
    return _rivals.cpu_seconds() + sum(int(text.split()[0]) for text in told) / 1e9
