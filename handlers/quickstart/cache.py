"""The cache and the lookup's snapshot in it, as they must be before httpd starts.

To be run with the rights of Apache's user, whose directory the cache is, and while no httpd runs.
"""

import logging
import os
import shutil
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor

from handlers import lookup, making, names, settings, source, worker
from handlers.cache import stamp
from handlers.cache.failures import FailedBefore
from handlers.cache.store import Store, remove
from handlers.cache.turns import Turns
from handlers.errors import Misconfigured
from handlers.image.errors import ImageError
from handlers.lookup import options as lookup_options
from handlers.lookup import snapshot
from handlers.lookup.errors import DatabaseAway, DatabaseMisconfigured
from handlers.lookup.refresh import Refresher
from handlers.quickstart.rights import Failed, closed

_LOCK_TIMEOUT = 30  # seconds
_BLURRING = 4.0  # seconds
# locks that time out are among the OSErrors
_FAULTS = (
    *(source.SourceMissing, source.SourceRefused, ImageError, FailedBefore),
    *(worker.WorkerDied, worker.WorkerTimeout, OSError),
)


def empty(directory: str) -> None:
    """Delete everything in the cache: it is of other pictures, or of another database.

    :raises Failed: if that cannot be done.
    """
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)
    except OSError as error:
        raise Failed(f"cannot delete {error.filename}: {error.strerror}") from None


def blurred(path: str, pictures: dict[str, str], known: dict[str, list]) -> dict[str, list]:
    """Return the placeholders of *pictures*, ``{id: path}``: ``{path: [mark of its file, text]}``.

    There are none for pictures that cannot be read, and for the last ones where it takes long.

    :param path: the settings file.
    :param known: what an earlier start returned; a file that has changed since gets a new one.
    :raises Failed: if the settings make no sense.
    """
    _silence_log()
    try:
        options = settings.read(path)
        how = making.recipe(options)
    except Misconfigured as error:
        raise Failed(str(error)) from None
    directory = options["thumbnail.cache"]
    processes, deadline = os.cpu_count() or 1, time.monotonic() + _BLURRING

    def of_picture(item: tuple[str, str]) -> list | None:
        id, picture = item
        try:
            found = os.stat(os.path.join(how.root, picture))
            mark = f"{found.st_mtime_ns} {found.st_size}"
            if known.get(picture, [""])[0] == mark:
                return known[picture]
            if time.monotonic() >= deadline:
                return None
            turns = Turns(directory, processes, None, _BLURRING)
            row = lookup.Row(picture)
            return [mark, making.placeholder(Store(directory), names.of(id), row, how, turns)]
        except _FAULTS:
            # its thumbnail says what is wrong with it
            return None

    # makers do the work
    with ThreadPoolExecutor(processes) as pool:
        found = zip(pictures.values(), pool.map(of_picture, pictures.items()), strict=True)
        return {picture: made for picture, made in found if made is not None}


def refresh(path: str) -> tuple[int, str | None]:
    """Bring the snapshot up to date and remove the thumbnails of rows that changed or went away.

    It reads the table just as httpd's children will, so what stops them is found here.

    :param path: the settings file.
    :returns: how many rows there are, and the id of the first one that is not private, if any.
    :raises Failed: if the table cannot be read as it must be, or the cache not be written.
    """
    _silence_log()
    try:
        options = settings.read(path)
        read = lookup_options.from_mapping(options)
        cache = options["thumbnail.cache"]
        stamp.claim(cache, options, is_fresh=True)
        Refresher(read).refresh(_LOCK_TIMEOUT, lambda ids: remove(cache, map(names.of, ids)))
        fresh = snapshot.Snapshot(read.snapshot, snapshot.fingerprint(read))
        return fresh.rows, next(iter(fresh.page(0, 1)[0]), None)
    except (DatabaseAway, DatabaseMisconfigured) as error:
        url = read.database
        at = closed(url.path) if url.scheme == "sqlite" else None
        why = f"Apache's user cannot read {at}" if at else f"the table images: {error}"
        raise Failed(f"database {url} cannot be used: {why}") from None
    except Misconfigured as error:
        raise Failed(str(error)) from None
    except (OSError, sqlite3.Error) as error:
        raise Failed(f"the snapshot {read.snapshot} cannot be written: {error}") from None


def _silence_log() -> None:
    # what goes wrong is the sentence of Failed
    logging.getLogger("handlers").addHandler(logging.NullHandler())
    logging.getLogger("handlers").propagate = False
