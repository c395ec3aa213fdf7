"""What a child does to be counted: its requests, its warnings, and the samples of each minute."""

import logging

from handlers import counters, settings
from handlers.counting import history, notices
from handlers.errors import Misconfigured

log = logging.getLogger(__name__)


def start(path: str) -> None:
    """Let this process count for the status page of the site whose settings file is *path*.

    It keeps its warnings for that page, too. Calling it again changes nothing. Without a cache, or
    with settings that make no sense, nothing is counted.
    """
    try:
        directory = settings.read(path).get("thumbnail.cache")
    except Misconfigured:
        # requests say what is wrong
        return
    if not directory:
        return
    try:
        counters.use(directory)
        notices.keep(directory)
        history.start(directory)
    except OSError as error:
        # the fault of the cache itself has its line already
        log.info("nothing is counted for the status page: %s", error)
