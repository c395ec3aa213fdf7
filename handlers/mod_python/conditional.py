"""Validators and conditional requests (RFC 9110 sections 8.8 and 13), in Apache's forms."""

import re
from datetime import timezone
from email.utils import formatdate, parsedate_to_datetime

from .constants import HTTP_NOT_MODIFIED, HTTP_PRECONDITION_FAILED, OK

_ENTITY_TAG = re.compile(r'\s*(W/)?("[\x21\x23-\x7e\x80-\xff]*")\s*(?:,|$)|\s*,')
_SECOND = 1_000_000_000


def file_etag(size: int, mtime_ns: int, now: float) -> str:
    """Return the ETag that Apache sends for a file under its default ``FileETag MTime Size``.

    It is weak (``W/``) while the file is younger than a second, as Apache's is: within that second
    it may change again without a new time stamp.

    :param size: bytes.
    :param mtime_ns: nanoseconds since 1970; the tag has microseconds.
    :param now: time of the request, seconds since 1970.
    """
    weak = "" if now * _SECOND - mtime_ns > _SECOND else "W/"
    return f'{weak}"{size:x}-{mtime_ns // 1000:x}"'


def http_date(seconds: float) -> str:
    """Return the IMF-fixdate of RFC 9110 section 5.6.7 for *seconds* since 1970."""
    return formatdate(seconds, usegmt=True)


def parse_http_date(text: str) -> float | None:
    """Return the seconds since 1970 of an HTTP date in any of its three forms, None for no date."""
    try:
        found = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError):
        return None
    if found.tzinfo is None:
        found = found.replace(tzinfo=timezone.utc)
    return found.timestamp()


def etag_in(etag: str | None, field: str, weakly: bool) -> bool:
    """Return whether the list of entity tags *field* names *etag*.

    ``*`` names anything that exists. A field that is no list of entity tags names nothing from its
    first fault on.

    :param weakly: compare weakly (RFC 9110 section 8.8.3.2), where ``W/`` does not count.
    """
    if field.strip() == "*":
        return True
    if not etag:
        return False
    ours_weak = etag.startswith("W/")
    opaque = etag[2:] if ours_weak else etag
    place = 0
    while place < len(field):
        found = _ENTITY_TAG.match(field, place)
        if found is None or found.end() == place:
            return False
        weak, theirs = found.groups()
        if theirs == opaque and (weakly or not (weak or ours_weak)):
            return True
        place = found.end()
    return False


def meets_conditions(
    method: str, headers_in, etag: str | None, last_modified: float | None, now: float
) -> int:
    """Return OK, or the status with which a conditional request is to be answered: 304 or 412.

    The order is that of RFC 9110 section 13.2.2. As in Apache, an ``If-Modified-Since`` of the
    future is ignored.

    :param headers_in: anything with ``get``.
    :param last_modified: seconds since 1970, None if not known; conditions on it then hold.
    :param now: time of the request, seconds since 1970.
    """
    if_match = headers_in.get("If-Match")
    if if_match is not None:
        if not etag_in(etag, if_match, weakly=False):
            return HTTP_PRECONDITION_FAILED
    elif last_modified is not None:
        since = _date_field(headers_in, "If-Unmodified-Since")
        if since is not None and last_modified > since:
            return HTTP_PRECONDITION_FAILED
    reading = method in ("GET", "HEAD")
    if_none_match = headers_in.get("If-None-Match")
    if if_none_match is not None:
        if etag_in(etag, if_none_match, weakly=True):
            return HTTP_NOT_MODIFIED if reading else HTTP_PRECONDITION_FAILED
    elif reading and last_modified is not None:
        since = _date_field(headers_in, "If-Modified-Since")
        if since is not None and last_modified <= since <= now:
            return HTTP_NOT_MODIFIED
    return OK


def _date_field(headers_in, name: str) -> float | None:
    field = headers_in.get(name)
    return None if field is None else parse_http_date(field)
