"""The lookup on SQLite: what it remembers, reads exactly, and survives."""

import contextlib
import logging
import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Mapping

import pytest

from handlers.lookup import Row, Unavailable, database
from tests.support import open_lookup, until

ROWS = [(f"p{number}", f"a/{number}.jpg") for number in range(100)]


def run(path, *statements, rows=()):
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
        if rows:
            marks = ", ".join("?" * len(rows[0]))
            connection.executemany(f"INSERT INTO images VALUES ({marks})", rows)


@pytest.fixture
def path(tmp_path):
    run(tmp_path / "images.db", "CREATE TABLE images (id TEXT PRIMARY KEY, path TEXT)", rows=ROWS)
    return tmp_path / "images.db"


@pytest.fixture
def pictures(path):
    found = open_lookup(f"sqlite:///{path}")
    yield found
    found.close()


def test_warm_reads_all_rows_and_says_so_once(pictures, path, caplog):
    caplog.set_level(logging.INFO, "handlers.lookup")
    assert pictures.warm() == 100
    assert len(pictures) == 100
    assert pictures["p7"] == Row("a/7.jpg", False, None, None)
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert record.getMessage().startswith(f"lookup: 100 rows from sqlite:///{path} in ")


def test_it_is_a_read_only_mapping(pictures):
    pictures.warm()
    assert isinstance(pictures, Mapping)
    assert not hasattr(pictures, "__setitem__")
    assert dict(pictures) == {id: Row(path) for id, path in ROWS}
    assert "p7" in pictures
    assert "p100" not in pictures
    assert pictures.get("p100") is None
    assert pictures.get("p100", "none") == "none"
    with pytest.raises(KeyError):
        pictures["p100"]


def test_row_that_memory_does_not_know_is_asked_for_and_kept(pictures, path):
    assert len(pictures) == 0
    assert pictures["p3"] == Row("a/3.jpg")
    run(path, "DELETE FROM images")
    assert pictures["p3"] == Row("a/3.jpg")
    assert list(pictures) == ["p3"]
    assert pictures.stats()["found"] == 1


def test_missing_id_is_remembered_until_its_time_is_over(path):
    with contextlib.closing(open_lookup(f"sqlite:///{path}", missing_ttl=0.2)) as pictures:
        asked = time.monotonic()
        assert pictures.get("new") is None
        run(path, rows=[("new", "new.jpg")])
        while pictures.get("new") is None:
            assert time.monotonic() < asked + 60
            assert pictures.stats()["not_found"] == 1
            time.sleep(0.01)
        assert time.monotonic() > asked + 0.1


def test_memory_of_missing_ids_is_bounded_and_the_oldest_goes(path):
    with contextlib.closing(open_lookup(f"sqlite:///{path}", missing_limit=10)) as pictures:
        for number in range(50):
            pictures.get(f"none{number}")
        assert pictures.stats()["missing"] == 10
        pictures.get("none49")
        assert pictures.stats()["not_found"] == 50
        pictures.get("none0")
        assert pictures.stats()["not_found"] == 51


def test_warm_again_forgets_what_went_and_finds_what_came(pictures, path):
    pictures.warm()
    pictures.get("new")
    run(path, "DELETE FROM images WHERE id = 'p1'", rows=[("new", "new.jpg")])
    assert pictures.warm() == 100
    assert pictures.get("p1") is None
    assert pictures["new"] == Row("new.jpg")


@pytest.mark.parametrize("id", ["", "a b", "a/b", "ä", "a\n", "x" * 129, "a\0", 7, None, ("p1",)])
def test_what_is_no_id_is_not_there_and_costs_no_query(tmp_path, id):
    pictures = open_lookup(f"sqlite:///{tmp_path}/there is none")
    assert pictures.get(id) is None
    assert id not in pictures
    assert pictures.stats()["unavailable"] == 0


