"""Files of the cache and the rows that they were made of: marks, comparisons, invalidation."""

import contextlib
import itertools
import os
import sqlite3
import threading
import time

import pytest

from handlers import invalidation, names
from handlers.cache import marks, purges
from handlers.cache.store import Store, purge
from handlers.cache.sweep import Limits, Sweep
from handlers.lookup import Lookup, Row
from tests.forked import forked
from tests.servers.httpd import make_images_table

SIZE = "200x200"


class Rows:
    """Rows as the keeper asks for them: of a snapshot, and of a database that may be away."""

    def __init__(self, snapshot, database=None):
        self.snapshot = snapshot
        self.database = snapshot if database is None else database
        self.refreshed = 1.0
        self.questions = []

    def newest(self, ids):
        return {id: self.snapshot.get(id) for id in ids}

    def asked(self, ids):
        self.questions += sorted(ids)
        return None if self.database == "away" else {id: self.database.get(id) for id in ids}


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "cache"))


def write(store, id, row, size=SIZE, folder="thumbs"):
    own = Store(store.directory, folder)
    own.write(own.path(f"{size}/{id}.jpg"), b"x", 17 * 10**17, marks.of_row(row, size))


def sweep(store, rows):
    one = Sweep(store.directory, Limits(), rows)
    while not one.step(1):
        pass
    return one


def left(store, folder="thumbs"):
    return {
        f"{folder}/{size}/{name}"
        for size in Store(store.directory, folder).sizes()
        for name in os.listdir(Store(store.directory, folder).path(size))
    }


def test_cache_that_is_gone_is_no_fault_of_the_purges(tmp_path, caplog):
    complain = purges._complain
    assert complain(str(tmp_path), "purges", FileNotFoundError(2, "No such file or directory"))
    assert not caplog.records
    assert complain(str(tmp_path), "purges", OSError(28, "No space left on device"))
    (record,) = caplog.records
    assert "thumbnail.cache" in record.getMessage() and "No space left" in record.getMessage()


def test_mark_tells_path_and_focus_and_extension():
    rows = [Row(path, False, *focus) for path in "ab" for focus in ((None, None), (0.2, 0.3))]
    for size in (SIZE, f"{SIZE}-crop", None):
        for made_of, row in itertools.product(rows, rows):
            time_ns = marks.mtime_ns("jpg", 17 * 10**17 + 999_999_999, marks.of_row(made_of, size))
            same = made_of == row if size and size.endswith("crop") else made_of.path == row.path
            assert marks.fits(time_ns, "jpg", marks.of_row(row, size)) == same
            assert not marks.fits(time_ns, "png", marks.of_row(row, size))


