"""What a process says of a fault: one line when it begins, another when it changes or ends.

Every request meets a fault that lasts, and only the first one of a process logs it. Any thread may
call these functions.
"""

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Hashable

from handlers import counters, errors

_logger = logging.getLogger(__name__)
# different subjects in one process are few; a thousand are a slip that must not fill the memory
_SUBJECTS_KEPT = 256
# seconds for which a message that comes and goes is not repeated
_QUIET = 10.0
#: The same for a fault that may last for days, and whose end nobody notices.
LONG = 600.0
#: Seconds after which a client may come back while a fault waits for an admin.
MISCONFIGURED = 60.0

_lock = threading.Lock()
_told: OrderedDict[Hashable, Hashable] = OrderedDict()
_quiet_until: OrderedDict[str, float] = OrderedDict()


def tell(
    logger: logging.Logger, level: int, subject: Hashable, message: str, key: Hashable = None
) -> None:
    """Log *message* about *subject*, unless it is what was last told about it.

    :param key: what tells one fault from another, if the message has details that vary.
    """
    key = message if key is None else key
    with _lock:
        if _told.get(subject) == key:
            return
        _told[subject] = key
        _told.move_to_end(subject)
        if len(_told) > _SUBJECTS_KEPT:
            _told.popitem(last=False)
    logger.log(level, "%s", message)


def over(subject: Hashable) -> bool:
    """Note that nothing is wrong with *subject* any more; tell whether something was."""
    # read without the lock: it is asked after every success
    if subject not in _told:
        return False
    with _lock:
        return _told.pop(subject, None) is not None


def tell_once(logger: logging.Logger, level: int, message: str) -> None:
    """Log *message* once in this process, however many callers have it to say."""
    tell(logger, level, ("once", message), message)


def tell_rarely(logger: logging.Logger, level: int, message: str, quiet: float = _QUIET) -> None:
    """Log what comes and goes by itself, each message at most every *quiet* seconds."""
    now = time.monotonic()
    with _lock:
        if now < _quiet_until.get(message, 0.0):
            return
        _quiet_until[message] = now + quiet
        _quiet_until.move_to_end(message)
        if len(_quiet_until) > _SUBJECTS_KEPT:
            _quiet_until.popitem(last=False)
    logger.log(level, "%s", message)


def answer(error: errors.Misconfigured | errors.Unavailable) -> tuple[int, float | None]:
    """Log *error*, once; return the HTTP status, and the seconds of Retry-After or None.

    A wrong configuration is 500. What is away or busy is 503.
    """
    report(error)
    if isinstance(error, errors.Unavailable):
        counters.add("requests_unavailable")
        return 503, error.retry_after
    counters.add("requests_misconfigured")
    return 500, None


def report(error: errors.Misconfigured | errors.Unavailable) -> None:
    """Log *error*: one line per outage, or one in each child for a wrong configuration.

    The part that raised it may keep the log itself.
    """
    message = error.part + str(error)
    if isinstance(error, errors.Unavailable):
        if not error.is_logged:
            quiet = _QUIET if isinstance(error, errors.Busy) else LONG
            tell_rarely(_logger, logging.ERROR, message, quiet)
        return
    tell(_logger, logging.ERROR, ("configuration", message), message)


def _after_fork() -> None:
    # another thread of the parent may have held it
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
