"""The kinds of values that options have: one grammar for each, wherever it is used.

A parser takes the text of a value and returns what it means, or raises ValueError whose message
says what the text is not ("is not a whole number"). The caller puts the name of the option and the
text in front. :mod:`handlers.options` declares the options by these kinds.
"""

import math
import os
import re
from collections.abc import Callable
from typing import NamedTuple

_FLAGS = {
    **dict.fromkeys(("on", "yes", "true", "1"), True),
    **dict.fromkeys(("off", "no", "false", "0"), False),
}
_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(B?)", re.ASCII)
_SUFFIXES = " KMGT"
# what a password may stand in, or more than one line of the file
_TELLING = re.compile(r"[@\n\r]|://")
_LONGEST_SHOWN = 60
_SQL_NAME = re.compile(r"[^\W\d][\w$-]{0,63}")


def never(text: str) -> bool:
    """Tell that *text* is no secret, whatever it is."""
    return False


class Kind(NamedTuple):
    """A kind of value.

    :ivar parse: returns what a text means; raises ValueError if it means nothing.
    :ivar is_secret: tells whether a text holds what only the server may know.
    """

    parse: Callable[[str], object]
    is_secret: Callable[[str], bool] = never


class Words(str):
    """A default in words, where it is no value: ``none``, or what it is worked out from."""

    __slots__ = ()


NONE = Words("none")


class Option(NamedTuple):
    """A declared option.

    :ivar name: ``section.key``.
    :ivar kind: how its value is read.
    :ivar default: the value it has if it is not given, as one would write it; :class:`Words` if
        there is none.
    :ivar meaning: for README, in its markup.
    :ivar example: a value.
    """

    name: str
    kind: Kind
    default: str
    meaning: str
    example: str


def flag(text: str) -> bool:
    """Return what ``on``, ``yes``, ``true``, ``1`` or their opposites mean, in any case."""
    value = _FLAGS.get(text.strip().lower())
    if value is None:
        raise ValueError("is neither on nor off")
    return value


def flag_or(*words: str) -> Callable[[str], bool | str]:
    """Return a parser of a flag, or of one of the lower-case *words*, which it returns."""

    def parse(text: str) -> bool | str:
        word = text.strip().lower()
        if word in words:
            return word
        try:
            return flag(text)
        except ValueError:
            raise ValueError(f"is none of on, off, {', '.join(words)}") from None

    return parse


def count(least: int = 0) -> Callable[[str], int]:
    """Return a parser of whole numbers from *least* on; K, M, G and T stand for powers of 1000."""

    def parse(text: str) -> int:
        number = _scaled(text, 1000)
        if number is None or number != int(number):
            raise ValueError("is not a whole number")
        if number < least:
            raise ValueError(f"is less than {least}")
        return int(number)

    return parse


def size(text: str) -> int:
    """Return a number of bytes: digits, and K, M, G or T for powers of 1024."""
    number = _scaled(text, 1024, unit="B")
    if number is None:
        raise ValueError("is not a number of bytes such as 500M or 20G")
    return int(number)


def amount(
    what: str, least: float = 0.0, most: float = math.inf, zero: bool = True
) -> Callable[[str], float]:
    """Return a parser of numbers that may have a fraction.

    :param what: the unit, for the message: ``seconds``.
    :param zero: whether 0 is allowed, even if it is below *least*.
    """
    bounds = f" from {least:g}" if zero or least else " above 0"
    bounds += f" to {most:g}" if most < math.inf else ""

    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            raise ValueError(f"is not a number of {what}") from None
        if not ((number == 0 and zero) or (least <= number <= most and 0 < number < math.inf)):
            raise ValueError(f"is not a number of {what}{bounds}")
        return number

    return parse


def path(text: str) -> str:
    """Return an absolute path."""
    if not os.path.isabs(text) or "\0" in text:
        raise ValueError("is not an absolute path")
    return text


def url_path(text: str) -> str:
    """Return the path of a URL, such as ``/thumbs``: without a slash at its end."""
    if not re.fullmatch(r"(?:/[A-Za-z0-9._~-]+)+", text) or "/." in text:
        raise ValueError("is not the path of a URL such as /thumbs or /site/thumbs")
    return text


def url_path_or_off(text: str) -> str:
    """Return the path of a URL; an empty text for ``off``."""
    return "" if text.strip().lower() == "off" else url_path(text)


def column(text: str) -> str:
    """Return the name of a column, as both databases take it between quotes."""
    if not _SQL_NAME.fullmatch(text):
        raise ValueError("is not the name of a column")
    return text


def table(text: str) -> str:
    """Return the name of a table, or ``database.table``."""
    if not all(map(_SQL_NAME.fullmatch, text.split(".", 1))):
        raise ValueError("is not the name of a table")
    return text


def text(given: str) -> str:
    """Return the text, which must not be empty."""
    if not given:
        raise ValueError("is empty")
    return given


def one_of(*words: str) -> Callable[[str], str]:
    """Return a parser of one of *words*, in any case; it returns the word as it stands there."""
    known = {word.lower(): word for word in words}

    def parse(text: str) -> str:
        word = known.get(text.strip().lower())
        if word is None:
            raise ValueError(f"is none of {', '.join(words)}")
        return word

    return parse


def some_of(*words: str) -> Callable[[str], tuple[str, ...]]:
    """Return a parser of a list of *words*, separated by blanks."""
    one = one_of(*words)

    def parse(text: str) -> tuple[str, ...]:
        return tuple(one(word) for word in text.split())

    return parse


def words(text: str) -> tuple[str, ...]:
    """Return a list, separated by blanks or commas."""
    return tuple(text.replace(",", " ").split())


def shown(text: str) -> str:
    """Return *text* for a message, or ``what is given`` if a password might stand in it."""
    if _TELLING.search(text):
        return "what is given"
    return repr(text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "...")


def _scaled(text: str, base: int, unit: str = "") -> float | None:
    match = _NUMBER.fullmatch(text.strip().upper())
    if match is None or match[3] not in ("", unit):
        return None
    return round(float(match[1]) * base ** _SUFFIXES.index(match[2] or " "), 6)


FLAG = Kind(flag)
COUNT = Kind(count())
FROM_1 = Kind(count(1))
BYTES = Kind(size)
SECONDS = Kind(amount("seconds"))
# a day: more is a slip of the pen, and too much for the system's timers
WAIT = Kind(amount("seconds", most=86_400, zero=False))
WAIT_OR_0 = Kind(amount("seconds", most=86_400))
DAYS = Kind(amount("days"))
PER_SECOND = Kind(amount("deletions", zero=False))
PATH = Kind(path)
URL_PATH = Kind(url_path)
URL_PATH_OR_OFF = Kind(url_path_or_off)
TEXT = Kind(text)
LIST = Kind(words)
TABLE = Kind(table)
COLUMN = Kind(column)
