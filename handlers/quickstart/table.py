"""The table ``images`` of the quickstart, in SQLite, MySQL or MariaDB.

A table that the quickstart made is kept equal to the folder. A table that somebody else made is
read and never changed.
"""

import contextlib
import os
import sqlite3
from typing import NamedTuple

from handlers.database import mysql
from handlers.database import url as database_url
from handlers.database.errors import DatabaseAway, DatabaseMisconfigured
from handlers.quickstart.pictures import is_private
from handlers.quickstart.rights import Failed

# How a table of ours is known again: SQLite's application_id, MySQL's table comment.
_APPLICATION_ID = 0x6D70_6874
_COMMENT = "made by modpython-handlers quickstart"
# seconds to connect, or for a lock of SQLite; and for an answer
_PATIENCE = 5
_ANSWER = 60


class Found(NamedTuple):
    """A table ``images`` that is there.

    :ivar is_ours: whether the quickstart made it, and may replace it.
    :ivar has_private: whether it has a column ``private``.
    """

    is_ours: bool
    has_private: bool


#: The column with placeholders of a table that the quickstart has made.
PLACEHOLDER = "blur"


def look(url: database_url.URL) -> Found | None:
    """Return what there is of the table, None if it is not there yet.

    A MySQL database or an SQLite file that is not there is made by :func:`fill` or not at all.

    :raises Failed: if the database cannot be reached or does not let us.
    """
    with _failures(url):
        if url.scheme == "sqlite":
            return _look_sqlite(url) if os.path.exists(url.path) else None
        with contextlib.closing(_connect_mysql(url)) as connection:
            return _look_mysql(connection)


def fill(url: database_url.URL, pictures: dict[str, str]) -> None:
    """Make the table hold exactly *pictures*, ``{id: path}``.

    It replaces a table that is there, which must be ours.

    :raises Failed: if the database cannot be reached or does not let us.
    """
    rows = [(id, path, is_private(path)) for id, path in pictures.items()]
    with _failures(url):
        if url.scheme == "sqlite":
            _fill_sqlite(url, rows)
        else:
            _fill_mysql(url, rows)


def put(url: database_url.URL, placeholders: dict[str, str]) -> None:
    """Write *placeholders*, ``{id: text}``, into a table that is ours.

    :raises Failed: if the database cannot be reached or does not let us.
    """
    rows = [(text, id) for id, text in placeholders.items()]
    update = f"UPDATE images SET {PLACEHOLDER} = {{}} WHERE id = {{}}"
    with _failures(url):
        if url.scheme == "sqlite":
            with contextlib.closing(_open_sqlite(url)) as connection, connection:
                connection.executemany(update.format("?", "?"), rows)
            return
        with contextlib.closing(_connect_mysql(url)) as connection:
            connection.run("START TRANSACTION")
            for row in rows:
                connection.run(update.format("%s", "%s"), row)
            connection.run("COMMIT")


def _look_sqlite(url: database_url.URL) -> Found | None:
    with contextlib.closing(_open_sqlite(url)) as connection:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        columns = [row[1] for row in connection.execute("PRAGMA table_info(images)")]
    return Found(application == _APPLICATION_ID, "private" in columns) if columns else None


def _look_mysql(connection: mysql.Connection) -> Found | None:
    _, found = connection.run(
        "SELECT table_comment FROM information_schema.tables"
        " WHERE table_schema = DATABASE() AND table_name = 'images'"
    )
    if not found:
        return None
    _, ((columns,),) = connection.run(
        "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = DATABASE()"
        " AND table_name = 'images' AND column_name = 'private'"
    )
    return Found(found[0][0] == _COMMENT, bool(columns))


def _fill_sqlite(url: database_url.URL, rows: list[tuple]) -> None:
    with contextlib.closing(_open_sqlite(url)) as connection, connection:
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute("DROP TABLE IF EXISTS images")
        connection.execute(
            "CREATE TABLE images"
            " (id TEXT PRIMARY KEY, path TEXT NOT NULL, private INTEGER NOT NULL DEFAULT 0,"
            f" {PLACEHOLDER} VARCHAR(300))"
        )
        connection.executemany("INSERT INTO images VALUES (?, ?, ?, NULL)", rows)
    # Apache's user only reads it.
    os.chmod(url.path, 0o644)


def _fill_mysql(url: database_url.URL, rows: list[tuple]) -> None:
    with contextlib.closing(_connect_mysql(url)) as connection:
        connection.run("DROP TABLE IF EXISTS images")
        connection.run(
            "CREATE TABLE images (id VARCHAR(128) CHARACTER SET ascii"
            " COLLATE ascii_bin PRIMARY KEY, path VARCHAR(4096) CHARACTER SET utf8mb4"
            " COLLATE utf8mb4_bin NOT NULL, private BOOLEAN NOT NULL DEFAULT 0,"
            f" {PLACEHOLDER} VARCHAR(300) CHARACTER SET ascii)"
            " ENGINE=InnoDB COMMENT=%s",
            (_COMMENT,),
        )
        # one transaction: a sync of the disk for each row would take minutes
        connection.run("START TRANSACTION")
        connection.run_many("INSERT INTO images VALUES (%s, %s, %s, NULL)", rows)
        connection.run("COMMIT")


def _open_sqlite(url: database_url.URL) -> sqlite3.Connection:
    return sqlite3.connect(url.path, timeout=_PATIENCE)


def _connect_mysql(url: database_url.URL) -> mysql.Connection:
    return mysql.connected(url, _PATIENCE, _ANSWER)


@contextlib.contextmanager
def _failures(url: database_url.URL):
    try:
        yield
    except (DatabaseAway, DatabaseMisconfigured) as error:
        raise Failed(f"database {url} cannot be used: {error}") from None
    except (sqlite3.Error, OSError) as error:
        said = str(error.args[-1] if error.args else error)
        raise Failed(f"database {url} cannot be used: {said}") from None
