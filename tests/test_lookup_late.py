"""Rows that may have changed late: read again each time if few, else in a share of the time."""

import contextlib
import datetime
import sqlite3
import time

import pytest

from handlers.elected import Worker, read_state, write_state
from handlers.lookup import Lookup, Row, options, refresh, snapshot, updated, writing
from handlers.lookup.refresh import Refresher
from handlers.lookup.row import Skipped
from handlers.lookup.state import State

COUNT = 400
# a busy server is not away
PATIENT = {"lookup.timeout": "30", "lookup.connect_timeout": "30"}
NOW = int(time.time())


class Site:
    """A table in SQLite, and its snapshot as a refresh leaves it."""

    def __init__(self, directory):
        self.path = directory / "images.db"
        self.run("CREATE TABLE images (id TEXT PRIMARY KEY, path TEXT, at INT)")
        rows = [(f"p{number}", "old.jpg", NOW - 100) for number in range(COUNT)]
        with contextlib.closing(sqlite3.connect(self.path)) as connection, connection:
            connection.executemany("INSERT INTO images VALUES (?, ?, ?)", rows)
        self.given = {
            "lookup.database": f"sqlite:///{self.path}",
            "lookup.snapshot": str(directory / "snapshot"),
            "lookup.updated": "at",
        }
        self.refresher = Refresher(options.from_mapping(self.given))

    def run(self, statement):
        with contextlib.closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(statement)

    def change(self, id, at):
        self.run(f"UPDATE images SET path = 'new.jpg', at = {at} WHERE id = '{id}'")

    def refresh(self, full=False):
        """Refresh the snapshot; return how many rows were read."""
        found = self.refresher
        return found._refresh(found._state(), found._usable(), full).read

    def state(self, **changes):
        """Change the state that lies there; return it."""
        found = read_state(self.refresher.state_path, State)
        for name, value in changes.items():
            setattr(found, name, value)
        write_state(self.refresher.state_path, found)
        return found

    def row(self, id):
        return self.refresher.open().get(id)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A table that has just been filled; the overlap of two hours has all of its rows."""
    monkeypatch.setattr(refresh, "_REREAD", 50)
    site = Site(tmp_path)
    site.refresh(full=True)
    # a quick machine has read them in no time
    site.state(reread_seconds=60.0)
    return site


def test_import_is_not_read_again_with_each_refresh(site):
    assert site.refresh() == 0
    site.change("p1", NOW - 50)
    assert site.refresh() == 1
    assert site.row("p1") == Row("new.jpg")
    assert site.refresh() == 1


def test_all_of_the_overlap_is_read_in_its_share_of_the_time(site):
    site.change("p1", NOW - 100)
    assert site.refresh() == 0
    assert site.row("p1") == Row("old.jpg")
    site.state(reread=time.time() - 60 * refresh._REREAD_SHARE)
    assert site.refresh() == COUNT
    assert site.row("p1") == Row("new.jpg")


def test_share_goes_by_what_the_overlap_has_of_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(refresh, "_REREAD", 50)
    site = Site(tmp_path)
    site.run(f"UPDATE images SET at = {NOW - 100_000} WHERE id NOT IN ('p1', 'p2')")
    monkeypatch.setattr(refresh.time, "monotonic", iter(range(0, 10_000, 100)).__next__)
    site.refresh(full=True)
    assert site.state().reread_seconds == pytest.approx(100 * 2 / COUNT)


def test_part_of_the_overlap_that_has_few_rows_is_read(site):
    for number in range(5):
        site.change(f"p{number}", NOW - 50)
    assert site.refresh() == 5
    # late, and earlier than what was seen: an eighth of two hours has all rows, a 64th has not
    site.run(f"UPDATE images SET at = {NOW - 500} WHERE at = {NOW - 100}")
    site.change("p9", NOW - 70)
    assert site.refresh() == 6
    assert site.row("p9") == Row("new.jpg")


def test_row_is_not_missed_that_was_late_while_only_parts_were_read(site):
    site.change("p1", NOW + 20)
    site.refresh()
    settled = site.state().settled
    assert settled == NOW - 100
    # two hours before what is seen by now, and less before what was seen when all was read
    site.run(f"UPDATE images SET at = {NOW - 50_000} WHERE at = {NOW - 100}")
    site.change("p2", NOW - 7250)
    assert updated.since(site.state().mark, 7200) > NOW - 7250 > updated.since(settled, 7200)
    site.refresh()
    assert site.row("p2") == Row("new.jpg")
    assert site.state().settled == NOW + 20


def test_more_new_rows_than_are_read_again_are_all_read(site):
    site.run(f"UPDATE images SET path = 'new.jpg', at = {NOW - 50} WHERE id != 'p0'")
    assert site.refresh() == COUNT - 1
    assert [site.row(id).path for id in ("p0", "p1", "p399")] == ["old.jpg", "new.jpg", "new.jpg"]


def test_snapshot_that_the_state_does_not_name_is_compared_with_all_rows(site):
    """Its writer was killed before the state was written."""
    site.change("p1", NOW - 100)
    site.state(serial="another", refreshed=0.0)
    assert site.refresh() == COUNT
    assert site.row("p1") == Row("new.jpg")


@pytest.mark.parametrize(
    "mark, at_least, later",
    [
        (17, 17, 18),
        (1.5, 1.5, 1.5000001),
        ("2024-01-01 10:00:00", "2024-01-01 10:00:00", "2024-01-01 10:00:00.5"),
        ("2024-01-01T10:00:00", "2024-01-01T10:00:00", "2024-01-01T10:00:01"),
        ("2024-01-01", "2024-01-01", "2024-01-02"),
        ("2024-01-01T10:00:00Z", "2024-01-01T10:00:00Z", "2024-01-01T10:00:01Z"),
        ("2024-01-01 10:00:00+01:00", "2024-01-01 10:00:00+01:00", "2024-01-01 10:00:01+01:00"),
        ("1700000000", "1700000000", "1700000000.1"),
        ("any", "any", "anz"),
    ],
)
def test_after_a_time_are_all_later_ones(mark, at_least, later):
    assert at_least < updated.after(mark) <= later


def test_after_a_time_on_a_real_server(mariadb):
    """TIMESTAMP and DATE compare with a text that has microseconds as they should."""
    mariadb.execute("CREATE DATABASE late")
    try:
        for kind, values in (
            ("TIMESTAMP", ["2024-01-01 10:00:00", "2024-01-01 10:00:01"]),
            ("DATETIME(6)", ["2024-01-01 10:00:00.5", "2024-01-01 10:00:00.500001"]),
            ("DATE", ["2024-01-01", "2024-01-02"]),
            ("INT", [1700000000, 1700000001]),
            ("DOUBLE", [1700000000.25, 1700000000.2500002]),
            ("VARCHAR(40)", ["2024-01-01T10:00:00Z", "2024-01-01T10:00:01Z"]),
        ):
            mariadb.execute(
                f"CREATE OR REPLACE TABLE late.images (id INT, path TEXT, at {kind}, KEY (at))"
            )
            mariadb.fill("late.images", "id, path, at", [(n, "a", v) for n, v in enumerate(values)])
            mariadb.fill("late.images", "id, path, at", [(9, "a", values[0])] * 50)
            given = {**PATIENT, "lookup.database": mariadb.url("late"), "lookup.updated": "at"}
            database = refresh.Database(options.from_mapping(given))
            with database.reading() as reading:
                records = list(reading.all())
                mark = updated.encode(min(records, key=lambda record: record[2])[2])
                assert [id for id, _, _ in reading.after(mark)] == ["1"], kind
                assert len(list(reading.since(mark, 0))) == reading.count_since(mark, 0) == 52
                assert len(list(reading.since(mark, 0, 7))) == 7
    finally:
        mariadb.execute("DROP DATABASE late")


@pytest.mark.parametrize(
    ("kind", "zones"),
    [
        ("TIMESTAMP", ["-11:00", "-11:00", "+13:00", "+00:00"]),
        ("DATETIME", ["-11:00", "+13:00", "+13:00", "+00:00"]),
    ],
)
def test_server_that_moves_to_another_zone_hides_no_change(mariadb, tmp_path, kind, zones):
    """Or one that takes over from a server in another zone."""
    mariadb.execute("CREATE DATABASE zones")
    try:
        mariadb.execute(
            "SET GLOBAL time_zone = '+00:00'",
            f"CREATE TABLE zones.images (id INT PRIMARY KEY, path TEXT, at {kind} NULL)",
            "INSERT INTO zones.images VALUES (1, 'old', '2020-01-01'), (2, 'old', NOW())",
        )
        given = {
            **PATIENT,
            "lookup.database": mariadb.url("zones"),
            "lookup.snapshot": str(tmp_path / "snapshot"),
            "lookup.updated": "at",
        }
        refresher = Refresher(options.from_mapping(given))
        refresher.refresh(60)
        read = []
        for zone in zones:
            mariadb.execute(f"SET GLOBAL time_zone = '{zone}'")
            mariadb.execute(
                f"UPDATE zones.images SET path = '{len(read)}', at = NOW() WHERE id = 1"
            )
            refresher._refresh(refresher._state(), refresher._usable(), full=False)
            assert refresher.open().get("1").path == str(len(read))
            read.append(refresher._state().full)
        # all rows are read once for each zone
        assert len(set(read)) == len(set(zones))
    finally:
        mariadb.execute("SET GLOBAL time_zone = 'SYSTEM'", "DROP DATABASE zones")


def test_query_of_the_site_may_have_an_end_and_a_comment(site):
    every = "SELECT id, path, at AS updated FROM images"
    given = {
        "lookup.database": site.given["lookup.database"],
        "lookup.query": f"{every} -- all; ",
        "lookup.query_one": f"{every} WHERE id = :id;",
        "lookup.query_updated": f"{every} WHERE at >= :since -- new\n;",
    }
    with refresh.Database(options.from_mapping(given)).reading() as reading:
        assert reading.count() == reading.count_since(NOW - 100, 0) == COUNT
        assert len(list(reading.since(NOW - 100, 0, 3))) == 3


def test_last_of_several_rows_of_one_id_counts_though_it_is_as_before(tmp_path):
    path = str(tmp_path / "snapshot")
    rows = {"a": Row("a.jpg"), "b": Row("b.jpg")}

    def records(*pairs):
        return [(id, Row(file), None) for id, file in pairs]

    writing.write_all(
        path, "x", records(*((id, row.path) for id, row in rows.items())), 1, None, False,
        Skipped(False),
    )  # fmt: skip
    for changes, wanted in (
        ([("a", "new.jpg"), ("a", "a.jpg")], "a.jpg"),
        ([("a", "a.jpg"), ("a", "new.jpg")], "new.jpg"),
    ):
        old = snapshot.Snapshot(path, "x")
        writing.write_changes(path, "x", records(*changes), None, 2, old, False, Skipped(False))
        assert snapshot.Snapshot(path, "x").get("a").path == wanted


@pytest.fixture
def shrunk(tmp_path, monkeypatch):
    """A table that has lost most of its rows since the snapshot was written."""
    monkeypatch.setattr(refresh, "_LARGE", 100)
    monkeypatch.setattr(refresh, "server_start", lambda: ("server", 1))
    site = Site(tmp_path)
    site.given["lookup.refresh"] = "100"
    site.refresher = Refresher(options.from_mapping(site.given))
    site.refresher.refresh(10)
    state = site.state()
    state.note(("server", 1))
    write_state(site.refresher.state_path, state)
    site.run("DELETE FROM images WHERE id != 'p1'")
    return site


def work(site):
    """Do what is due, as a child does; return whether something was."""
    worker = Worker("test", lambda: None, lambda *args: None)
    elected = site.refresher.elect(None)
    if elected is None:
        return False
    with elected as lock:
        site.refresher.work(lock, worker, None, lambda: None)
    return True


def test_table_that_is_being_filled_anew_is_not_believed(shrunk, caplog):
    shrunk.state(refreshed=time.time() - 100)
    for turn in range(2):
        # what is there is believed, or a picture made private would stay public
        shrunk.run(f"UPDATE images SET path = 'moved{turn}.jpg' WHERE id = 'p1'")
        assert work(shrunk)
        assert not work(shrunk)
        assert shrunk.row("p7") == Row("old.jpg")
        assert shrunk.row("p1") == Row(f"moved{turn}.jpg")
        shrunk.state(refreshed=time.time() - 100)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert (
        f"has 1 rows in the table instead of {COUNT}: those that are gone stay"
        in record.getMessage()
    )
    shrunk.run(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)"
        f" INSERT INTO images SELECT 'n' || i, 'new.jpg', {NOW} FROM n"
    )
    assert work(shrunk)
    assert shrunk.row("n300") == Row("new.jpg") and shrunk.row("p7") is None
    assert shrunk.state().shrunk == 0


def test_rows_that_stay_away_are_believed(shrunk):
    shrunk.state(refreshed=time.time() - 100)
    assert work(shrunk)
    shrunk.state(shrunk=time.time() - refresh._DOUBT)
    assert work(shrunk)
    assert shrunk.row("p7") is None and shrunk.row("p1") == Row("old.jpg")


def test_admin_who_asks_is_believed_at_once(shrunk):
    shrunk.refresher.refresh(10)
    assert shrunk.row("p7") is None
    with contextlib.closing(Lookup.from_options(shrunk.given)) as pictures:
        assert len(pictures) == 1


def test_clock_of_years_is_no_time_to_go_back_from():
    assert updated.after(str(datetime.datetime.max)) == f"{datetime.datetime.max}!"
