"""Purges that reach every machine: a table in the database of the lookup, which all of them read.

``cache purge --everywhere`` writes the ids into the table that ``cache.purges`` names, and purges
on its own machine at once. On each machine one elected child reads the table every few seconds, and
purges what it has not purged yet. A machine that was away for longer than the table keeps its rows
(a day) needs none of them: its children read the rows of all pictures when they start.
"""

import contextlib
import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from handlers import elected, faults, locks, settings, state_directory
from handlers.cache import keeper
from handlers.cache.store import purge
from handlers.database.errors import DatabaseMisconfigured
from handlers.database.url import URL
from handlers.errors import Misconfigured, Unavailable

log = logging.getLogger(__name__)

# seconds between two looks into the table, and for the database to answer
_INTERVAL = 5.0
_PATIENCE = 10.0
_TABLE = (
    "CREATE TABLE IF NOT EXISTS {} (number BIGINT AUTO_INCREMENT PRIMARY KEY, "
    "id VARCHAR(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, "
    "at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, KEY (at)) ENGINE=InnoDB"
)
_KEPT = "NOW() - INTERVAL 1 DAY"
_workers: dict[str, elected.Worker] = {}


@dataclass
class _State:
    """Which rows of the table were done here, by their numbers."""

    done: list[int] = field(default_factory=list)
    begun: bool = False


def start(directory: str, options: settings.Settings) -> None:
    """Let this child be one of those that read the table, if ``cache.purges`` names one.

    :param directory: of the cache.
    :raises handlers.errors.Misconfigured: for a database that is no MySQL or MariaDB.
    """
    table = options.cache.purges
    if table is None or directory in _workers:
        return
    url = _database(options)
    _workers[directory] = elected.Worker(
        "purges of all machines",
        lambda: locks.held(_path(directory) + ".lock", 0, 0),
        lambda _, worker: _read_again_and_again(directory, url, table, worker),
        complain=functools.partial(_complain, directory, table),
        after_fault=_INTERVAL,
    )
    _workers[directory].start()


def announce(options: settings.Settings, ids: Sequence[str]) -> None:
    """Write *ids* into the table for all machines; this one's must be purged beside it.

    Makes the table if there is none, and forgets rows that are older than a day.

    :raises handlers.errors.Misconfigured: if ``cache.purges`` is not set, or the database refuses.
    :raises handlers.errors.Unavailable: if the database is away.
    """
    table = _quoted(settings.required(options, "cache.purges"))
    with contextlib.closing(_connected(_database(options))) as connection:
        connection.run(_TABLE.format(table))
        connection.run(f"DELETE FROM {table} WHERE at < {_KEPT}")
        connection.run_many(f"INSERT INTO {table} (id) VALUES (%s)", [(id,) for id in ids])


def look(directory: str, url: URL, table: str) -> int:
    """Purge here what the table has and this machine has not purged; return how many ids.

    :raises handlers.errors.Unavailable, Misconfigured: as the database does.
    """
    state = elected.read_state(_path(directory), _State) or _State()
    with contextlib.closing(_connected(url)) as connection:
        # numbers become visible in another order than they were given
        query = f"SELECT number, id FROM {_quoted(table)} WHERE at >= {_KEPT} ORDER BY number"
        rows = [(int(number), _text(id)) for number, id in connection.run(query)[1]]
    done = set(state.done)
    new = [id for number, id in rows if number not in done]
    if new and state.begun:
        purge(directory, new)
        log.info("%d pictures purged, as another machine asked for it", len(set(new)))
    # a machine that looks for the first time has read the rows of all pictures a moment ago
    elected.write_state(_path(directory), _State([number for number, _ in rows], True))
    return len(new)


def _read_again_and_again(directory, url, table, worker: elected.Worker) -> None:
    state_directory.ensure(directory)
    while not worker.stopped:
        look(directory, url, table)
        faults.over(("purges", table))
        worker.rest(_INTERVAL)


def _complain(directory: str, table: str, error: Exception) -> bool:
    """Tell the admin of a fault of the table or of the cache, once; True if *error* is one."""
    if isinstance(error, DatabaseMisconfigured) and error.missing:
        # nobody has purged yet
        return True
    if isinstance(error, Misconfigured | Unavailable):
        message = f"cache.purges {table}: {error}"
        faults.tell(log, logging.WARNING, ("purges", table), message, key=type(error))
        return True
    return keeper.complain(directory, error)


def _database(options: settings.Settings) -> URL:
    url = settings.required(options, "lookup.database")
    if url.scheme != "mysql":
        raise Misconfigured("cache.purges needs a lookup.database of all machines: mysql://...")
    return url


def _connected(url: URL):
    # sites without a table of purges need not have PyMySQL in every child's memory
    from handlers.database import mysql

    return mysql.connected(url, _PATIENCE, _PATIENCE)


def _quoted(table: str) -> str:
    return ".".join(f"`{part}`" for part in table.split(".", 1))


def _text(id: str | bytes) -> str:
    return id.decode("utf-8", "surrogateescape") if isinstance(id, bytes) else id


def _path(directory: str) -> str:
    return state_directory.path(directory, "purges")
