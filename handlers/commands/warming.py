"""Makes thumbnails ahead, by several processes, and leaves those alone that exist."""

import contextlib
import functools
import logging
import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple

from handlers import lookup, making, names, source, worker
from handlers.cache import stamp
from handlers.cache.failures import FailedBefore
from handlers.cache.store import Store
from handlers.cache.turns import Turns
from handlers.commands.progress import Progress
from handlers.commands.result import Failed
from handlers.commands.terminal import Terminal
from handlers.database.errors import DatabaseAway
from handlers.errors import Misconfigured
from handlers.image.errors import ImageError
from handlers.lookup import placeholders
from handlers.making import Asked, Recipe
from handlers.settings import Settings

log = logging.getLogger(__name__)

# jobs that wait for each process, so that none is idle while the next id is looked up
_AHEAD = 4

_EXPECTED = (
    source.SourceMissing,
    source.SourceRefused,
    ImageError,
    FailedBefore,
    lookup.Unavailable,
    making.RowChanged,
    stamp.Outdated,
    worker.WorkerDied,
    worker.WorkerTimeout,
)


class Plan(NamedTuple):
    """What to make for each picture, and how."""

    directory: str
    #: The largest first, of which the others can be made.
    sizes: list[str]
    formats: list[str]
    recipe: Recipe
    #: Processes that make thumbnails at a time.
    processes: int
    #: What the cache is bound to.
    options: Settings
    #: Whether rows without a placeholder get one.
    placeholders: bool = False


class Warmed(NamedTuple):
    """What became of one picture's thumbnails, and what there is to say of it."""

    made: int
    present: int
    failed: int
    messages: tuple[str, ...]
    placeholders: int = 0


def run(
    pictures: lookup.Lookup, ids: Iterable[str], plan: Plan, total: int | None, terminal: Terminal
) -> dict[str, int]:
    """Make the thumbnails of *plan* for every one of the *ids*; return counts of what was done.

    Warnings and progress go to *terminal*: a bar, or in a pipe, a line now and then.

    :raises lookup.Unavailable: if the database is needed and does not answer.
    :raises Failed: if somebody killed one of the processes.
    """
    counts = {"pictures": 0, "made": 0, "present": 0, "failed": 0}
    if plan.placeholders:
        counts["placeholders"] = 0
    progress = Progress(
        terminal,
        "pictures",
        total,
        lambda seconds: f": {counts['made']} made ({counts['made'] / max(1e-9, seconds):.0f}/s)",
    )
    context = multiprocessing.get_context("fork")
    try:
        with futures.ProcessPoolExecutor(plan.processes, context, _begin) as pool:
            try:
                for warmed in _each(pool, functools.partial(_warm, plan), pictures, ids, plan):
                    for message in warmed.messages:
                        terminal.say(message)
                    counts["pictures"] += 1
                    for name in counts.keys() - {"pictures"}:
                        counts[name] += getattr(warmed, name)
                    progress.add()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    except BrokenProcessPool:
        raise Failed(
            "a process that makes thumbnails was killed; run the command again, "
            "and it goes on where it stopped"
        ) from None
    finally:
        terminal.clear()
    return counts


def _each(pool, work, pictures: lookup.Lookup, ids: Iterable[str], plan: Plan) -> Iterator[Warmed]:
    waiting: set[futures.Future] = set()
    for id in ids:
        row = pictures.get(id)
        with _interrupts_delayed():
            # the first one starts the processes
            waiting.add(pool.submit(work, id, row))
        if len(waiting) >= plan.processes * _AHEAD:
            done, waiting = futures.wait(waiting, return_when=futures.FIRST_COMPLETED)
            yield from (future.result() for future in done)
    yield from (future.result() for future in futures.as_completed(waiting))


@contextlib.contextmanager
def _interrupts_delayed() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block, and ignore it in a process that is started there.

    Python drops an exception that comes in the middle of fork(), and any thread may get the signal.
    """
    came = []
    handler = signal.signal(signal.SIGINT, lambda *_: came.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if came:
        signal.raise_signal(signal.SIGINT)


def _begin() -> None:
    """Make the process one that ends with its parent, and whose log lines its parent writes."""
    worker.die_with_parent(signal.SIGTERM)
    # Ctrl-C is for the parent, which lets the thumbnails in the making be finished
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("handlers").handlers[:] = [_collector]


class _Collector(logging.Handler):
    """Keeps messages until the picture that they belong to is done."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self._messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._messages.append(record.getMessage())

    def take(self) -> tuple[str, ...]:
        messages, self._messages = tuple(self._messages), []
        return messages


_collector = _Collector()


def _warm(plan: Plan, id: str, row: lookup.Row | None) -> Warmed:
    """Make the thumbnails of one picture that are not in the cache."""
    if row is None:
        log.warning("%s: no such picture", id)
        return Warmed(0, 0, 1, _collector.take())
    if row.private:
        return Warmed(0, 0, 0, ())
    store, pictures = Store(plan.directory), lookup.open(plan.options)
    made = present = failed = maker = 0

    def keep(slot: int, sizes: Sequence[str]) -> None:
        # it has decoded the picture already
        nonlocal maker
        maker = slot

    name = names.of(id)
    for format in plan.formats:
        wanted = [Asked(size, name, format) for size in plan.sizes]
        missing = [asked for asked in wanted if not store.has(asked.name)]
        present += len(wanted) - len(missing)
        for number, asked in enumerate(missing, 1):
            beside = [other.size for other in missing[number:]]
            turns = Turns(plan.directory, plan.processes, None, None, first=maker)
            try:
                check = making.still_true(store, asked, row, pictures, plan.options)
                making.make(store, asked, row, plan.recipe, turns, check, beside, keep)
                made += 1
            except _EXPECTED as error:
                log.warning("%s: %s", asked.name, error)
                failed += 1
    blurred = 0
    if plan.placeholders:
        try:
            blurred = _blurred(plan, store, id, row)
        except _EXPECTED as error:
            # a source that fails has its line already
            if not failed:
                log.warning("placeholder of %s: %s", id, error)
            failed += 1
    return Warmed(made, present, failed, _collector.take(), blurred)


def _blurred(plan: Plan, store: Store, id: str, row: lookup.Row) -> int:
    """Give the row a placeholder if it has none; return how many it got.

    :raises Failed: if the database fails.
    """
    try:
        column = _column(plan.options)
        if not column.is_missing(id):
            return 0
        turns = Turns(plan.directory, plan.processes, None, None)
        text = making.placeholder(store, names.of(id), row, plan.recipe, turns)
        column.put(id, text)
    except (Misconfigured, DatabaseAway) as error:
        raise Failed(f"lookup.placeholder: {error}") from error
    return int(text != placeholders.NONE)


# one of each process of the pool, with a connection of its own
_columns: dict[int, placeholders.Column] = {}


def _column(options: Settings) -> placeholders.Column:
    found = _columns.get(os.getpid())
    if found is None:
        found = _columns[os.getpid()] = placeholders.Column(options)
    return found
