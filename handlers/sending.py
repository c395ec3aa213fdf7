"""What the answers of all handlers have in common: methods, validators, faults."""

import functools
import logging
import math
import os
import re

from mod_python import apache

from handlers import counters, counting, drop_in, errors, faults, settings, source
from handlers.mod_python import is_real
from handlers.runtime import guarded

log = logging.getLogger(__name__)

#: Seconds after which a client may come back, where nobody knows better.
RETRY_AFTER = 3
_UNSIGNED = (1 << 64) - 1
# first and last byte; or how many at the end. A last one before the first makes no sense.
_RANGE = re.compile(r"([0-9]{1,30})-(?:[0-9]{1,30})?|-([0-9]{1,30})")


def send_file(req, path: str, content_type: str) -> int:
    """Send the file *path* with ETag and Last-Modified, or 304 if the client has it already.

    The ETag has the form of Apache's ``FileETag MTime Size``, so a client sees one and the same
    whether this function or Apache's static file path answers.

    :raises FileNotFoundError: if there is no such file (any more).
    """
    found = os.stat(path)
    # Apache prints a time before 1970 as an unsigned number
    microseconds = found.st_mtime_ns // 1000 & _UNSIGNED
    etag = f'"{found.st_size:x}-{microseconds:x}"'
    req.headers_out["ETag"] = etag
    req.update_mtime(found.st_mtime_ns // 10**9)
    req.set_last_modified()
    status = req.meets_conditions()
    if status != apache.OK:
        return status
    if _is_beyond(req, found.st_size, etag):
        # mod_wsgi would log an error for what Apache answers by itself
        req.err_headers_out["Content-Range"] = f"bytes */{found.st_size}"
        return apache.HTTP_RANGE_NOT_SATISFIABLE
    req.content_type = content_type
    req.set_content_length(found.st_size)
    if not req.header_only:
        try:
            req.sendfile(path)
        except OSError as error:
            # mod_python raises one without a number when the client has gone
            if error.errno is not None:
                raise
    return apache.OK


def _is_beyond(req, size: int, etag: str) -> bool:
    """Tell whether the request asks for nothing but bytes behind the last one (RFC 9110, 14.2)."""
    asked = guarded.header(req, "Range", "").replace(" ", "")
    if req.method != "GET" or not asked.startswith("bytes="):
        return False
    if guarded.header(req, "If-Range", etag) != etag:
        return False
    ranges = [_RANGE.fullmatch(one) for one in asked.removeprefix("bytes=").split(",")]
    return all(
        found and (int(found[1]) >= size if found[1] else not int(found[2])) for found in ranges
    )


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

    400 for an address that is not UTF-8; 503 with Retry-After while the database or the directory
    of the pictures is away, or the store of sessions fails; 500 for a wrong configuration; 503
    where Apache and the settings file mean different caches. Each fault is one line in the log of
    each child.
    """

    @functools.wraps(handle)
    def handler(req) -> int:
        try:
            # A fault of the settings is met here, before anything is done with half of them.
            counting.serve(settings.of(req))
            if not drop_in.names_one_cache(req):
                return unavailable(req, faults.MISCONFIGURED)
            counters.answered()
            return handle(req)
        except guarded.Undecodable:
            return apache.HTTP_BAD_REQUEST
        except source.RootUnavailable as error:
            faults.tell(log, logging.ERROR, ("images.root", error.args[0]), str(error))
            return unavailable(req, RETRY_AFTER)
        except (errors.Misconfigured, errors.Unavailable) as error:
            status, seconds = faults.answer(error)
            if seconds is not None:
                retry_after(req, seconds)
            return status

    return handler


def note(req, text: str) -> None:
    """Leave *text* for the access log, where the format has ``%{X-Handlers}n``."""
    req.notes["X-Handlers"] = text
    if not is_real():
        # mod_wsgi passes no notes on; the drop-in makes one of the header, and takes that away
        req.err_headers_out["X-Handlers"] = text


def unavailable(req, seconds: float) -> int:
    """Return 503 and ask the client to come back after *seconds*."""
    retry_after(req, seconds)
    return apache.HTTP_SERVICE_UNAVAILABLE


def retry_after(req, seconds: float) -> None:
    """Ask the client to come back after *seconds*, whatever the status will be."""
    req.err_headers_out["Retry-After"] = str(max(1, math.ceil(seconds)))


def redirected(req, place: str) -> int:
    """Answer 301 with *place*, the path of the URL that holds for good."""
    req.status = apache.HTTP_MOVED_PERMANENTLY
    req.headers_out["Location"] = place
    req.set_content_length(0)
    return apache.OK
