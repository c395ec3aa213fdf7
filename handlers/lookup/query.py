"""The two SELECT statements of a lookup: all rows, and one row by id."""

import re
from typing import NamedTuple

from .errors import BadOption

_NAME = re.compile(r"[^\W\d][\w$-]{0,63}")
_ID = re.compile(r"(?<![:\w]):id\b")


class Queries(NamedTuple):
    """Statements whose results have columns named as the fields of Row, and ``id``.

    :ivar all: every row.
    :ivar one: the row of the id that stands in for ``:id``.
    """

    all: str
    one: str


def from_columns(table: str, columns: dict[str, str]) -> Queries:
    """Write the queries for *table* (``name`` or ``database.name``).

    :param columns: the name that a result column is to have -> the column's name in the table.
    :raises BadOption: for a name that cannot be a table's or a column's.
    """
    source = ".".join(_quote("table", part) for part in table.split(".", 1))
    chosen = ", ".join(
        f"{_quote(name, column)} AS {_quote(name, name)}" for name, column in columns.items()
    )
    every = f"SELECT {chosen} FROM {source}"
    return Queries(every, f"{every} WHERE {_quote('id', columns['id'])} = :id")


def from_text(every: str, one: str) -> Queries:
    """Take the queries as they are configured.

    :raises BadOption: if *one* has no ``:id`` in it, or *every* has.
    """
    if not _ID.search(one):
        raise BadOption("lookup.query_one must have :id where the id belongs")
    if _ID.search(every):
        raise BadOption("lookup.query reads all rows and cannot have :id in it")
    return Queries(every, one)


def percent_style(query: str) -> str:
    """Return *query* with ``%(id)s`` for ``:id``, as PyMySQL wants it."""
    return _ID.sub("%(id)s", query.replace("%", "%%"))


def _quote(what: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise BadOption(f"lookup.{what}: {name!r} is not a name")
    # SQLite knows MySQL's quotes, and takes an unknown column in "its own" for a string.
    return f"`{name}`"