def test_integer_ids_are_matched_as_text(tmp_path):
    path = tmp_path / "i.db"
    run(path, "CREATE TABLE images (id INTEGER PRIMARY KEY, path TEXT)", rows=[(12, "12.jpg")])
    with contextlib.closing(open_lookup(f"sqlite:///{path}")) as pictures:
        for wrong in ("012", "12abc", "0xC", "-12", "1_2", "12_"):
            assert wrong not in pictures
        assert pictures["12"] == Row("12.jpg")
        pictures.warm()
        assert list(pictures) == ["12"]


def test_letter_case_matters_whatever_the_collation(tmp_path):
    path = tmp_path / "c.db"
    run(
        path,
        "CREATE TABLE images (id TEXT COLLATE NOCASE, path TEXT)",
        rows=[("ABC", "upper.jpg"), ("abc", "lower.jpg")],
    )
    with contextlib.closing(open_lookup(f"sqlite:///{path}")) as pictures:
        assert pictures["abc"] == Row("lower.jpg")
        assert pictures["ABC"] == Row("upper.jpg")
        assert "Abc" not in pictures


def test_optional_columns_are_read(tmp_path):
    path = tmp_path / "o.db"
    run(
        path,
        "CREATE TABLE images (id, path, hidden, x, y)",
        rows=[("a", "a.jpg", 1, 0.25, 1), ("b", "b.jpg", None, None, "left"), ("c", None, 0, 0, 0)],
    )
    columns = {"private": "hidden", "focus_x": "x", "focus_y": "y"}
    with contextlib.closing(open_lookup(f"sqlite:///{path}", **columns)) as pictures:
        assert pictures["a"] == Row("a.jpg", True, 0.25, 1.0)
        assert pictures["b"] == Row("b.jpg", False, None, None)
        assert "c" not in pictures
        assert pictures.warm() == 2


def test_path_that_is_no_utf8_reaches_its_file(tmp_path):
    path = tmp_path / "u.db"
    run(
        path,
        "CREATE TABLE images (id, path)",
        "INSERT INTO images VALUES ('a', CAST(x'ff2e' AS TEXT))",
    )
    with contextlib.closing(open_lookup(f"sqlite:///{path}")) as pictures:
        assert os.fsencode(pictures["a"].path) == b"\xff."


def test_queries_of_the_site_replace_table_and_columns(path):
    run(
        path,
        "CREATE TABLE meta (picture TEXT, hidden INTEGER)",
        "INSERT INTO meta VALUES ('p1', 1)",
    )
    every = (
        "SELECT id, 'root/' || path AS path, hidden AS private"
        " FROM images LEFT JOIN meta ON picture = id WHERE path LIKE 'a/%'"
    )
    options = {"query": every, "query_one": f"{every} AND id = :id"}
    with contextlib.closing(open_lookup(f"sqlite:///{path}", **options)) as pictures:
        assert pictures["p1"] == Row("root/a/1.jpg", True)
        assert pictures.warm() == 100
        assert pictures["p2"] == Row("root/a/2.jpg", False)


def test_page_gives_public_ids_in_order_and_warms_if_need_be(path):
    run(path, "ALTER TABLE images ADD hidden", "UPDATE images SET hidden = 1 WHERE id = 'p1'")
    with contextlib.closing(open_lookup(f"sqlite:///{path}", private="hidden")) as pictures:
        assert pictures.page(0, 3) == (["p0", "p2", "p3"], 99)
        assert pictures.page(98, 3) == (["p99"], 99)
        assert pictures.page(99, 3) == ([], 99)


