"""Making one thumbnail of the cache: whose turn it is, from which source, within which limits.

What a request and the command ``cache warm`` have in common; neither a request nor a lookup is
known here.
"""

import base64
import contextlib
import functools
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

from handlers import counters, names, settings, source, worker
from handlers.cache import marks, stamp
from handlers.cache.failures import Failures, Kinds
from handlers.cache.store import EXTENSIONS, Store
from handlers.cache.turns import Turns
from handlers.image import errors
from handlers.image.limits import Limits
from handlers.lookup.row import LONGEST_PLACEHOLDER
from handlers.maker import client
from handlers.maker.job import Job, run

log = logging.getLogger(__name__)

_COPY_FROM = 3
_BLURRED_SIZE = "20x20"
_TRIED_SIZE = "200x200"
# the first one whose file is small enough counts
_BLURRED_QUALITIES = (50, 20, 1)
#: What a maker takes beside the memory that is planned for: code, buffers, small objects.
_SLACK_BYTES = 96 << 20
#: A maker gets the CPU time that others leave: by the clock it may take that many times longer.
_PATIENCE = 4
_FAILURES = Kinds(errors.TooCostly, errors.ImageError, worker.WorkerDied)
#: Fields of Limits that are options of the same names.
OWN_LIMITS = (
    *("memory", "file_bytes", "pixels", "whole_pixels", "scans"),
    *("frames", "frame_pixels", "formats"),
)


class RowChanged(Exception):
    """Raised when the row of a thumbnail, or its source, has changed while it was made."""


class Asked(NamedTuple):
    """The thumbnail of a picture: ``200x200``, ``12345``, ``jpg``.

    :ivar id: the picture's id as :mod:`handlers.names` writes it.
    """

    size: str
    id: str
    ext: str

    @property
    def name(self) -> str:
        """The thumbnail's name in the cache, ``200x200/12345.jpg``."""
        return f"{self.size}/{self.id}.{self.ext}"


class Recipe(NamedTuple):
    """How thumbnails are made, from the options."""

    root: str
    limits: Limits
    #: Quality by extension, for those that do not have the format's own.
    quality: dict[str, int]
    animated: bool
    cpu_seconds: float
    failure_ttl: float
    tries: int


def recipe(options: settings.Settings) -> Recipe:
    """Return the recipe that the ``thumbnail.*`` options and ``images.root`` say.

    :raises handlers.errors.Misconfigured: for a value that makes no sense.
    """
    return Recipe(
        settings.required(options, "images.root"),
        Limits(**{name: getattr(options.thumbnail, name) for name in OWN_LIMITS}),
        options.thumbnail.quality,
        options.thumbnail.animated,
        options.thumbnail.cpu,
        options.thumbnail.failure_ttl,
        options.thumbnail.tries,
    )


def focus_of(row) -> tuple[float, float] | None:
    """Return the point that a crop keeps in view, None if the lookup's *row* has none."""
    return None if row.focus_x is None or row.focus_y is None else (row.focus_x, row.focus_y)


def still_true(
    store: Store, asked: Asked, row, pictures, options: settings.Settings
) -> Callable[[], None]:
    """Return the last check before a thumbnail appears: is all of it still so?

    It raises RowChanged if the *row* that the thumbnail was made of is not the one that the lookup
    *pictures* rereads, handlers.cache.stamp.Outdated if the cache is not bound to these *options*
    any more, and what the lookup raises if it cannot tell.
    """

    def check() -> None:
        if not stamp.holds(store.directory, options):
            raise stamp.Outdated("the cache has another configuration now")
        found = pictures.reread(names.id_of(asked.id))
        # a thumbnail is not made of the placeholder
        if found is None or found._replace(placeholder=row.placeholder) != row:
            raise RowChanged(asked.id)

    return check


