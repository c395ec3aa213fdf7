"""What a child does to be counted: its requests, its warnings, and the samples of each minute.

A child answers for all sites of the server. What a thread of it does is counted for the site whose
request it is at, and its warnings are kept for the status page of that site.
"""

import functools
import logging
from collections.abc import Mapping

from handlers import counters, settings
from handlers.counting import history, notices
from handlers.errors import Misconfigured

log = logging.getLogger(__name__)

# the caches of the sites whose warnings are kept
_kept: set[str] = set()


def start(path: str) -> None:
    """Let this process count for the status page of the site whose settings file is *path*.

    It is the site of whatever is not known to be another one's. Calling it again changes nothing.
    Without a cache, or with settings that make no sense, nothing is counted.
    """
    try:
        directory = settings.read(path).get("thumbnail.cache")
    except Misconfigured:
        # requests say what is wrong
        return
    if directory:
        _counted(directory, counters.use)


def serve(given: Mapping[str, str]) -> None:
    """Count what this thread does from now on for the site with the options *given*.

    Its warnings are kept for the status page of that site, too. Only children of the server call
    this: what a command does is not counted.
    """
    _serve(given.get("thumbnail.cache"))


def serve_request(pairs: tuple[tuple[str, str], ...]) -> None:
    """Do what :func:`serve` does for a request with the PythonOptions *pairs*."""
    try:
        directory = _cache_of(pairs, settings.file_of({}))
    except Misconfigured:
        # the handler says what is wrong, if it has to do with it
        directory = None
    _serve(directory)


@functools.lru_cache(maxsize=256)
def _cache_of(pairs: tuple[tuple[str, str], ...], default: str | None) -> str | None:
    """Return the cache of the site that such a request belongs to; a fault is not kept."""
    given = dict(pairs)
    path = given.get("handlers.settings", default)
    return given.get("thumbnail.cache") or (path and settings.read(path).get("thumbnail.cache"))


def _serve(directory: str | None) -> None:
    if directory:
        _counted(directory, counters.serve)
    else:
        counters.serve(None)


def _counted(directory: str, count) -> None:
    if directory not in _kept:
        _kept.add(directory)
        notices.keep()
    try:
        if count(directory):
            history.start(directory)
    except OSError as error:
        # the fault of the cache itself has its line already
        log.info("nothing is counted for the status page: %s", error)
