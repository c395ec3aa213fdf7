"""The snapshot on SQLite: shared by children, whole or not there, bounded in memory."""

import concurrent.futures
import contextlib
import json
import logging
import os
import pathlib
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import types

import pytest

from handlers import locks, restart
from handlers.elected import read_state
from handlers.lookup import Row, Unavailable, questions
from handlers.lookup.refresh import Refresher
from handlers.lookup.state import State
from tests.forked import forked
from tests.support import lookups, until

COUNT = 3000
ROWS = {f"p{number}": f"a/{number}.jpg" for number in range(COUNT)}


def run(path, *statements, rows=()):
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
        connection.executemany("INSERT INTO images (id, path) VALUES (?, ?)", rows)


@pytest.fixture
def path(tmp_path):
    run(
        tmp_path / "images.db",
        "CREATE TABLE images (id TEXT PRIMARY KEY, path TEXT, hidden INT, x REAL)",
        rows=ROWS.items(),
    )
    return tmp_path / "images.db"


@pytest.fixture
def open_lookup(path):
    """A function that opens a Lookup with a snapshot; it is closed afterwards."""
    options = {"snapshot": path.parent / "snapshot", "connect_timeout": 30, "preload": 100}
    with lookups(f"sqlite:///{path}", **options) as open_lookup:
        yield open_lookup


@pytest.fixture
def written(path, open_lookup):
    """The snapshot's path, after it was written."""
    pictures = open_lookup()
    pictures.warm()
    until(lambda: len(pictures) == COUNT)
    until(lambda: read_state(f"{path.parent}/snapshot.state", State))
    return path.parent / "snapshot"


def test_rows_come_from_the_snapshot_when_the_database_is_gone(written, path, open_lookup):
    path.unlink()
    pictures = open_lookup()
    assert pictures.warm() == len(pictures) == COUNT
    assert dict(pictures) == {id: Row(path) for id, path in ROWS.items()}
    assert "p1" in pictures
    with pytest.raises(Unavailable):
        pictures.get("new")


def test_first_child_does_not_wait_for_the_snapshot(path, open_lookup):
    with locks.held(f"{path.parent}/snapshot.state"):
        pictures = open_lookup()
        assert pictures.warm() == 0
        assert pictures["p7"] == Row("a/7.jpg")
        assert pictures.get("none") is None
        assert not (path.parent / "snapshot").exists()


def test_page_waits_for_the_first_snapshot_and_goes_by_id(path, open_lookup):
    run(path, "UPDATE images SET hidden = 1 WHERE id = 'p10'")
    pictures = open_lookup(private="hidden")
    public = sorted(set(ROWS) - {"p10"})
    assert pictures.page(0, 3) == (public[:3], COUNT - 1)
    for start in (1, 998, 1000, 1999, 2990, COUNT - 2, COUNT - 1, COUNT + 5000):
        assert pictures.page(start, 60) == (public[start : start + 60], COUNT - 1)


def test_page_without_any_snapshot_is_unavailable(path, open_lookup):
    with locks.held(f"{path.parent}/snapshot.state"):
        pictures = open_lookup(connect_timeout=0.1, timeout=0.1)
        with pytest.raises(Unavailable) as caught:
            pictures.page(0, 60)
        assert caught.value.retry_after >= 1


def test_every_field_and_odd_path_survives(path, open_lookup):
    run(
        path,
        "DELETE FROM images",
        "INSERT INTO images VALUES ('a', 'ä\n.jpg', 1, 0.25)",
        "INSERT INTO images VALUES ('b', CAST(x'ff2e' AS TEXT), 0, NULL)",
        "INSERT INTO images VALUES ('c', NULL, 0, NULL), (NULL, 'd', 0, 1)",
        "INSERT INTO images VALUES ('not an id', 'e', 0, 1)",
        "INSERT INTO images VALUES ('f', 'nul' || char(0) || '.jpg', NULL, 1)",
    )
    pictures = open_lookup(private="hidden", focus_x="x")
    pictures.page(0, 1)
    assert dict(pictures) == {
        "a": Row("ä\n.jpg", True, 0.25),
        "b": Row("\udcff.", False, None),
        "f": Row("nul\0.jpg", False, 1.0),
    }
    assert len(pictures) == 3
    assert "c" not in pictures
    assert "None" not in pictures
    assert pictures.page(0, 9) == (["b", "f"], 2)


