"""The ``lookup.*`` options."""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from handlers.database_url import URL, parse

from . import query
from .errors import BadOption

_SECTION = "lookup."
_COLUMNS = ("id", "path", "private", "focus_x", "focus_y", "updated")


@dataclass(frozen=True)
class Options:
    """What a lookup is configured to do; times are in seconds.

    ======================== ========== ==========================================================
    option                   default    meaning
    ======================== ========== ==========================================================
    lookup.database          (none)     database URL, see :mod:`handlers.database_url`
    lookup.table             images     table, or database.table
    lookup.id, lookup.path   id, path   its columns
    lookup.private           (none)     column that is true for what not everybody may see
    lookup.focus_x, focus_y  (none)     columns with the subject's place, 0 to 1
    lookup.updated           (none)     column with the time of a row's last change: a refresh
                                        then reads the rows of late instead of all
    lookup.query             (none)     instead of table and columns: SELECT of all rows, its
                                        columns named id, path, private, focus_x, focus_y
    lookup.query_one         (none)     the same SELECT for one row, with ``:id`` for the id
    lookup.query_updated     (none)     the same SELECT for the rows whose time is not before
                                        ``:since``; ``lookup.query`` then has a column updated
    lookup.snapshot          (none)     file with all rows that the children share; without it
                                        each child reads the table into a dict of its own
    lookup.refresh           3600       how often the snapshot is brought up to date; 0: at a
                                        restart of the server only
    lookup.preload           20000      a child takes all rows of a snapshot into its dict if
                                        there are not more than so many
    lookup.hot               20000      else it keeps so many of those last asked for
    lookup.queries           50         unknown ids that a child asks the database for in a
                                        second; the others are answered 503
    lookup.missing_ttl       60         how long an id that does not exist is remembered
    lookup.missing_limit     10000      how many such ids are remembered
    lookup.connect_timeout   2          wait for the database to take a connection
    lookup.timeout           2          wait for the next part of an answer
    lookup.idle              60         a connection not used for so long is closed
    lookup.longest_pause     30         between two attempts to reach a database that is away
    ======================== ========== ==========================================================
    """

    database: URL
    queries: query.Queries
    missing_ttl: float = 60.0
    missing_limit: int = 10_000
    connect_timeout: float = 2.0
    timeout: float = 2.0
    idle: float = 60.0
    snapshot: str | None = None
    refresh: float = 3600.0
    preload: int = 20_000
    hot: int = 20_000
    queries_per_second: int = 50
    longest_pause: float = 30.0


def from_mapping(options: Mapping[str, str]) -> Options:
    """Read the ``lookup.*`` entries of *options*; other entries are not looked at.

    :raises BadOption: for a name that does not exist, or a value that it cannot have.
    :raises BadURL: for a ``lookup.database`` that cannot be understood.
    """
    given = {name: value for name, value in options.items() if name.startswith(_SECTION)}
    for name in given:
        if name.removeprefix(_SECTION) not in _NAMES:
            known = ", ".join(_SECTION + known for known in sorted(_NAMES))
            raise BadOption(f"{name} is unknown: there are {known}")
    if not given.get("lookup.database"):
        raise BadOption("lookup.database is not set")
    return Options(
        database=parse(given["lookup.database"]),
        queries=_queries(given),
        snapshot=_file("lookup.snapshot", given.get("lookup.snapshot")),
        **{
            _FIELDS.get(name, name): read(_SECTION + name, given[_SECTION + name])
            for name, read in _NUMBERS.items()
            if _SECTION + name in given
        },
    )


def _queries(given: Mapping[str, str]) -> query.Queries:
    texts = [given.get(f"lookup.{name}") for name in ("query", "query_one")]
    updated = given.get("lookup.query_updated")
    if updated and not all(texts):
        raise BadOption("lookup.query_updated belongs to lookup.query, which is not set")
    if any(texts):
        if not all(texts):
            raise BadOption("lookup.query and lookup.query_one belong together: one is not set")
        for name in ("table", *_COLUMNS):
            if f"lookup.{name}" in given:
                raise BadOption(f"lookup.{name} has no meaning beside lookup.query")
        return query.from_text(*texts, updated)
    columns = {"id": "id", "path": "path"}
    columns |= {name: given[f"lookup.{name}"] for name in _COLUMNS if f"lookup.{name}" in given}
    return query.from_columns(given.get("lookup.table", "images"), columns)


def _file(name: str, text: str | None) -> str | None:
    if text is not None and not os.path.isabs(text):
        raise BadOption(f"{name}: {text!r} is not an absolute path")
    return text


def _seconds(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    # a day: more is a slip of the pen, and too much for the system's timers
    if not 0 < value <= 86_400:
        raise BadOption(f"{name}: {text!r} is not a number of seconds above 0, at most 86400")
    return value


def _seconds_or_none(name: str, text: str) -> float:
    return 0.0 if text.strip() == "0" else _seconds(name, text)


def _count_or_none(name: str, text: str) -> int:
    return 0 if text.strip() == "0" else _count(name, text)


def _count(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise BadOption(f"{name}: {text!r} is not a whole number above 0")
    return int(text)


_NUMBERS: dict[str, Callable] = {
    "refresh": _seconds_or_none,
    "preload": _count_or_none,
    "hot": _count,
    "queries": _count,
    "missing_ttl": _seconds_or_none,
    "missing_limit": _count,
    "connect_timeout": _seconds,
    "timeout": _seconds,
    "idle": _seconds,
    "longest_pause": _seconds,
}
_FIELDS = {"queries": "queries_per_second"}
_TEXTS = {"query", "query_one", "query_updated"}
_NAMES = {"database", "snapshot", "table", *_COLUMNS, *_TEXTS, *_NUMBERS}