def make(
    store: Store,
    asked: Asked,
    row,
    how: Recipe,
    turns: Turns,
    check: Callable[[], None] | None = None,
    beside: Sequence[str] = (),
    kept: Callable[[int, Sequence[str]], None] | None = None,
) -> bool:
    """Make the thumbnail *asked* for of the lookup's *row*, unless it is in the cache meanwhile.

    However many processes and threads ask at once, one of them makes it. It is decoded in another
    process (:mod:`handlers.maker`).

    :param row: with the path of the source, see :func:`handlers.source.open_source`.
    :param check: called under the thumbnail's lock just before it appears, see :func:`still_true`;
        it does not if this raises.
    :param beside: other sizes that are wanted soon.
    :param kept: called in the end, if a maker has kept what it has decoded for some of them: with
        the number of its turn, and these sizes; they are for :func:`make_ahead`.
    :returns: whether this call made it; False if another one has, meanwhile.
    :raises handlers.source.SourceMissing, SourceRefused, RootUnavailable: as that does.
    :raises handlers.image.errors.ImageError: if it cannot be made of this source.
    :raises handlers.cache.failures.FailedBefore: if that is remembered.
    :raises handlers.worker.WorkerDied, WorkerTimeout: if the maker did not survive it, or was too
        slow; it may be tried again.
    :raises RowChanged: if the source was written to meanwhile, as half of each may be decoded then.
    :raises handlers.cache.turns.Busy, handlers.locks.LockTimeout: if others come first.
    :raises OSError: if the cache cannot be written.
    """
    failures = Failures(store.directory, how.failure_ttl, how.tries)
    path, focus, mark = row.path, focus_of(row), marks.of_row(row)
    with turns.thumbnail(asked.name):
        if store.has(asked.name):
            return False
        with source.open_source(how.root, path) as file, turns.picture(asked.id):
            found = _status(file, how, path)
            identity = _identity(path, found)
            failures.check(asked.id, asked.name, identity)
            with (
                turns.maker() as slot,
                _copy(store, asked, found.st_mtime_ns, mark) as copy,
                failures.attempt(asked.id, asked.name, identity, _FAILURES),
            ):
                wants_copy = copy is None and _variants(store, asked.id) + 1 >= _COPY_FROM
                job = _job(asked, focus, how, wants_copy)._replace(beside=tuple(beside))
                try:
                    made = _made(store.directory, slot, job, (file, copy), asked.name, how)
                except errors.SourceUnavailable as error:
                    raise source.RootUnavailable(how.root, f"{path!r}: {error}") from error
                turns.leave_out(made.starting_seconds)
                if _identity(path, _status(file, how, path)) != identity:
                    raise RowChanged(f"{path!r} was written to while it was decoded")
        length = made.answer["bytes"]
        target, own_mark = store.path(asked.name), marks.of_row(row, asked.size)
        store.write(target, made.data[:length], found.st_mtime_ns, own_mark, check)
        if len(made.data) > length:
            store.write_copy(asked.id, made.data[length:], found.st_mtime_ns, mark, check)
    if kept is not None and made.answer.get("kept"):
        kept(slot, made.answer["kept"])
    return True


def make_ahead(
    store: Store, asked: Asked, row, how: Recipe, turns: Turns, slot: int, check
) -> bool:
    """Make a thumbnail that nobody has asked for, if a maker has kept what it can be made of.

    Nothing is decoded. Only a request for this same thumbnail waits for it. A failure here is not
    remembered as one of the source.

    :param turns: of one that does not wait.
    :param slot: the turn of the maker.
    :param check: as in :func:`make`.
    :returns: whether it was made.
    :raises handlers.locks.LockTimeout: if others come first.
    :raises: else what :func:`make` does.
    """
    failures = Failures(store.directory, how.failure_ttl, how.tries)
    with turns.idle_maker(slot), turns.thumbnail(asked.name):
        if store.has(asked.name):
            return False
        with source.open_source(how.root, row.path) as file:
            found = _status(file, how, row.path)
            failures.check(asked.id, asked.name, _identity(row.path, found))
            job = _job(asked, focus_of(row), how, False)._replace(of_kept=True)
            made = client.ask_for_kept(store.directory, slot, job, [file.fileno()], _bounds(how))
        if made is None:
            return False
        made = _answered(made)
        mark = marks.of_row(row, asked.size)
        store.write(store.path(asked.name), made.data, found.st_mtime_ns, mark, check)
    counters.add("thumbnails_ahead")
    log.info(
        "thumbnail %s made ahead from %s (CPU %.0f ms)",
        *(asked.name, made.answer["source"], made.cpu_seconds * 1000),
    )
    return True


