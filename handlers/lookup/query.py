"""The SELECT statements of a lookup: all rows, one row by id, the rows that have changed."""

import re
from typing import NamedTuple

from handlers import kinds
from handlers.errors import Misconfigured

_PARAMETER = re.compile(r"(?<![:\w]):(id|since)\b")


class Queries(NamedTuple):
    """Statements whose results have columns named as the fields of Row, and ``id``.

    :ivar all: every row.
    :ivar one: the row of the id that stands in for ``:id``.
    :ivar updated: the rows whose column ``updated`` is not before ``:since``, or None. If there is
        such a query, *all* has that column, too.
    :ivar columns: the option and the name of each column, if the queries were made of them.
    :ivar table: the table's name in quotes, in the same case.
    """

    all: str
    one: str
    updated: str | None = None
    columns: tuple[tuple[str, str], ...] = ()
    table: str = ""

    @property
    def count(self) -> str:
        """The number of rows that *all* gives."""
        return f"SELECT COUNT(*) FROM ({self.all}\n) AS counted"

    @property
    def count_updated(self) -> str:
        """The number of rows that *updated* gives."""
        return f"SELECT COUNT(*) FROM ({self.updated}\n) AS counted"

    def first_updated(self, number: int) -> str:
        """Any *number* of the rows that *updated* gives, or all if there are fewer."""
        return f"SELECT * FROM ({self.updated}\n) AS updated LIMIT {number}"

    @property
    def private_column(self) -> str:
        """What the column ``private`` is called in the table, as far as that is known."""
        return dict(self.columns).get("private", "private")

    def cure(self, missing: tuple[str, str] | None) -> str:
        """Return which option to correct if the database refuses these queries.

        :param missing: what it does not have, see :class:`~.errors.DatabaseMisconfigured`.
        """
        if not self.columns:
            return "correct lookup.query and lookup.query_one"
        kind, name = missing or ("", "")
        if kind == "table":
            return "correct lookup.table"
        name = name.rpartition(".")[2].lower()
        options = [option for option, column in self.columns if column.lower() == name]
        if options:
            return f"correct lookup.{options[0]}"
        return "correct the lookup.* options or the database"


def from_columns(table: str, columns: dict[str, str]) -> Queries:
    """Write the queries for *table* (``name`` or ``database.name``).

    :param columns: the name that a result column is to have -> the column's name in the table.
    :raises ValueError: for a name that cannot be a table's or a column's.
    """
    source = ".".join(_quote(part) for part in table.split(".", 1))
    chosen = ", ".join(f"{_quote(column)} AS {_quote(name)}" for name, column in columns.items())
    every = f"SELECT {chosen} FROM {source}"
    updated = None
    if "updated" in columns:
        updated = f"{every} WHERE {_quote(columns['updated'])} >= :since"
    return Queries(
        every,
        f"{every} WHERE {_quote(columns['id'])} = :id",
        updated,
        tuple(columns.items()),
        source,
    )


def from_text(every: str, one: str, updated: str | None = None) -> Queries:
    """Take the queries as they are configured.

    :raises Misconfigured: if *one* has no ``:id`` in it, *updated* no ``:since``, or *every* has
        one of them.
    """
    if "id" not in _PARAMETER.findall(one):
        raise Misconfigured("lookup.query_one must have :id where the id belongs")
    if updated is not None and "since" not in _PARAMETER.findall(updated):
        raise Misconfigured("lookup.query_updated must have :since where the time belongs")
    for name in _PARAMETER.findall(every):
        raise Misconfigured(f"lookup.query reads all rows and cannot have :{name} in it")
    every, one = _unended(every), _unended(one)
    return Queries(every, one, None if updated is None else _unended(updated))


def _unended(query: str) -> str:
    # a query that becomes a part of another one has no end of its own
    return query.rstrip("; \t\r\n")


def _quote(name: str) -> str:
    # SQLite knows MySQL's quotes, and takes an unknown column in "its own" for a string.
    return f"`{kinds.column(name)}`"
