"""Marks of time from a column such as ``updated_at``: how far a snapshot has seen the table."""

import datetime
import decimal
import time

# The database's zone may be that much before or behind this machine's.
_ZONES = 26 * 3600

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


def since(mark: Mark, overlap: float) -> Mark:
    """Return the value from which the column is to be read again, *overlap* seconds before *mark*.

    Transactions commit later than the time they write, and clocks of writers differ.

    Numbers are seconds since 1970, text is ISO 8601 without a zone. A row from the future does not
    hide the changes until then. Any other text is taken as it is, and finds what is not before it.
    """
    if not isinstance(mark, str):
        return _before(mark, time.time(), 1) - overlap
    try:
        moment = datetime.datetime.fromisoformat(mark)
        if moment.tzinfo is not None:
            return mark
        second = datetime.timedelta(seconds=1)
        now = datetime.datetime.now().replace(microsecond=0)
        moment = _before(moment, now, second) - overlap * second
    except (ValueError, OverflowError):
        return mark
    return moment.isoformat(sep=mark[10] if len(mark) > 10 else " ")


def _before(moment, now, second):
    return now - _ZONES * second if moment > now + _ZONES * second else moment