def test_last_of_several_rows_of_one_id_counts(path, open_lookup):
    every = "SELECT 'p' || (id = 'p5') AS id, path FROM images ORDER BY path"
    pictures = open_lookup(query=every, query_one="SELECT 1 AS id, :id AS path")
    pictures.page(0, 1)
    assert dict(pictures) == {"p0": Row("a/999.jpg"), "p1": Row("a/5.jpg")}


def test_small_table_is_taken_into_the_dict_and_a_large_one_is_not(written, open_lookup):
    small, large = open_lookup(preload=COUNT), open_lookup(preload=COUNT - 1)
    assert small.warm() == large.warm() == COUNT
    assert small.stats()["rows"] == COUNT
    assert large.stats()["rows"] == 0


def test_hot_rows_are_bounded(written, open_lookup):
    pictures = open_lookup(hot=100)
    for id in ROWS:
        assert pictures[id] == Row(ROWS[id])
        assert pictures["p0"] == Row("a/0.jpg")
        assert pictures.stats()["rows"] <= 101


@pytest.mark.slow
def test_restart_reads_the_table_once_for_24_children(written, path, open_lookup, caplog):
    caplog.set_level(logging.INFO, "handlers.lookup")
    state = json.loads((path.parent / "snapshot.state").read_text())
    server, generation = restart.server_start()
    assert state["starts"] == {server: generation}

    def ask():
        caplog.clear()
        pictures = open_lookup()
        assert pictures.warm() == COUNT
        assert pictures["p1"] == Row("a/1.jpg")
        until(
            lambda: read_state(f"{path.parent}/snapshot.state", State).knows(restart.server_start())
        )
        # by now this child's thread, too, knows that nothing is left to do
        time.sleep(1)
        return sum("rows from sqlite" in message for message in caplog.messages)

    def server():
        return [sum(map(int, forked([ask] * count))) for count in (24, 4)]

    # A process that was no child's parent before is a server that was just started; the children
    # that it starts later need nothing.
    assert forked([server]) == ["[1, 0]"]


def test_child_is_ready_without_a_database(written, path, open_lookup):
    pictures = open_lookup()
    path.rename(path.parent / "away")

    def ready():
        pictures.warm()
        return pictures["p1"].path, len(pictures)

    assert forked([ready] * 3) == [str(("a/1.jpg", COUNT))] * 3


def test_forked_child_opens_the_snapshot_anew(written, open_lookup):
    pictures = open_lookup()
    pictures.warm()
    assert pictures["p1"] == Row("a/1.jpg")
    asked = forked([lambda: (pictures["p1"].path, pictures["p2"].path, len(pictures))] * 3)
    assert asked == [str(("a/1.jpg", "a/2.jpg", COUNT))] * 3
    assert pictures["p3"] == Row("a/3.jpg")


def test_question_waits_for_a_thread_that_opens_the_snapshot(
    written, path, open_lookup, monkeypatch
):
    path.unlink()
    pictures = open_lookup()
    begun, go_on = threading.Event(), threading.Event()
    opened = Refresher.open

    def open_late(self):
        begun.set()
        assert go_on.wait(60)
        return opened(self)

    monkeypatch.setattr(Refresher, "open", open_late)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        warmed = pool.submit(pictures.warm)
        assert begun.wait(60)
        asked = pool.submit(pictures.get, "p2500")
        with pytest.raises(concurrent.futures.TimeoutError):
            asked.result(0.2)
        go_on.set()
        assert asked.result(60) == Row("a/2500.jpg")
        assert warmed.result(60) == COUNT


@pytest.mark.slow
def test_threads_share_one_lookup(written, path, open_lookup):
    pictures = open_lookup(hot=50, refresh=0.05)
    pictures.warm()
    wrong = []

    def ask(seed):
        chosen = random.Random(seed)
        for _ in range(3000):
            id = chosen.choice(list(ROWS)[:200])
            if pictures.get(id) is None:
                wrong.append(id)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for number in range(5):
        run(path, rows=[(f"new{number}", "n.jpg")])
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(b"no snapshot " * 5000),
        lambda file: file.write_bytes(file.read_bytes()[:-8192]),
        lambda file: run(file, "CREATE TABLE images (id, path)", "DROP TABLE meta"),
    ],
)
def test_half_written_snapshot_is_written_anew(written, open_lookup, caplog, spoil):
    (written.parent / "spoilt").write_bytes(written.read_bytes())
    spoil(written.parent / "spoilt")
    os.replace(written.parent / "spoilt", written)
    pictures = open_lookup()
    assert pictures.warm() == 0
    assert pictures["p1"] == Row("a/1.jpg")
    until(lambda: pictures.page(0, 1)[1] == COUNT)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"lookup: snapshot {written} is written anew: it " in record.getMessage()


