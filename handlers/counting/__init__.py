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
    directory = given.get("thumbnail.cache")
    if directory:
        _counted(directory, counters.serve)
    else:
        counters.serve(None)


def serve_request(pairs: tuple[tuple[str, str], ...]) -> None:
    """Do what :func:`serve` does for a request with the PythonOptions *pairs*."""
    try:
        given = _given(pairs, settings.file_of({}))
    except Misconfigured:
        # the handler says what is wrong, if it has to do with it
        given = {}
    serve(given)


@functools.lru_cache(maxsize=256)
def _given(pairs: tuple[tuple[str, str], ...], default: str | None) -> dict[str, str]:
    """Return what :func:`serve` needs of such a request; a fault is not kept."""
    given = dict(pairs)
    path = given.get("handlers.settings", default)
    cache = given.get("thumbnail.cache") or (path and settings.read(path).get("thumbnail.cache"))
    return {"thumbnail.cache": cache} if cache else {}


def _counted(directory: str, count) -> None:
    notices.keep()
    try:
        if count(directory):
            history.start(directory)
    except OSError as error:
        # the fault of the cache itself has its line already
        log.info("nothing is counted for the status page: %s", error)
