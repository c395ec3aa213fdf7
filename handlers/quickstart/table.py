"""The table ``images`` of the quickstart, in SQLite, MySQL or MariaDB.

A table that the quickstart made is kept equal to the folder. A table that somebody else made is
read and never changed.
"""

import contextlib
import os
import sqlite3

import pymysql

from handlers import database_url
from handlers.quickstart.pictures import is_private
from handlers.quickstart.work import Failed

# How a table of ours is known again: SQLite's application_id, MySQL's table comment.
_APPLICATION_ID = 0x6D70_6874
_COMMENT = "made by modpython-handlers quickstart"


def fill(url: database_url.URL, pictures: dict[str, str]) -> bool:
    """Make the table hold exactly *pictures*, ``{id: path}``, if it is ours or not there yet.

    Return whether it is ours.

    :raises Failed: if the database cannot be reached or does not let us.
    """
    try:
        rows = [(id, path, is_private(path)) for id, path in pictures.items()]
        return _fill_sqlite(url, rows) if url.scheme == "sqlite" else _fill_mysql(url, rows)
    except (sqlite3.Error, pymysql.Error, OSError) as error:
        raise Failed(f"database {url} cannot be used: {_sentence(error)}") from None


def _fill_sqlite(url: database_url.URL, rows: list[tuple]) -> bool:
    with contextlib.closing(sqlite3.connect(url.path, timeout=5)) as connection, connection:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        exists = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'images'").fetchone()
        if exists and application != _APPLICATION_ID:
            return False
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute("DROP TABLE IF EXISTS images")
        connection.execute(
            "CREATE TABLE images"
            " (id TEXT PRIMARY KEY, path TEXT NOT NULL, private INTEGER NOT NULL DEFAULT 0)"
        )
        connection.executemany("INSERT INTO images VALUES (?, ?, ?)", rows)
    # Apache's user only reads it.
    os.chmod(url.path, 0o644)
    return True


def _fill_mysql(url: database_url.URL, rows: list[tuple]) -> bool:
    with _connect_mysql(url) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_comment FROM information_schema.tables"
            " WHERE table_schema = DATABASE() AND table_name = 'images'"
        )
        found = cursor.fetchone()
        if found and found[0] != _COMMENT:
            return False
        cursor.execute("DROP TABLE IF EXISTS images")
        cursor.execute(
            "CREATE TABLE images (id VARCHAR(128) CHARACTER SET ascii"
            " COLLATE ascii_bin PRIMARY KEY, path VARCHAR(4096) CHARACTER SET utf8mb4"
            " COLLATE utf8mb4_bin NOT NULL, private BOOLEAN NOT NULL DEFAULT 0)"
            " ENGINE=InnoDB COMMENT=%s",
            (_COMMENT,),
        )
        cursor.executemany("INSERT INTO images VALUES (%s, %s, %s)", rows)
        connection.commit()
    return True


def _connect_mysql(url: database_url.URL) -> pymysql.Connection:
    parameters = {"charset": "utf8mb4", "connect_timeout": 5, **url.parameters}
    for host, port in url.hosts[:-1]:
        with contextlib.suppress(pymysql.OperationalError):
            return _open(url, {**parameters, "host": host, "port": port})
    if url.hosts:
        parameters["host"], parameters["port"] = url.hosts[-1]
    return _open(url, parameters)


def _open(url: database_url.URL, parameters: dict) -> pymysql.Connection:
    return pymysql.connect(
        user=url.user or None,
        password=url.password.encode(),
        database=url.name,
        **parameters,
    )


def _sentence(error: Exception) -> str:
    return str(error.args[-1] if error.args else error)