def test_damage_in_the_middle_is_met_and_repaired(written, open_lookup, caplog):
    content = bytearray(written.read_bytes())
    content[8192:-4096] = b"\xff" * (len(content) - 12288)
    (written.parent / "spoilt").write_bytes(content)
    os.replace(written.parent / "spoilt", written)
    pictures = open_lookup(refresh=0.2)
    pictures.warm()
    for id in ROWS:
        assert pictures.get(id) == Row(ROWS[id])
    until(lambda: any("written anew" in message for message in caplog.messages))
    until(lambda: pictures.stats()["snapshot"])
    assert pictures["p1"] == Row("a/1.jpg")


def test_snapshot_of_another_configuration_is_written_anew(written, path, open_lookup, caplog):
    run(path, "CREATE TABLE other AS SELECT id, 'o/' || path AS path FROM images")
    pictures = open_lookup(table="other")
    assert pictures.warm() == 0
    until(lambda: len(pictures) == COUNT)
    assert pictures["p1"] == Row("o/a/1.jpg")
    assert [r.getMessage() for r in caplog.records] == [
        f"lookup: snapshot {written} is written anew: it is of another configuration"
    ]


def test_two_configurations_do_not_fight_for_one_snapshot(path, open_lookup, caplog):
    run(path, "CREATE TABLE other AS SELECT id, 'o/' || path AS path FROM images")
    second = open_lookup(table="other", refresh=0.1)
    with locks.held(f"{path.parent}/snapshot.state"):
        second.warm()
        first = open_lookup(refresh=0.1)
    time.sleep(0.01)
    first.warm()
    second_or_first = (first, second)
    until(lambda: any(map(len, second_or_first)))
    until(lambda: any("another configuration uses it" in text for text in caplog.messages))
    assert first["p1"] == Row("a/1.jpg")
    assert second["p1"] == Row("o/a/1.jpg")
    assert sum("another configuration uses it" in text for text in caplog.messages) == 1


def test_password_is_no_part_of_the_fingerprint(tmp_path):
    from handlers.lookup import options, snapshot

    given = [
        options.from_mapping({"lookup.database": f"mysql://{account}@h/n"})
        for account in ("u:a", "u:b", "v:a")
    ]
    first, second, third = map(snapshot.fingerprint, given)
    assert first == second != third


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_writer_killed_at_any_moment_leaves_no_torn_snapshot(path, open_lookup, seed):
    chosen = random.Random(seed)
    snapshot = path.parent / "snapshot"
    for attempt in range(4):
        run(path, f"UPDATE images SET path = path || '{attempt}'")
        child = os.fork()
        if child == 0:
            try:
                open_lookup(refresh=0.01).warm()
                time.sleep(60)
            finally:
                os._exit(0)
        time.sleep(chosen.uniform(0, 0.06))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if snapshot.exists():
            with contextlib.closing(sqlite3.connect(snapshot)) as connection:
                (answer,) = connection.execute("PRAGMA integrity_check").fetchone()
                assert answer == "ok"
                assert connection.execute("SELECT count(*) FROM rows").fetchone() == (COUNT,)
    pictures = open_lookup(refresh=0.01)
    pictures.warm()
    truth = {id: Row(path + "0123") for id, path in ROWS.items()}
    until(lambda: len(pictures) and pictures["p1"] == truth["p1"])
    assert dict(pictures) == truth
    until(lambda: sorted(os.listdir(path.parent))[1:] == ["snapshot", "snapshot.state"])


def test_directory_that_cannot_be_written_is_one_error_line(path, open_lookup, caplog):
    pictures = open_lookup(snapshot=path.parent / "none" / "snapshot", refresh=0.05)
    assert pictures.warm() == 0
    assert pictures["p1"] == Row("a/1.jpg")
    until(lambda: caplog.records)
    time.sleep(0.3)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert f"lookup.snapshot {path.parent}/none: no such directory: mkdir" in record.getMessage()


