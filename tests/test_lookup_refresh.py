"""Refreshing the snapshot: what changed is found, told once and completely, and cheap."""

import contextlib
import logging
import os
import signal
import sqlite3
import time

import pytest

from handlers.elected import read_state
from handlers.lookup import Lookup, Row
from handlers.lookup.state import State
from tests.support import lookups, until

COUNT = 500


def run(path, *statements, rows=()):
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
        connection.executemany("INSERT INTO images (id, path, changed) VALUES (?, ?, ?)", rows)


def now(seconds=0):
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() + seconds))


@pytest.fixture
def path(tmp_path):
    old = now(-86_400)
    run(
        tmp_path / "images.db",
        "CREATE TABLE images (id TEXT PRIMARY KEY, path TEXT, changed TEXT, hidden INT DEFAULT 0)",
        rows=[(f"p{number}", f"a/{number}.jpg", old) for number in range(COUNT)],
    )
    run(tmp_path / "images.db", f"UPDATE images SET changed = '{now(-3600)}' WHERE id = 'p0'")
    return tmp_path / "images.db"


@pytest.fixture
def open_lookup(path):
    """A function that opens a Lookup whose snapshot is refreshed often; closed afterwards."""
    options = {"snapshot": path.parent / "snapshot", "refresh": 0.1, "preload": 10}
    with lookups(f"sqlite:///{path}", **options) as opened:

        def open_lookup(on_change=None, **options):
            lookup = opened(**options)
            lookup.on_change = on_change
            lookup.warm()
            until(lambda: len(lookup))
            until(lambda: state(path).told == state(path).serial != "")
            return lookup

        yield open_lookup


class Told(list):
    """An on_change that keeps what each call was told."""

    def __call__(self, ids):
        self.append(sorted(ids))


def another(path):
    """A Lookup on the same snapshot, not warmed."""
    return Lookup.from_options(
        {
            "lookup.database": f"sqlite:///{path}",
            "lookup.snapshot": str(path.parent / "snapshot"),
            "lookup.refresh": "0.1",
        }
    )


def state(path):
    return read_state(f"{path.parent}/snapshot.state", State) or State()


@pytest.mark.slow
@pytest.mark.parametrize("updated", [{}, {"updated": "changed"}])
def test_changed_and_removed_rows_are_told_once(path, open_lookup, updated):
    told = Told()
    pictures = open_lookup(told, private="hidden", **updated)
    assert pictures["p1"] == Row("a/1.jpg")
    assert pictures.get("new") is None
    run(
        path,
        f"UPDATE images SET path = 'b/1.jpg', changed = '{now()}' WHERE id = 'p1'",
        f"UPDATE images SET hidden = 1, changed = '{now()}' WHERE id = 'p2'",
        f"UPDATE images SET path = NULL, changed = '{now()}' WHERE id = 'p3'",
        "DELETE FROM images WHERE id IN ('p4', 'p5')",
        rows=[("new", "new.jpg", now())],
    )
    until(lambda: pictures["p1"] == Row("b/1.jpg"))
    assert pictures["new"] == Row("new.jpg")
    assert pictures["p2"].private
    assert [pictures.get(id) for id in ("p3", "p4", "p5")] == [None] * 3
    assert len(pictures) == COUNT - 2
    assert pictures.page(0, 1)[1] == COUNT - 3
    until(lambda: told)
    time.sleep(0.5)
    assert told == [["new", "p1", "p2", "p3", "p4", "p5"]]


@pytest.mark.slow
def test_nothing_changed_is_no_new_snapshot(path, open_lookup):
    for options in ({}, {"updated": "changed"}):
        told = Told()
        pictures = open_lookup(told, **options)
        before = os.stat(path.parent / "snapshot").st_ino, state(path).refreshed
        until(lambda before=before: state(path).refreshed > before[1] + 0.3)
        assert os.stat(path.parent / "snapshot").st_ino == before[0]
        assert told == []
        pictures.close()
        time.sleep(0.3)


def test_rows_of_late_are_read_instead_of_all(path, open_lookup, caplog):
    caplog.set_level(logging.INFO, "handlers.lookup.refresh")
    pictures = open_lookup(updated="changed")
    run(
        path,
        f"UPDATE images SET path = 'b', changed = '{now()}' WHERE id = 'p7'",
        rows=[(f"n{number}", "n.jpg", now()) for number in range(3)],
    )
    until(lambda: pictures["p7"] == Row("b"))
    until(lambda: sum("new snapshot" in text for text in caplog.messages) == 2)
    assert [pictures[f"n{number}"] for number in range(3)] == [Row("n.jpg")] * 3
    assert len(pictures) == COUNT + 3
    second = next(text for text in caplog.messages[1:] if "new snapshot" in text)
    assert second.startswith("lookup: 5 rows from ")
    assert second.endswith("new snapshot, 1 changed or gone")
    assert not any("reading all rows" in text for text in caplog.messages)


