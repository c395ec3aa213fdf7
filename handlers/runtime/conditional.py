"""Validators and conditional requests (RFC 9110 sections 8.8 and 13), in Apache's forms."""

import re
from datetime import UTC, datetime
from email.utils import formatdate

from .constants import HTTP_NOT_MODIFIED, HTTP_PRECONDITION_FAILED, OK

_ENTITY_TAG = re.compile(r'\s*(W/)?("[\x21\x23-\x7e\x80-\xff]*")\s*(?:,|$)|\s*,')
# DeflateAlterETag and BrotliAlterETag, AddSuffix
_COMPRESSED = re.compile('-(?:gzip|br)"$')
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_CLOCK = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_DAY, _MONTH = r"(?P<day>[0-9 ]?[0-9])", r"(?P<month>[a-z]{3})"
# RFC 9110 section 5.6.7: IMF-fixdate, the form of RFC 850, and that of asctime
_DATES = tuple(
    re.compile(form, re.ASCII | re.IGNORECASE)
    for form in (
        rf"[a-z]{{3}}, {_DAY} {_MONTH} (?P<year>[0-9]{{4}}) {_CLOCK} [a-z]{{1,5}}",
        rf"[a-z]{{6,9}}, {_DAY}-{_MONTH}-(?P<year>[0-9]{{2}}) {_CLOCK} [a-z]{{1,5}}",
        rf"[a-z]{{3}} {_MONTH} {_DAY} {_CLOCK} (?P<year>[0-9]{{4}})",
    )
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
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
    """Return the seconds since 1970 of an HTTP date in any of its three forms, None for no date.

    As in Apache, the zone is taken for GMT whatever it is, and the weekday for right. A year of two
    digits is one of 1970 to 2069. It raises nothing, whatever *text* holds.
    """
    for form in _DATES:
        found = form.fullmatch(text.strip())
        if found:
            break
    else:
        return None
    part = found.groupdict()
    year = int(part["year"])
    if len(part["year"]) == 2:
        year += 1900 if year >= 70 else 2000
    try:
        # strptime would follow the locale
        month = _MONTHS.index(part["month"].lower()) + 1
        # a leap second is taken for the one before it
        second = 59 if part["second"] == "60" else int(part["second"])
        clock = int(part["hour"]), int(part["minute"]), second
        date = datetime(year, month, int(part["day"]), *clock, tzinfo=UTC)
    except ValueError:
        return None
    return (date - _EPOCH).total_seconds()


def etag_in(etag: str | None, field: str, weakly: bool) -> bool:
    """Return whether the list of entity tags *field* names *etag*.

    ``*`` names anything that exists. A field that is no list of entity tags names nothing from its
    first fault on.

    :param weakly: compare weakly (RFC 9110 section 8.8.3.2), where ``W/`` does not count, nor does
        what mod_deflate or mod_brotli has put behind the tag: ``"abc-gzip"`` names ``"abc"``.
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
        if weakly and theirs and _COMPRESSED.sub('"', theirs) == opaque:
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
