"""What it costs to be seen: an increment, and a thumbnail made with all counts and without any."""

import itertools
import os
import statistics
import time

from handlers import counters, making
from handlers.cache.store import Store
from handlers.cache.turns import Turns
from handlers.image.limits import Limits
from handlers.lookup import Row
from handlers.maker import roll
from tests.benchmarks._load import row, workplace
from tests.support import photograph

INCREMENT_BAR, MISS_BAR = 1.0, 1.01
_TIMES = 100_000
_MISSES = 40


def run(args):
    """Return the rows of the benchmark."""
    with workplace() as base:
        return _run(base, args.rounds)


def _run(base, rounds):
    photograph(1200, 900).save(base / "a.jpg", quality=85)
    cache = str(base / "cache")
    counters.use(cache)
    counted = counters._default
    add, observed, noting, ratios = [], [], [], []
    numbers = itertools.count()

    def misses(note):
        counters._default, roll.note = (counted, note) if note else (None, lambda *_: None)
        started = time.perf_counter()
        for _ in range(_MISSES):
            # as thumbnail.py counts one, with that of the request
            counters.answered()
            _make(cache, base, next(numbers))
        return time.perf_counter() - started

    noted = roll.note
    misses(noted)
    for number in range(rounds):
        counters._default = counted
        add.append(_micros(lambda: counters.add("thumbnails_made")))
        observed.append(_micros(lambda: counters.observe("thumbnail_making_seconds", 0.04)))
        noting.append(_micros(lambda: noted(cache, 0, 0, 1), _TIMES // 20))
        # each is first in every other round
        order = (noted, None) if number % 2 else (None, noted)
        times = {note: misses(note) for note in order}
        ratios.append(times[noted] / times[None])
    counters._default, roll.note = counted, noted
    increment, observation = statistics.median(add), statistics.median(observed)
    miss = statistics.median(ratios)
    return [
        row(
            "counting",
            "one increment",
            increment,
            "us",
            bar="<= 1",
            holds=increment <= INCREMENT_BAR,
        ),
        row("counting", "one value of a distribution", observation, "us"),
        row("counting", "who the maker is, once a thumbnail", statistics.median(noting), "us"),
        row(
            "counting",
            "thumbnails of 1200x900 JPEG, made with all counts",
            miss,
            "of the time without",
            bar=f"<= {MISS_BAR}",
            holds=miss <= MISS_BAR,
        ),
    ]


def _make(cache, base, number):
    how = making.Recipe(str(base), Limits(), {}, False, 5, 3600, 3)
    turns = Turns(cache, os.cpu_count(), None, None)
    asked = making.Asked("200x200", f"p{number}", "jpg")
    making.make(Store(cache), asked, Row("a.jpg"), how, turns)


def _micros(call, times=_TIMES):
    started = time.thread_time()
    for _ in range(times):
        call()
    return (time.thread_time() - started) / times * 1e6
