"""What a site needs of its children besides answers, whether a request comes or not.

:func:`claim` binds the cache to the settings file before a child takes its first connection.
:func:`take` warms and refreshes the lookup, keeps the cache within its limits and sweeps the
sessions: in one child of all, or in each where the lookup has no snapshot. :mod:`handlers.child`
decides which; children that only answer import nothing of this.
"""

import contextlib
import functools
import logging
import os
from collections.abc import Iterable

from handlers import (
    access,
    counting,
    faults,
    lookup,
    names,
    receipt,
    settings,
    source,
    state_directory,
    stop,
)
from handlers.cache import keeper, purges, stamp
from handlers.cache.store import remove
from handlers.mod_python import Session
from handlers.runtime.log import route_to_apache

log = logging.getLogger(__name__)


def claim(path: str) -> None:
    """Bind the cache of the site whose settings file is *path* to that file.

    A fault is one line in the error log. If there is none, the children that start later need not
    look again: see :mod:`handlers.receipt`.
    """
    route_to_apache()
    with _telling_faults():
        _prepared(path)


def take(path: str, is_default: bool) -> None:
    """Take on the duties of the site whose settings file is *path*, until this child ends.

    A fault is one line in the error log, and the others go on.

    :param is_default: whether the file holds for requests that name no other one.
    """
    route_to_apache()
    with _telling_faults():
        options = _prepared(path)
        if is_default:
            counting.start(path)
        # what the threads that are started here have to say is for this site's page
        counting.serve(options)
        pictures = None
        cache = options.get("thumbnail.cache")
        if cache:
            _check_snapshot(cache, options.get("lookup.snapshot"))
        if "lookup.database" in options:
            pictures = lookup.open(options)
            if cache:
                pictures.on_change = functools.partial(_remove, cache)
            # the first request of the child may have been for a page of the gallery
            pictures.warm(again=False)
        if "images.root" in options:
            _check_root(options["images.root"])
        if cache:
            keeper.start(cache, options, pictures)
            purges.start(cache, options)
        Session.start_sweep(options, None if is_default else path)


@contextlib.contextmanager
def _telling_faults():
    try:
        yield
    except ValueError as error:
        # requests meet the same fault, and do not repeat the line
        faults.tell(log, logging.ERROR, ("configuration", str(error)), str(error))
    except Exception:
        # the other sites go on
        log.exception("a site could not be started")


def _prepared(path: str) -> settings.Settings:
    """Read the settings file *path* and claim its cache; return the options."""
    seen = _seen(path)
    options = settings.read(path)
    cache = options.get("thumbnail.cache")
    if cache and _check_cache(cache):
        try:
            stamp.claim(cache, options)
            receipt.write(path, cache, seen)
        # requests that need it try again, and are refused until it succeeds
        except stamp.Outdated as error:
            faults.tell(log, logging.ERROR, cache, f"thumbnail.cache {cache}: {error}")
        except OSError as error:
            why = access.why_unwritable(cache, error)
            faults.tell(log, logging.ERROR, cache, f"thumbnail.cache {why}", key=why)
    return options


def _seen(path: str) -> str:
    try:
        return receipt.look(path)
    except OSError:
        # reading it says why
        return ""


def _check_snapshot(cache: str, snapshot: str | None) -> None:
    """Say so if the snapshot lies in the cache where an Alias could publish it."""
    if not snapshot:
        return
    place = os.path.realpath(os.path.dirname(snapshot)) + os.sep
    closed = state_directory.path(os.path.realpath(cache))
    if place.startswith(os.path.realpath(cache) + os.sep) and not place.startswith(closed + os.sep):
        log.warning(
            "lookup.snapshot %s lies in the cache, where a URL may lead to it: write %s",
            snapshot,
            os.path.join(closed, os.path.basename(snapshot)),
        )


def _check_root(root: str) -> None:
    try:
        source.check_root(root)
    except source.RootUnavailable as error:
        faults.tell(log, logging.ERROR, ("images.root", error.args[0]), str(error))


def _check_cache(directory: str) -> bool:
    """Make the cache directory if need be; say so, and return False, if nobody can write there."""
    why = _why_unusable(directory)
    # if an admin mends it just now, the reason found is a wrong one
    if why is None or _why_unusable(directory) is None:
        return True
    faults.tell(log, logging.ERROR, directory, f"thumbnail.cache {why}", key=why)
    return False


def _why_unusable(directory: str) -> str | None:
    try:
        os.makedirs(os.path.join(directory, "thumbs"), exist_ok=True)
        access.check_writable(directory)
    except OSError as error:
        return access.why_unwritable(directory, error)
    return None


def _remove(directory: str, ids: Iterable[str]) -> None:
    gone = remove(directory, map(names.of, ids))
    if gone:
        log.info("%d thumbnails removed, as the rows of their pictures have changed", gone)


def install_in_mod_python() -> str | None:
    """Make real mod_python log for this package and use its sessions.

    When the child ends, its threads are ended first. One that takes too long runs on while the
    process is taken apart, so nothing that it has to say then is logged.

    :return: ``PythonOption handlers.etc`` of the server, the directory of the settings files.
    """
    from mod_python import apache

    Session.install()
    package = logging.getLogger("handlers")
    package.setLevel(logging.INFO)
    package.addHandler(_ErrorLog(apache))
    # called last, as it comes first
    stop.at_end(lambda: package.setLevel(logging.CRITICAL))
    return apache.main_server.get_options().get("handlers.etc")


class _ErrorLog(logging.Handler):
    """Writes records through mod_python's ``apache.log_error``."""

    def __init__(self, apache):
        super().__init__()
        self._log_error = apache.log_error
        # without a server mod_python writes warnings and worse only, whatever LogLevel says
        self._server = apache.main_server
        self._levels = (
            (logging.ERROR, apache.APLOG_ERR),
            (logging.WARNING, apache.APLOG_WARNING),
            (logging.INFO, apache.APLOG_INFO),
            (logging.DEBUG, apache.APLOG_DEBUG),
        )

    def emit(self, record):
        for least, level in self._levels:
            if record.levelno >= least:
                self._log_error(self.format(record), level, self._server)
                return
