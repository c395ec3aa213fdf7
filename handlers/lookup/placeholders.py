"""Writing blurred placeholders into the table, as ``cache warm --placeholders`` does.

The only thing that this package ever writes into a site's own table: one column, of rows in which
it is NULL. So it goes on where it stopped, and leaves alone what others have put there.
"""

import contextlib
import os
import sqlite3
from collections.abc import Mapping

from handlers import access
from handlers.database.errors import DatabaseAway, DatabaseMisconfigured
from handlers.database.text import storable
from handlers.errors import Misconfigured

from . import options as lookup_options

#: What a row gets whose picture can have none, such as one with transparent parts.
NONE = ""

_PATIENCE = 10.0


class Column:
    """The column ``lookup.placeholder``; one thread of one process may use it.

    :param options: the ``lookup.*`` entries of a settings file.
    :raises Misconfigured: if there is no such column to fill, or the account may not.
    :raises DatabaseAway: if the database does not answer.
    """

    def __init__(self, options: Mapping[str, str]):
        read = lookup_options.from_mapping(options)
        columns = dict(read.queries.columns)
        if "placeholder" not in columns:
            raise Misconfigured(
                "lookup.placeholder names no column of lookup.table: set it, and add the column: "
                "ALTER TABLE ... ADD COLUMN ... VARCHAR(300)"
            )
        self._column, self._table = columns["placeholder"], read.queries.table
        id = columns["id"]
        is_file = read.database.scheme == "sqlite"
        mark = "?" if is_file else "%s"
        self._missing = (
            f"SELECT 1 FROM {self._table} WHERE `{id}` = {mark} AND `{self._column}` IS NULL"
        )
        self._update = (
            f"UPDATE {self._table} SET `{self._column}` = {mark}"
            f" WHERE `{id}` = {mark} AND `{self._column}` IS NULL"
        )
        self._connection = (
            _File(read.database.path) if is_file else _Server(read.database, self._table)
        )
        # an account that may not is told before anything is made
        self._connection.run(f"UPDATE {self._table} SET `{self._column}` = NULL WHERE 1 = 0", ())

    def is_missing(self, id: str) -> bool:
        """Tell whether the row *id* has NULL there."""
        return bool(self._connection.run(self._missing, (storable(id),))[1])

    def put(self, id: str, text: str) -> None:
        """Write *text* there, unless somebody else has written something meanwhile."""
        self._connection.run(self._update, (text, storable(id)))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class _File:
    """An SQLite database that is written to."""

    def __init__(self, path: str):
        self._path = path
        directory = os.path.dirname(path)
        if not os.access(path, os.W_OK) or not os.access(directory, os.W_OK):
            raise Misconfigured(
                f"{access.user()} may not write to {path}, or make files in {directory}: give it "
                "the right to while the placeholders are filled"
            )
        self._connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)

    def run(self, query: str, arguments: tuple) -> tuple[int, list]:
        try:
            with contextlib.closing(self._connection.execute(query, arguments)) as cursor:
                return cursor.rowcount, cursor.fetchall()
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or "busy" in str(error):
                raise DatabaseAway(f"{self._path}: {error}") from error
            raise DatabaseMisconfigured(f"{self._path}: {error}") from error
        except sqlite3.Error as error:
            raise DatabaseMisconfigured(f"{self._path}: {error}") from error

    def close(self) -> None:
        self._connection.close()


class _Server:
    """A database of MySQL or MariaDB."""

    def __init__(self, url, table: str):
        # sites on SQLite need not have PyMySQL
        from handlers.database import mysql

        self._denied = {*mysql.DENIED, mysql.COLUMN_DENIED}
        self._table = table
        self._connection = mysql.connected(url, _PATIENCE, _PATIENCE)

    def run(self, query: str, arguments: tuple) -> tuple[int, list]:
        try:
            return self._connection.run(query, arguments)
        except DatabaseMisconfigured as error:
            if error.code in self._denied:
                error.cure = f"GRANT UPDATE ON {self._table} TO the account of lookup.database"
            raise

    def close(self) -> None:
        self._connection.close()