def test_full_disk_leaves_the_old_snapshot(written, path, open_lookup, caplog):
    before = written.read_bytes()
    run(path, "UPDATE images SET path = 'new'")

    def refresh():
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        pictures = open_lookup(refresh=0.01)
        pictures.warm()
        until(lambda: any("cannot be written" in text for text in caplog.messages))
        return pictures["p1"].path

    assert forked([refresh]) == ["a/1.jpg"]
    assert written.read_bytes() == before
    assert not pathlib.Path(f"{written}.new").exists()


def test_scan_for_random_ids_is_bounded_in_queries_and_memory(written, path, open_lookup, caplog):
    caplog.set_level("INFO")
    pictures = open_lookup(queries=20, missing_limit=100)
    pictures.warm()
    start = time.monotonic()
    refused = 0
    for number in range(20_000):
        try:
            assert pictures.get(f"scan{number}") is None
        except Unavailable as error:
            assert error.retry_after >= 1
            refused += 1
    seconds = time.monotonic() - start
    stats = pictures.stats()
    assert stats["not_found"] <= 20 * (seconds + 1) + 1
    assert stats["not_found"] + stats["not_asked"] == 20_000
    assert refused == stats["not_asked"]
    told = [text for text in caplog.messages if "lookup.queries" in text]
    assert set(told) == {
        "lookup: more than 20 unknown ids in a second: the others are answered 503 (lookup.queries)"
    }
    assert len(told) <= 1 + seconds / questions._QUIET
    assert stats["missing"] <= 100
    assert pictures["p1"] == Row("a/1.jpg")


def test_new_id_is_found_when_nobody_scans(written, path, open_lookup):
    pictures = open_lookup(queries=1)
    pictures.warm()
    run(path, rows=[("new", "new.jpg")])
    assert pictures["new"] == Row("new.jpg")
    assert len(pictures) == COUNT


def test_id_that_was_not_asked_is_never_taken_for_missing(written, path, open_lookup, monkeypatch):
    pictures = open_lookup(queries=1)
    pictures.warm()
    # all that follows comes within a second
    now = time.monotonic()
    clock = types.SimpleNamespace(monotonic=lambda: now, time_ns=time.time_ns)
    monkeypatch.setattr(questions, "time", clock)
    assert pictures.get("scan") is None
    run(path, rows=[("new", "new.jpg")])
    for look in (lambda: pictures["new"], lambda: pictures.get("new"), lambda: "new" in pictures):
        with pytest.raises(Unavailable):
            look()
    assert pictures.get("scan") is None
    assert pictures["p1"] == Row("a/1.jpg")


def test_ids_are_not_limited_before_there_is_a_snapshot(path, open_lookup):
    with locks.held(f"{path.parent}/snapshot.state"):
        pictures = open_lookup(queries=1)
        pictures.warm()
        assert all(pictures[f"p{number}"] for number in range(50))


CHILD = """
import pathlib, sys
from handlers.lookup import Lookup

def private():
    text = pathlib.Path("/proc/self/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_"))

database, snapshot, count = sys.argv[1:]
options = {"lookup.database": database, "lookup.snapshot": snapshot, "lookup.hot": "2000"}
pictures = Lookup.from_options(options)
before = private()
pictures.warm()
for number in range(0, int(count), 7):
    assert pictures[f"q{number}"].path == f"a/long/path/to/a/picture/{number}.jpg"
print("asked", flush=True)
sys.stdin.readline()
print(private() - before, flush=True)
sys.stdin.readline()
"""


@pytest.mark.slow
def test_children_share_the_memory_of_a_snapshot(path, open_lookup):
    count = 200_000
    rows = ((f"q{number}", f"a/long/path/to/a/picture/{number}.jpg") for number in range(count))
    run(path, rows=rows)
    open_lookup().page(0, 1)
    snapshot = path.parent / "snapshot"
    command = [sys.executable, "-c", CHILD, f"sqlite:///{path}", str(snapshot), str(count)]
    with contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for _ in range(4)
        ]
        assert [child.stdout.readline() for child in children] == ["asked\n"] * 4
        # measured while all of them have it open, as children have
        for child in children:
            print(file=child.stdin, flush=True)
        added = sorted(int(child.stdout.readline()) for child in children)
        for child in children:
            child.stdin.close()
    assert snapshot.stat().st_size > 11_000_000
    # one of them read the table, as they have another parent than this process
    assert added[-2] < 4000
    assert added[-1] < 12_000
