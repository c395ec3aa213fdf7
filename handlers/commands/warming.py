"""Making thumbnails ahead, by several processes; what is there already is left alone."""

import logging
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from handlers import lookup, making, source, worker
from handlers.cache.failures import FailedBefore
from handlers.cache.store import Store
from handlers.cache.turns import Turns
from handlers.image.errors import ImageError
from handlers.making import Asked, Recipe

log = logging.getLogger(__name__)

_BAR = 40
_REDRAWN = 0.1
_REPORTED = 30.0


class Warmed(NamedTuple):
    """What became of one picture's thumbnails."""

    id: str
    made: int
    present: int
    failed: int


def run(
    pictures: lookup.Lookup,
    ids: Iterable[str],
    work: Callable[[tuple[str, lookup.Row | None]], Warmed],
    processes: int,
    total: int | None,
) -> int:
    """Do the *work* for every one of the *ids*; return 1 if a thumbnail could not be made.

    Progress goes to standard error: a bar on a terminal, else a line now and then.
    """
    progress = _Progress(total)
    jobs = ((id, pictures.get(id)) for id in ids)
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        for warmed in pool.imap_unordered(work, jobs):
            progress.add(warmed)
    progress.end()
    return 1 if progress.failed else 0


def warm(
    directory: str,
    sizes: list[str],
    formats: list[str],
    how: Recipe,
    makers: int,
    job: tuple[str, lookup.Row | None],
) -> Warmed:
    """Make the thumbnails of one picture that are not in the cache."""
    id, row = job
    if row is None:
        log.warning("%s: no such picture", id)
        return Warmed(id, 0, 0, 1)
    if row.private:
        return Warmed(id, 0, 0, 0)
    store, focus = Store(directory), making.focus_of(row)
    made = present = failed = 0
    for asked in _asked(id, sizes, formats):
        if store.has(asked.name):
            present += 1
            continue
        try:
            making.make(store, asked, row.path, focus, how, Turns(directory, makers, None, None))
            made += 1
        except (
            source.SourceMissing,
            source.SourceRefused,
            ImageError,
            FailedBefore,
            worker.WorkerDied,
            worker.WorkerTimeout,
        ) as error:
            log.warning("%s: %s", asked.name, error)
            failed += 1
    return Warmed(id, made, present, failed)


def _asked(id: str, sizes: list[str], formats: list[str]) -> Iterator[Asked]:
    return (Asked(size, id, format) for size in sizes for format in formats)


class _Progress:
    """Counts, and says so."""

    def __init__(self, total: int | None):
        self._total = total
        self._started = time.monotonic()
        self._said = 0.0
        self._on_terminal = sys.stderr.isatty()
        self._pictures = self._made = self._present = 0
        self.failed = 0

    def add(self, warmed: Warmed) -> None:
        """Count one picture."""
        self._pictures += 1
        self._made += warmed.made
        self._present += warmed.present
        self.failed += warmed.failed
        now = time.monotonic()
        if now - self._said > (_REDRAWN if self._on_terminal else _REPORTED):
            self._said = now
            self._say("\r" if self._on_terminal else "\n")

    def end(self) -> None:
        """Say the last word."""
        self._say("\n")

    def _say(self, end: str) -> None:
        bar = ""
        if self._total and self._on_terminal:
            filled = min(_BAR, _BAR * self._pictures // self._total)
            bar = f"[{'#' * filled}{'.' * (_BAR - filled)}] "
        of = f" of {self._total}" if self._total else ""
        rate = self._made / max(1e-9, time.monotonic() - self._started)
        print(
            f"{bar}{self._pictures}{of} pictures: {self._made} made ({rate:.0f}/s), "
            f"{self._present} there already, {self.failed} failed",
            end=end,
            file=sys.stderr,
            flush=True,
        )