def test_mark_leaves_the_second_and_tells_formats_apart_in_microseconds():
    mark = marks.of_row(Row("\udcff/a.jpg"), SIZE)
    for source in (0, -1, 17 * 10**17 + 123_456_789):
        times = [marks.mtime_ns(ext, source, mark) for ext in marks.EXTENSIONS]
        assert {time_ns // 10**9 for time_ns in times} == {source // 10**9}
        assert len({time_ns // 1000 for time_ns in times}) == 4
    for moment in range(0, 10**9, 9_999_991):
        mtime = marks.mtime_ns("avif", moment, 1_023_999)
        assert mtime // 10**9 == 0 and marks.fits(mtime, "avif", 1_023_999)


def test_sources_of_one_second_give_different_times():
    times = {marks.mtime_ns("jpg", number * 1000, 7) for number in range(244)}
    assert len(times) == 244


def test_round_removes_what_does_not_fit_its_row(store, caplog):
    caplog.set_level("INFO")
    of_a, of_b = Row("a.jpg"), Row("b.jpg")
    for id in ("same", "gone", "private", "moved"):
        write(store, id, of_a)
        store.write_copy(id, b"x", 0, marks.of_row(of_a))
    write(store, "private", of_a, folder="private")
    write(store, "same", of_a, folder="private")
    write(store, "focus", Row("a.jpg"), size="200x200-crop")
    write(store, "focus", Row("a.jpg"))
    rows = {
        "same": of_a,
        "private": Row("a.jpg", True),
        "moved": of_b,
        "focus": Row("a.jpg", False, 0.1, 0.1),
    }
    found = sweep(store, Rows(rows)).round
    assert left(store) == {"thumbs/200x200/same.jpg", "thumbs/200x200/focus.jpg"}
    assert left(store, "private") == {"private/200x200/private.jpg"}
    assert sorted(os.listdir(store.part("copies"))) == ["private.jpg", "same.jpg"]
    assert found.removed == 7 and found.files == 5
    assert "7 thumbnails removed, as their rows are gone, private or of" in caplog.text


def test_snapshot_that_is_older_than_the_file_removes_nothing(store):
    row = Row("a.jpg")
    for id in ("new", "moved", "known"):
        write(store, id, row)
    rows = Rows({"moved": Row("old.jpg"), "known": row}, dict.fromkeys(("new", "moved"), row))
    assert sweep(store, rows).round.removed == 0
    assert len(left(store)) == 3
    assert rows.questions == ["moved", "new"]


def test_outage_removes_nothing_and_the_comparison_is_made_up_for(store, monkeypatch):
    monkeypatch.setattr("handlers.cache.sweep._COMPARED_AGAIN", 0.05)
    write(store, "gone", Row("a.jpg"))
    rows = Rows({}, "away")
    one = sweep(store, rows)
    assert left(store) and not one.round.compared
    time.sleep(0.1)
    assert one.is_due(3600)
    rows.database = {}
    assert sweep(store, rows).round.compared
    assert not left(store)


def test_files_of_others_are_left_alone(store):
    write(store, "gone", Row("a.jpg"))
    for name in ("README", "x.txt", ".jpg", "a.jpg.bak"):
        open(store.path(f"{SIZE}/{name}"), "w").close()
    sweep(store, Rows({}))
    assert len(left(store)) == 4


def test_files_are_compared_and_purged_by_the_ids_that_their_names_stand_for(store):
    row = Row("a.jpg")
    for id in ("a b", "ä.b"):
        write(store, names.of(id), row)
    assert sweep(store, Rows({"a b": row, "ä.b": row})).round.removed == 0
    assert sweep(store, Rows({"a b": row})).round.removed == 1
    assert left(store) == {"thumbs/200x200/a%20b.jpg"}
    assert purge(store.directory, ["a b"]) == 1


def test_refresh_of_the_snapshot_makes_a_round_due(store):
    rows = Rows({})
    one = sweep(store, rows)
    assert not one.is_due(3600)
    rows.refreshed = time.time() + 1
    one.round.finished = one.round.started
    assert one.is_due(3600)
    # but a large cache has its rest
    one.round.started -= 100
    assert not one.is_due(3600)


@pytest.fixture
def pictures(tmp_path):
    url = make_images_table(tmp_path / "images.db", {f"p{n}": "a.jpg" for n in range(500)})
    lookup = Lookup.from_options(
        {
            "lookup.database": url,
            "lookup.private": "private",
            "lookup.queries": "1000",
            "thumbnail.cache": str(tmp_path / "c"),
        }
    )
    yield lookup
    lookup.close()


def change(tmp_path, statement):
    with contextlib.closing(sqlite3.connect(tmp_path / "images.db")) as connection, connection:
        connection.execute(statement)


@pytest.mark.slow
def test_invalidated_rows_are_asked_for_again_in_every_process(pictures, tmp_path):
    pictures.warm()
    change(tmp_path, "UPDATE images SET path = 'b.jpg'")
    assert pictures["p1"].path == pictures["p2"].path == "a.jpg"

    def child():
        before = pictures["p1"].path
        os.write(ready, b"x")
        deadline = time.monotonic() + 30
        while pictures["p1"].path == before and time.monotonic() < deadline:
            time.sleep(0.02)
        return before + pictures["p1"].path + pictures["p2"].path

    read, ready = os.pipe()
    answers = []
    thread = threading.Thread(target=lambda: answers.extend(forked([child] * 3)))
    thread.start()
    for _ in range(3):
        os.read(read, 1)
    purge(str(tmp_path / "c"), ["p1"])
    thread.join()
    assert answers == ["a.jpgb.jpga.jpg"] * 3
    assert pictures.reread("p1").path == "b.jpg"


def test_invalidation_right_after_another_one_is_seen(tmp_path):
    """Within one tick of the file system's clock."""
    seen = invalidation.Invalidations(invalidation.path_in(str(tmp_path)))
    assert seen.look() == set()
    for id in ("a", "b", "c"):
        invalidation.invalidate(str(tmp_path), [id])
        assert seen.look() == {invalidation.slot(id)}
        assert seen.look() == set() and seen.moment(id) > 0
    assert seen.moment("d") == 0


def test_invalidation_from_the_future_holds_from_now_only(tmp_path, monkeypatch):
    """The clock was set back since; what is learnt from now on is believed."""
    future = time.time_ns() + 10**15
    with monkeypatch.context() as patched:
        patched.setattr(time, "time_ns", lambda: future)
        invalidation.invalidate(str(tmp_path), ["a"])
    seen = invalidation.Invalidations(invalidation.path_in(str(tmp_path)))
    assert seen.look() == {invalidation.slot("a")}
    assert 0 < seen.moment("a") <= time.time_ns()


@pytest.mark.parametrize("content", [b"", b"\0" * 3, os.urandom(1001), b"\xff" * (1 << 20)])
def test_damaged_file_of_invalidations_only_costs_questions(pictures, tmp_path, content):
    path = invalidation.path_in(str(tmp_path / "c"))
    os.makedirs(os.path.dirname(path))
    with open(path, "wb") as file:
        file.write(content)
    pictures.warm()
    for number in range(500):
        assert pictures.get(f"p{number}") == Row("a.jpg")


def test_private_and_unknown_ids_take_one_way(pictures, tmp_path):
    change(tmp_path, "UPDATE images SET private = 1 WHERE id = 'p1'")
    pictures.warm()
    for id in ("p1", "nobody"):
        before = pictures.stats()
        for _ in range(3):
            assert pictures.public(id) is None
        after = pictures.stats()
        assert sum(after[n] - before[n] for n in ("found", "not_found")) == 1
    # who may see it does
    assert pictures["p1"].private and pictures["p1"].path == "a.jpg"
    change(tmp_path, "UPDATE images SET private = 0 WHERE id = 'p1'")
    assert pictures.public("p1") is None
    assert pictures.reread("p1") == Row("a.jpg") == pictures.public("p1")