def test_child_whose_first_request_was_a_page_does_not_read_the_table_again(pictures, caplog):
    caplog.set_level(logging.INFO, "handlers.lookup")
    assert pictures.page(0, 1) == (["p0"], 100)
    assert pictures.warm(again=False) == 100
    assert len(caplog.records) == 1
    assert pictures.warm() == 100
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    ("statement", "options", "says"),
    [
        ("SELECT 1", {"table": "pictures"}, "no such table: pictures"),
        ("SELECT 1", {"path": "file"}, "no such column: file"),
        (
            "SELECT 1",
            {"query": "SELECT 1 AS id", "query_one": "SELECT :id AS id"},
            "column named path",
        ),
        ("DROP TABLE images", {}, "no such table: images"),
    ],
)
def test_misconfiguration_is_one_error_line_and_no_crash(path, statement, options, says, caplog):
    run(path, statement)
    pictures = open_lookup(f"sqlite:///{path}", **options)
    assert pictures.warm() == 0
    for _ in range(20):
        with pytest.raises(Unavailable) as caught:
            pictures.get("p1")
        assert caught.value.retry_after > 0
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert says in record.getMessage()
    with pytest.raises(Unavailable):
        pictures.page(0, 60)


def test_file_that_is_not_there_is_not_made(tmp_path, caplog):
    pictures = open_lookup(f"sqlite:///{tmp_path}/none.db")
    assert pictures.warm() == 0
    assert os.listdir(tmp_path) == []
    (record,) = caplog.records
    assert "none.db: no such file: correct lookup.database; until then" in record.getMessage()


def test_file_that_is_no_database_is_one_error_line(tmp_path, caplog):
    (tmp_path / "x.db").write_bytes(b"no database " * 500)
    assert open_lookup(f"sqlite:///{tmp_path}/x.db").warm() == 0
    (record,) = caplog.records
    assert "x.db: not an SQLite database: correct lookup.database" in record.getMessage()


@pytest.mark.slow
def test_writer_that_holds_the_file_costs_the_timeout_and_then_nothing(path, caplog):
    pictures = open_lookup(f"sqlite:///{path}", timeout=0.5, longest_pause=1)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        start = time.monotonic()
        for _ in range(100):
            with pytest.raises(Unavailable):
                pictures.get("p1")
        # not half a second each
        assert 0.3 < time.monotonic() - start < 40
        writer.execute("ROLLBACK")
    until(lambda: pictures["p1"] == Row("a/1.jpg"), despite=Unavailable)
    away, back = caplog.records
    assert "is away (database is locked)" in away.getMessage()
    assert "is back after" in back.getMessage()
    pictures.close()


def test_file_that_was_replaced_is_opened_anew(pictures, path, tmp_path):
    assert "p1" in pictures
    run(tmp_path / "next.db", "CREATE TABLE images (id, path)", rows=[("other", "other.jpg")])
    os.replace(tmp_path / "next.db", path)
    assert pictures["other"] == Row("other.jpg")


def test_forked_child_keeps_the_rows_and_opens_its_own_connection(path):
    pictures = open_lookup(f"sqlite:///{path}")
    pictures.get("p1")
    here = pictures._database._session.connection
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        # no exception may leave the child
        try:
            known = list(pictures) == ["p1"]
            found = pictures["p2"] == Row("a/2.jpg")
            own = pictures._database._session.connection is not here
            os.write(write, b"good" if known and found and own else b"bad")
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as answer:
        assert answer.read() == b"good"
    os.waitpid(child, 0)
    assert pictures["p3"] == Row("a/3.jpg")
    assert pictures._database._session.connection is here
    pictures.close()


def test_threads_get_right_answers_and_ask_once_for_each_id(pictures):
    truth = {**{id: Row(path) for id, path in ROWS}, **{f"none{n}": None for n in range(50)}}
    wrong = []

    def ask(seed):
        order = list(truth) * 3
        random.Random(seed).shuffle(order)
        try:
            wrong.extend(id for id in order if pictures.get(id) != truth[id])
        except Unavailable as error:
            wrong.append(error)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert (pictures.stats()["found"], pictures.stats()["not_found"]) == (100, 50)


