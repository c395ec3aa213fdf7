"""What a child does when it starts, before its first request.

On mod_wsgi the entry script calls :func:`start` (WSGIImportScript); on mod_python the drop-in says
``PythonImport handlers.child::start_mod_python``.
"""

import errno
import functools
import glob
import importlib
import logging
import os
import threading
from collections.abc import Iterable

from handlers import access, counters, faults, lookup, names, settings, source, state_directory
from handlers.cache import keeper, purges, stamp
from handlers.cache.store import remove
from handlers.mod_python import Session
from handlers.status import history, notices

log = logging.getLogger(__name__)

_DEFAULT_FILE = "settings.ini"


def start(directory: str) -> None:
    """Prepare this child for the sites whose settings files, ``*.ini``, lie in *directory*.

    For each: read it, bind its cache to it (:mod:`handlers.cache.stamp`), warm the lookup from the
    database that it names, and stand for election as the child that keeps its cache and sweeps its
    sessions. ``settings.ini`` is the file of every request that names no other one. A fault is one
    line in the error log. It never stops the child: what does not need that site is served all the
    same.
    """
    paths = sorted(glob.glob(os.path.join(glob.escape(directory), "*.ini")))
    for path in paths:
        if os.path.basename(path) == _DEFAULT_FILE:
            settings.use(path)
        try:
            _start_site(path)
        except ValueError as error:
            # requests meet the same fault, and do not repeat the line
            faults.tell(log, logging.ERROR, ("configuration", str(error)), str(error))
        else:
            if os.path.basename(path) == _DEFAULT_FILE:
                _count(settings.read(path))
    if paths:
        # Pillow takes as long to import as a thumbnail to make; no request waits for it here.
        threading.Thread(
            target=importlib.import_module, args=("handlers.making",), daemon=True
        ).start()


def _start_site(path: str) -> None:
    options = settings.read(path)
    pictures = None
    if "thumbnail.cache" in options:
        if _check_cache(options["thumbnail.cache"]):
            _claim(options["thumbnail.cache"], options)
        _check_snapshot(options["thumbnail.cache"], options.get("lookup.snapshot"))
    if "lookup.database" in options:
        pictures = lookup.open(options)
        if "thumbnail.cache" in options:
            pictures.on_change = functools.partial(_remove, options["thumbnail.cache"])
        pictures.warm()
    if "images.root" in options:
        _check_root(options["images.root"])
    if "thumbnail.cache" in options:
        keeper.start(options["thumbnail.cache"], options, pictures)
        purges.start(options["thumbnail.cache"], options)
    is_default = os.path.basename(path) == _DEFAULT_FILE
    Session.start_sweep(options, None if is_default else path)


def _count(options: settings.Settings) -> None:
    """Let this process count for the status page, and keep its warnings for it."""
    directory = options.get("thumbnail.cache")
    if not directory:
        return
    try:
        counters.use(directory)
        notices.keep(directory)
        history.start(directory)
    except OSError as error:
        # the fault of the cache itself has its line already
        log.info("nothing is counted for the status page: %s", error)


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


def most_requests() -> int:
    """Return how many requests Python can be at work on at a time; 1 outside of a server."""
    from mod_python import apache

    if hasattr(apache, "mpm_query"):
        threads = max(1, apache.mpm_query(apache.AP_MPMQ_MAX_THREADS))
        return apache.mpm_query(apache.AP_MPMQ_MAX_DAEMONS) * threads
    try:
        # PyPI's package of that name is there without the server, too; Debian's is not
        server = importlib.import_module("mod_wsgi")
    except ModuleNotFoundError:
        return 1
    return getattr(server, "maximum_processes", 1) * getattr(server, "threads_per_process", 1)


def _check_root(root: str) -> None:
    try:
        source.check_root(root)
    except source.RootUnavailable as error:
        faults.tell(log, logging.ERROR, "images.root", str(error))


def _check_cache(directory: str) -> bool:
    """Make the cache directory if need be; say so, and return False, if nobody can write there."""
    try:
        os.makedirs(os.path.join(directory, "thumbs"), exist_ok=True)
        if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), directory)
    except OSError as error:
        why = access.why_unwritable(directory, error)
        faults.tell(log, logging.ERROR, directory, f"thumbnail.cache {why}", key=why)
        return False
    return True


def _claim(directory: str, options: settings.Settings) -> None:
    try:
        stamp.claim(directory, options)
    except (OSError, stamp.Outdated) as error:
        # requests that need it try again, and are refused until it succeeds
        faults.tell(log, logging.ERROR, directory, f"thumbnail.cache {directory}: {error}")


def _remove(directory: str, ids: Iterable[str]) -> None:
    gone = remove(directory, map(names.of, ids))
    if gone:
        log.info("%d thumbnails removed, as the rows of their pictures have changed", gone)


def start_mod_python() -> None:
    """Do what :func:`start` does, in the directory of the server's ``PythonOption handlers.etc``.

    Log records of the package go to Apache's error log first of all, as mod_wsgi's runtime does it,
    and ``from mod_python import Session`` gives the package's sessions instead of mod_python's own.
    """
    from mod_python import apache

    Session.install()

    package = logging.getLogger("handlers")
    package.setLevel(logging.INFO)
    package.addHandler(_ErrorLog(apache))
    directory = apache.main_server.get_options().get("handlers.etc")
    if directory:
        start(directory)


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
