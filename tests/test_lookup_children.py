"""Many children, one snapshot, a real MariaDB: what it is asked, and what happens without it."""

import functools
import itertools
import os
import pathlib
import signal
import time

import pytest

from handlers import locks, restart
from handlers.elected import read_state
from handlers.lookup import Row, Unavailable
from handlers.lookup.state import State
from tests import support
from tests.forked import forked
from tests.support import lookups

COUNT = 5000
ROWS = {f"p{number}": f"a/{number}.jpg" for number in range(COUNT)}
EVERY_ROW = "FROM `images`"
_numbers = itertools.count()
# the database may be away meanwhile
until = functools.partial(support.until, despite=Unavailable)


@pytest.fixture
def name(mariadb):
    """A database with a filled table ``images``, of this test's own."""
    name = f"children{next(_numbers)}"
    mariadb.execute(
        f"CREATE DATABASE {name}",
        f"CREATE TABLE {name}.images (id VARCHAR(128) PRIMARY KEY, path VARCHAR(1000),"
        " updated_at DATETIME(3) NOT NULL DEFAULT '2024-01-01')",
    )
    mariadb.fill(f"{name}.images", "id, path", list(ROWS.items()))
    mariadb.forget_statements()
    yield name
    mariadb.execute(f"DROP DATABASE {name}")


@pytest.fixture
def open_lookup(mariadb, name, tmp_path):
    """A function that opens a Lookup with a snapshot; it is closed afterwards."""
    # a busy server is not away
    limits = {"timeout": 30, "connect_timeout": 30, "longest_pause": 0.3}
    options = {"snapshot": tmp_path / "snapshot", "preload": 100, **limits}
    with lookups(mariadb.url(name), **options) as open_lookup:
        yield open_lookup


def server(children, work):
    """Fork a process that forks *children*, as httpd does; return what *work* returns in each."""

    def start():
        return "\n".join(forked([work] * children))

    (answers,) = forked([start])
    return answers.split("\n")


def full_reads(mariadb):
    return [line for line in mariadb.statements(EVERY_ROW) if "WHERE" not in line]


def refreshed(tmp_path):
    state = read_state(f"{tmp_path}/snapshot.state", State)
    return state is not None and state.knows(restart.server_start())


def test_start_without_snapshot_is_one_full_read_for_24_children(
    mariadb, name, open_lookup, tmp_path
):
    def child():
        pictures = open_lookup()
        pictures.warm()
        first = pictures["p1"]
        until(lambda: len(pictures) == COUNT)
        until(lambda: refreshed(tmp_path))
        time.sleep(0.2)
        return first.path

    assert server(24, child) == ["a/1.jpg"] * 24
    assert len(full_reads(mariadb)) == 1