def placeholder(store: Store, name: str, row, how: Recipe, turns: Turns) -> str:
    """Return the blurred placeholder of a picture: a WebP of 20 pixels, in base64.

    It is made by a maker, as a thumbnail is. The text is empty if the picture has transparent
    parts, behind which a placeholder would be seen, or cannot be told in so few bytes.

    :param name: of the picture, as :mod:`handlers.names` writes its id.
    :raises: what :func:`make` does.
    """
    failures = Failures(store.directory, how.failure_ttl, how.tries)
    asked = Asked(_BLURRED_SIZE, name, "webp")
    with source.open_source(how.root, row.path) as file, turns.picture(name):
        found = _status(file, how, row.path)
        identity = _identity(row.path, found)
        failures.check(name, asked.name, identity)
        for quality in _BLURRED_QUALITIES:
            with (
                turns.maker() as slot,
                _copy(store, asked, found.st_mtime_ns, marks.of_row(row)) as copy,
                failures.attempt(name, asked.name, identity, _FAILURES),
            ):
                job = Job(asked.size, asked.ext, None, how.limits, quality, False, False)
                try:
                    made = _made(store.directory, slot, job, (file, copy), asked.name, how)
                except errors.SourceUnavailable as error:
                    why = f"{row.path!r}: {error}"
                    raise source.RootUnavailable(how.root, why) from error
                turns.leave_out(made.starting_seconds)
            # a file without a chunk for transparency, see Google's WebP Container Specification
            if made.data[12:16] != b"VP8 ":
                return ""
            text = base64.b64encode(made.data).decode("ascii")
            if len(text) <= LONGEST_PLACEHOLDER:
                return text
    return ""


def try_out(cache: str | None, row, how: Recipe, turns: Turns | None) -> None:
    """Make a small thumbnail of the lookup's *row*, and drop it: can it be made?

    A maker does it, as for a request; where it cannot have one, a process of its own. For commands:
    a maker that this starts ends with this process.

    :param cache: the cache directory; None if nothing can be written there, and *turns* likewise.
    :raises: what :func:`make` does of the source, but FailedBefore.
    """
    asked = Asked(_TRIED_SIZE, "", "jpg")
    job = _job(asked, focus_of(row), how, False)
    with source.open_source(how.root, row.path) as file, contextlib.ExitStack() as stack:
        slot, descriptors = None, (file.fileno(),)
        if turns is not None:
            # that all are busy, or the disk is full, is no fault of the picture
            with contextlib.suppress(OSError):
                slot = stack.enter_context(turns.maker())
        try:
            if cache is None or slot is None:
                work = functools.partial(run, descriptors, job)
                _answered(worker.call(work, _bounds(how), descriptors))
            else:
                client.end_with_this_process()
                _answered(client.make(cache, slot, job, descriptors, _bounds(how)))
        except errors.SourceUnavailable as error:
            raise source.RootUnavailable(how.root, f"{row.path!r}: {error}") from error


def _job(asked: Asked, focus, how: Recipe, wants_copy: bool) -> Job:
    quality = how.quality.get(asked.ext)
    return Job(asked.size, asked.ext, focus, how.limits, quality, how.animated, wants_copy)


def _status(file: BinaryIO, how: Recipe, path: str) -> os.stat_result:
    with source.read(how.root, path):
        return os.fstat(file.fileno())


def _identity(path: str, found: os.stat_result) -> str:
    """Return the text that changes with the source."""
    return f"{path} {found.st_mtime_ns} {found.st_size}"


def _bounds(how: Recipe) -> worker.Bounds:
    memory = how.limits.memory + _SLACK_BYTES
    return worker.Bounds(how.cpu_seconds * _PATIENCE, how.cpu_seconds, memory)


def _made(cache: str, slot: int, job: Job, files, name: str, how: Recipe) -> worker.Done:
    started = time.monotonic()
    descriptors = [opened.fileno() for opened in files if opened is not None]
    done = _answered(client.make(cache, slot, job, descriptors, _bounds(how)))
    counters.add("thumbnails_made")
    counters.observe("thumbnail_making_seconds", time.monotonic() - started)
    counters.observe("thumbnail_source_bytes", os.fstat(descriptors[0]).st_size)
    log.info(
        "thumbnail %s made from %s in %.0f ms (CPU %.0f ms, peak %.0f MB)",
        name,
        done.answer["source"],
        (time.monotonic() - started) * 1000,
        done.cpu_seconds * 1000,
        done.peak_bytes / 2**20,
    )
    return done


def _answered(done: worker.Done) -> worker.Done:
    """Return *done*; raise the error that it tells of."""
    if "error" in done.answer:
        raise getattr(errors, done.answer["error"])(done.answer["why"])
    return done


@contextlib.contextmanager
def _copy(store: Store, asked: Asked, source_mtime_ns: int, mark: int) -> Iterator[BinaryIO | None]:
    """Open the middle-size copy of the picture; None if there is none of this source."""
    with contextlib.ExitStack() as stack:
        file = None
        with contextlib.suppress(FileNotFoundError):
            file = stack.enter_context(open(store.copy_path(asked.id), "rb"))
        yield file if file is not None and store.is_of(file, source_mtime_ns, mark) else None


def _variants(store: Store, id: str) -> int:
    return sum(store.has(f"{size}/{id}.{ext}") for size in store.sizes() for ext in EXTENSIONS)