@pytest.mark.slow
def test_threads_that_ask_first_at_once_take_turns(pictures, monkeypatch):
    begin, ask, meet = threading.Barrier(2), database.Database._ask, threading.Barrier(2)
    together, found = [], {}

    class Session(database._Session):
        def __init__(self):
            with contextlib.suppress(threading.BrokenBarrierError):
                begin.wait(0.3)
            super().__init__()

    def asked(self, session, id):
        with contextlib.suppress(threading.BrokenBarrierError):
            together.append((meet.wait(0.3), session))
        return ask(self, session, id)

    def get(id):
        found[id] = pictures.get(id)

    monkeypatch.setattr(database, "_Session", Session)
    monkeypatch.setattr(database.Database, "_ask", asked)
    threads = [threading.Thread(target=get, args=(id,)) for id in ("p1", "p2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {"p1": Row("a/1.jpg"), "p2": Row("a/2.jpg")}
    assert not together


def test_idle_connection_is_closed_and_made_anew(path):
    with contextlib.closing(open_lookup(f"sqlite:///{path}", idle=0.1)) as pictures:
        pictures.get("p1")
        until(lambda: pictures._database._session.connection is None)
        assert pictures["p2"] == Row("a/2.jpg")


def test_connection_goes_with_its_lookup(path):
    def open_files():
        return sum(
            os.path.realpath(f"/proc/self/fd/{fd}") == str(path)
            for fd in os.listdir("/proc/self/fd")
        )

    pictures = open_lookup(f"sqlite:///{path}")
    pictures.get("p1")
    assert open_files() == 1
    del pictures
    assert open_files() == 0


def test_ids_in_a_column_without_a_type_are_found_as_they_are_stored(tmp_path):
    path = tmp_path / "n.db"
    run(path, "CREATE TABLE images (id, path)", rows=[(12, "n"), ("13", "t"), (b"14", "b")])
    run(path, rows=[(-(1 << 63), "least"), ((1 << 63) - 1, "most")])
    with contextlib.closing(open_lookup(f"sqlite:///{path}")) as pictures:
        ids = ["12", "13", "14", str(-(1 << 63)), str((1 << 63) - 1)]
        found = [pictures[id].path for id in ids]
        assert found == ["n", "t", "b", "least", "most"]
        for wrong in ("012", "9" * 19, "9" * 40, "-0", "12_"):
            assert wrong not in pictures
        pictures.warm()
        assert [pictures[id].path for id in ids] == found


def test_rows_of_one_id_are_told_and_the_last_counts(tmp_path, caplog):
    path = tmp_path / "d.db"
    rows = [("7", "en.jpg"), ("7", "fr.jpg"), ("8", "8.jpg"), (None, "a"), (None, "b"), ("9", None)]
    run(path, "CREATE TABLE images (id, path)", rows=rows)
    url = f"sqlite:///{path}"
    repeated = "lookup: 1 of 6 rows repeat the id of another one, and the last row of an id counts"
    for options in ({}, {"snapshot": tmp_path / "snapshot"}):
        caplog.clear()
        with contextlib.closing(open_lookup(url, **options)) as pictures:
            assert pictures["7"] == Row("fr.jpg")
            pictures.load(10)
            assert pictures["7"] == Row("fr.jpg")
            assert sorted(pictures) == ["7", "8"]
        assert sum(text.startswith(repeated) for text in caplog.messages) == 1


@pytest.mark.slow
def test_writer_that_was_killed_is_named(path, pictures, caplog):
    child = os.fork()
    if child == 0:
        try:
            connection = sqlite3.connect(path, isolation_level=None)
            connection.execute("PRAGMA cache_size=1")
            connection.execute("BEGIN IMMEDIATE")
            rows = ((f"q{number}", "x" * 999) for number in range(999))
            connection.executemany("INSERT INTO images VALUES (?, ?)", rows)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    with pytest.raises(Unavailable):
        pictures.get("p1")
    (record,) = caplog.records
    assert "a program was killed while it wrote: let one that may write" in record.getMessage()
    run(path, "SELECT 1 FROM images")
    until(lambda: pictures["p1"] == Row("a/1.jpg"), despite=Unavailable)