def test_restart_is_one_full_read_and_known_ids_are_none(mariadb, name, open_lookup, tmp_path):
    pictures = open_lookup()
    until(lambda: pictures.page(0, 1))
    # a fork while this process holds the lock would pass the lock on
    os.close(locks.acquire(f"{tmp_path}/snapshot.state", 0, 60))
    mariadb.forget_statements()

    def child():
        pictures = open_lookup()
        assert pictures.warm() == COUNT
        for number in range(100_000 // 64):
            assert pictures[f"p{number}"].path == f"a/{number}.jpg"
        until(lambda: refreshed(tmp_path))
        time.sleep(1)
        return pictures.stats()["found"]

    for _ in range(2):
        mariadb.forget_statements()
        assert server(24, child) == ["0"] * 24
        assert len(full_reads(mariadb)) == 1
        assert mariadb.statements("WHERE") == []


def test_restart_while_the_database_is_away_works_from_the_last_snapshot(
    mariadb, name, open_lookup, tmp_path, caplog
):
    pictures = open_lookup()
    until(lambda: pictures.page(0, 1))
    mariadb.kill()
    try:

        def child():
            pictures = open_lookup()
            start = time.perf_counter()
            assert pictures.warm() == COUNT
            assert all(pictures[id] == Row(path) for id, path in ROWS.items())
            took = time.perf_counter() - start
            with pytest.raises(Unavailable):
                pictures.get("new")
            return took

        assert all(float(took) < 20 for took in server(4, child))
    finally:
        mariadb.start()


def test_refresh_outlives_an_outage(mariadb, name, open_lookup, caplog):
    pictures = open_lookup(refresh=0.1)
    until(lambda: pictures.page(0, 1))
    mariadb.kill()
    try:
        until(lambda: "is away" in caplog.text)
        assert pictures["p1"] == Row("a/1.jpg")
    finally:
        mariadb.start()
    mariadb.execute(f"UPDATE {name}.images SET path = 'b' WHERE id = 'p1'")
    until(lambda: pictures["p1"] == Row("b"))
    away = [text for text in caplog.messages if "is away" in text]
    assert len(away) == 1


def test_stall_while_it_refreshes_hangs_nobody(mariadb, name, open_lookup):
    limits = {"timeout": 0.4, "connect_timeout": 0.4}
    pictures = open_lookup(refresh=0.05, **limits)
    until(lambda: pictures.page(0, 1))
    mariadb.pause()
    try:
        time.sleep(0.3)
        start = time.monotonic()
        assert all(pictures[id] == Row(path) for id, path in ROWS.items())
        fresh = open_lookup(**limits)
        assert fresh.warm() == COUNT
        assert fresh["p7"] == Row("a/7.jpg")
        assert fresh.page(0, 60)[1] == COUNT
        # not 0.4 s for each of them
        assert time.monotonic() - start < 60
        with pytest.raises(Unavailable):
            fresh.get("new")
        assert time.monotonic() - start < 60
    finally:
        mariadb.resume()
    until(lambda: fresh.get("new") is None)


def test_writer_killed_while_it_reads_is_followed_by_another(mariadb, name, open_lookup, tmp_path):
    for delay in (0.0, 0.01, 0.02, 0.03, 0.05):
        child = os.fork()
        if child == 0:
            try:
                open_lookup().warm()
                time.sleep(60)
            finally:
                os._exit(0)
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    pictures = open_lookup()
    until(lambda: pictures.page(0, 1)[1] == COUNT)
    assert dict(pictures) == {id: Row(path) for id, path in ROWS.items()}
    # the one that was killed last may have written it, and this process writes it anew
    until(lambda: sorted(os.listdir(tmp_path)) == ["snapshot", "snapshot.state"])


def test_rows_of_late_are_read_by_a_datetime_column(mariadb, name, open_lookup):
    mariadb.execute(f"UPDATE {name}.images SET updated_at = NOW(3) WHERE id = 'p0'")
    pictures = open_lookup(refresh=0.1, updated="updated_at")
    until(lambda: pictures.page(0, 1))
    mariadb.forget_statements()
    mariadb.execute(
        f"UPDATE {name}.images SET path = 'b', updated_at = NOW(3) WHERE id = 'p1'",
        f"INSERT INTO {name}.images VALUES ('new', 'new.jpg', NOW(3))",
    )
    until(lambda: pictures["p1"] == Row("b") and len(pictures) == COUNT + 1)
    assert pictures["new"] == Row("new.jpg")
    assert [line for line in full_reads(mariadb) if "COUNT" not in line] == []
    mariadb.execute(f"DELETE FROM {name}.images WHERE id = 'p2'")
    until(lambda: len(pictures) == COUNT)
    assert "p2" not in pictures


def test_memory_of_a_large_full_read_is_bounded(mariadb, name, open_lookup, tmp_path):
    rows = ((f"big{number}", f"a/path/{number}.jpg") for number in range(150_000))
    mariadb.fill(f"{name}.images", "id, path", list(rows))

    def child():
        before = resident()
        pictures = open_lookup()
        pictures.warm()
        until(lambda: len(pictures) == COUNT + 150_000)
        return resident() - before

    def resident():
        text = pathlib.Path("/proc/self/status").read_text()
        return int(text.partition("VmHWM:")[2].split()[0])

    (grown,) = forked([child])
    assert int(grown) < 90_000
