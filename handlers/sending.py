"""What the answers of all handlers have in common: methods, validators, faults."""

import functools
import logging
import math
import os
import time

from mod_python import apache

from handlers import drop_in, lookup, settings
from handlers.mod_python import guarded
from handlers.sessions.store import LockTimeout, StoreError, report

log = logging.getLogger(__name__)

_QUIET = 10.0
_MESSAGES_KNOWN = 64
# seconds after which a client may try again what failed for its session's sake
_SESSIONS_AWAY = 10
# seconds after which it may try again what an admin has to mend
_MISCONFIGURED = 60
_quiet_until: dict[str, float] = {}


def send_file(req, path: str, content_type: str) -> int:
    """Send the file *path* with ETag and Last-Modified, or 304 if the client has it already.

    The ETag has the form of Apache's ``FileETag MTime Size``, so a client sees one and the same
    whether this function or Apache's static file path answers.

    :raises FileNotFoundError: if there is no such file (any more).
    """
    found = os.stat(path)
    microseconds = found.st_mtime_ns // 1000
    req.headers_out["ETag"] = f'"{found.st_size:x}-{microseconds:x}"'
    req.update_mtime(found.st_mtime_ns // 10**9)
    req.set_last_modified()
    status = req.meets_conditions()
    if status != apache.OK:
        return status
    req.content_type = content_type
    req.set_content_length(found.st_size)
    if not req.header_only:
        req.sendfile(path)
    return apache.OK


def get_only(handle):
    """Make a handler of *handle*, which answers GET and HEAD and may let faults through.

    405 with Allow for any other method; faults are answered as :func:`faults_answered` does it.
    """
    handle = faults_answered(handle)

    @functools.wraps(handle)
    def handler(req) -> int:
        if req.method not in ("GET", "HEAD"):
            req.allow_methods(["GET", "HEAD"], 1)
            return apache.HTTP_METHOD_NOT_ALLOWED
        return handle(req)

    return handler


def faults_answered(handle):
    """Make a handler of *handle*, which may let faults of what stands behind it through.

    400 for an address that is not UTF-8; 503 with Retry-After while the database is away and memory
    does not know the answer, or while the store of sessions fails, with one line of each child; 500
    and one line in the log of each child for a wrong configuration; 503, too, where Apache and the
    settings file mean different caches.
    """

    @functools.wraps(handle)
    def handler(req) -> int:
        try:
            if not drop_in.names_one_cache(req):
                return unavailable(req, _MISCONFIGURED)
            return handle(req)
        except guarded.Undecodable:
            return apache.HTTP_BAD_REQUEST
        except lookup.Unavailable as error:
            return unavailable(req, error.retry_after)
        except (StoreError, LockTimeout) as error:
            report(error)
            return unavailable(req, _SESSIONS_AWAY)
        except (settings.BadSettings, lookup.BadOption, lookup.BadURL) as error:
            _log_once(str(error))
            return apache.HTTP_INTERNAL_SERVER_ERROR

    return handler


def unavailable(req, seconds: float) -> int:
    """Return 503 and ask the client to come back after *seconds*."""
    retry_after(req, seconds)
    return apache.HTTP_SERVICE_UNAVAILABLE


def retry_after(req, seconds: float) -> None:
    """Ask the client to come back after *seconds*, whatever the status will be."""
    req.err_headers_out["Retry-After"] = str(max(1, math.ceil(seconds)))


def log_rarely(logger: logging.Logger, level: int, message: str) -> None:
    """Log what may happen at every request, each message at most every 10 s in this process."""
    now = time.monotonic()
    if now >= _quiet_until.get(message, 0.0):
        if len(_quiet_until) >= _MESSAGES_KNOWN:
            _quiet_until.clear()
        _quiet_until[message] = now + _QUIET
        logger.log(level, "%s", message)


@functools.lru_cache(maxsize=32)
def _log_once(message: str) -> None:
    log.error("%s", message)
