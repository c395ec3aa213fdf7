"""Marks of time from a column such as ``updated_at``: how far a snapshot has seen the table."""

import datetime
import decimal
import math
import re
import time

# The database's zone may be that much before or behind this machine's.
_ZONES = 26 * 3600
# seconds that clocks may differ by before a time is one of the future
_AHEAD = 60
_DIGITS = re.compile(r"[0-9]{9,19}(?:\.[0-9]*)?")
# nanoseconds, microseconds, milliseconds; a number of seconds is that large in the year 5138
_UNITS = (10**9, 10**6, 10**3)
_LAST_SECOND = 10**8

Mark = int | float | str


def later(mark, value):
    """Return the later of two values of the column as the driver gives them; None is the first."""
    if value is None:
        return mark
    try:
        return value if value > mark else mark
    except TypeError:
        # PyMySQL gives a date that does not exist, as 0000-00-00, as text
        return value if mark is None or isinstance(mark, str) else mark


def encode(value) -> Mark | None:
    """Return a value of the column as what JSON can hold; None if it is no time."""
    if isinstance(value, decimal.Decimal):
        value = float(value)
    if isinstance(value, datetime.date):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, Mark) else None


def since(mark: Mark, overlap: float, latest: datetime.datetime | None = None) -> Mark:
    """Return the value from which the column is to be read again, *overlap* seconds before *mark*.

    Transactions commit later than the time they write, and clocks of writers differ.

    Numbers are seconds since 1970, or thousandths and less if they are that large; text is such a
    number, or ISO 8601. A row from the future does not hide the changes until then. Any other text
    is taken as it is: the rows that don't sort before it are read.

    :param latest: what the database's own clock shows, in its own zone or in UTC, whichever is
        later. Text without a zone that is later still is of the future, or of another zone.
    """
    if not isinstance(mark, str):
        return _number_since(mark, overlap)
    if _DIGITS.fullmatch(mark):
        return str(int(_number_since(float(mark), overlap)))
    try:
        moment = datetime.datetime.fromisoformat(mark)
        now = datetime.datetime.now(moment.tzinfo)
        second = datetime.timedelta(seconds=1)
        if moment.tzinfo is not None:
            begins = min(moment, now)
        else:
            latest = max(filter(None, (latest, now, _utc())))
            begins = moment if moment <= latest + _AHEAD * second else now - _ZONES * second
        if begins == moment and not overlap:
            return mark
        begins -= overlap * second
    except (ValueError, OverflowError):
        return mark
    text = begins.isoformat(sep=_separator(mark))
    return text.replace("+00:00", "Z") if mark.endswith("Z") else text


def after(mark: Mark) -> Mark:
    """Return a value that is later than *mark*, and than which no later value is earlier."""
    if isinstance(mark, int):
        return mark + 1
    if isinstance(mark, float):
        return math.nextafter(mark, math.inf)
    try:
        moment = datetime.datetime.fromisoformat(mark)
        if moment.tzinfo is None and not _DIGITS.fullmatch(mark):
            moment += datetime.timedelta(microseconds=1)
            return moment.isoformat(sep=_separator(mark))
    except (ValueError, OverflowError):
        pass
    # text goes by its characters, and this one sorts before what a time or a number goes on with
    return mark + "!"


def _number_since(mark: int | float, overlap: float) -> int | float:
    unit = next((unit for unit in _UNITS if mark > unit * _LAST_SECOND), 1)
    back, now = overlap * unit, time.time() * unit
    if isinstance(mark, int):
        back, now = int(back), int(now)
    return min(mark, now) - back


def _separator(mark: str) -> str:
    return mark[10] if len(mark) > 10 else " "


def _utc() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