@pytest.mark.slow
def test_deleted_row_is_noticed_by_the_count(path, open_lookup, caplog):
    caplog.set_level(logging.INFO, "handlers.lookup.refresh")
    told = Told()
    pictures = open_lookup(told, updated="changed")
    run(path, "DELETE FROM images WHERE id = 'p9'", rows=[("n", "n.jpg", now())])
    until(lambda: pictures.get("p9") is None)
    assert pictures["n"] == Row("n.jpg")
    assert f"lookup: reading all rows: {COUNT} rows instead of {COUNT + 1}" in caplog.messages
    until(lambda: told)
    assert told == [["n", "p9"]]


def test_rows_nobody_can_ask_for_do_not_force_a_full_read(path, open_lookup, caplog):
    caplog.set_level(logging.INFO, "handlers.lookup.refresh")
    run(path, rows=[("not an id", "a", now()), ("null", None, now())])
    pictures = open_lookup(updated="changed")
    run(path, rows=[("also not", "a", now()), ("null2", None, now()), ("n", "n.jpg", now())])
    until(lambda: pictures.get("n") == Row("n.jpg") and len(pictures) == COUNT + 1)
    assert not any("reading all rows" in text for text in caplog.messages)


def test_row_dated_in_the_future_does_not_hide_changes(path, open_lookup):
    run(path, "UPDATE images SET changed = '2199-01-01 00:00:00' WHERE id = 'p1'")
    pictures = open_lookup(updated="changed")
    run(path, f"UPDATE images SET path = 'b', changed = '{now()}' WHERE id = 'p2'")
    until(lambda: pictures["p2"] == Row("b"))


@pytest.mark.slow
@pytest.mark.parametrize("value", ["1700000000", "1700000000.5", "'yesterday'", "NULL"])
def test_updated_may_be_a_number_or_any_ordered_text(path, open_lookup, value):
    run(path, f"UPDATE images SET changed = {value}", "ALTER TABLE images ADD at")
    run(path, f"UPDATE images SET at = {value}")
    pictures = open_lookup(updated="at")
    later = {"'yesterday'": "'zz'", "NULL": "5"}.get(value, f"{value} + 10")
    run(path, f"UPDATE images SET path = 'b', at = {later} WHERE id = 'p2'")
    until(lambda: pictures["p2"] == Row("b"))


def test_queries_of_the_site_can_be_incremental(path, open_lookup, caplog):
    caplog.set_level(logging.INFO, "handlers.lookup.refresh")
    every = "SELECT id, 'x/' || path AS path, changed AS updated FROM images"
    pictures = open_lookup(
        query=every,
        query_one=f"{every} WHERE id = :id",
        query_updated=f"{every} WHERE changed >= :since",
    )
    run(path, f"UPDATE images SET path = 'b', changed = '{now()}' WHERE id = 'p7'")
    until(lambda: pictures["p7"] == Row("x/b"))
    assert any(text.startswith("lookup: 2 rows from ") for text in caplog.messages)


@pytest.mark.slow
def test_all_of_100000_changed_ids_are_told_in_one_call(path, open_lookup):
    count = 100_000
    run(path, rows=((f"q{number}", "q.jpg", now()) for number in range(count)))
    told = Told()
    pictures = open_lookup(told)
    run(path, "UPDATE images SET path = 'new/' || path WHERE id GLOB 'q*'")
    until(lambda: pictures["q5"] == Row("new/q.jpg"))
    until(lambda: told)
    assert len(told) == 1
    assert told[0] == sorted(f"q{number}" for number in range(count))


@pytest.mark.slow
def test_changes_are_told_again_if_the_one_who_was_told_failed(path, open_lookup, caplog):
    def fail(ids):
        raise RuntimeError("the disk is away")

    first = open_lookup(fail)
    run(path, "UPDATE images SET path = 'b' WHERE id = 'p1'")
    until(lambda: "failed" in caplog.text)
    assert first["p1"] == Row("b")
    run(path, "UPDATE images SET path = 'b' WHERE id = 'p2'")
    first.close()
    told = Told()
    second = another(path)
    second.on_change = told
    second.warm()
    try:
        until(lambda: len(told) == 2)
    finally:
        second.close()
    assert told == [["p1"], ["p2"]]


@pytest.mark.slow
def test_changes_of_a_refresher_that_was_killed_are_told_by_the_next(path, open_lookup):
    pictures = open_lookup()
    pictures.close()
    run(path, "UPDATE images SET path = 'b' WHERE id IN ('p1', 'p2')")
    child = os.fork()
    if child == 0:
        try:
            killed = another(path)
            killed.on_change = lambda ids: os.kill(os.getpid(), signal.SIGKILL)
            killed.warm()
            time.sleep(90)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    told = Told()
    second = another(path)
    second.on_change = told
    second.warm()
    try:
        until(lambda: told)
    finally:
        second.close()
    assert told == [["p1", "p2"]]


@pytest.mark.slow
def test_no_child_answers_from_the_old_snapshot_when_changes_are_told(path, open_lookup):
    late = []
    idle = open_lookup()
    assert idle["p1"] == Row("a/1.jpg")
    open_lookup(lambda ids: late.append((list(ids), idle["p1"])))
    run(path, "UPDATE images SET path = 'b' WHERE id = 'p1'")
    until(lambda: late)
    assert late[0] == (["p1"], Row("b"))
