"""Values of a database: what is private, what is left out, and changes that say nothing."""

import contextlib
import datetime
import decimal
import logging
import sqlite3

import pytest

from handlers import faults
from handlers.elected import Worker, write_state
from handlers.lookup import Lookup, Row, row, updated
from handlers.lookup import options as lookup_options
from handlers.lookup.refresh import Refresher
from handlers.names import is_plain


@pytest.fixture(autouse=True)
def nothing_told():
    """What an earlier test was told of is told again."""
    yield
    faults.over(("private", "hidden"))


def is_private(value):
    read = row.reader(["id", "path", "private"], is_plain, "hidden")
    return read(("p1", "a.jpg", value))[1].private


@pytest.mark.parametrize(
    "value",
    [
        None, 0, 0.0, False, decimal.Decimal("0.00"), datetime.timedelta(0), "0", b"0", " 0 ",
        "00", "0.0", "-0", "0e5", "", b"", b"\0", b"\0\0", "0000-00-00", "0000-00-00 00:00:00",
        "0000-00-00 00:00:00.000", b"0\0\0", b"0.0\0",
    ],
)  # fmt: skip
def test_what_sql_calls_false_is_public(value, caplog):
    assert is_private(value) is False
    assert caplog.records == []


@pytest.mark.parametrize(
    "value",
    [
        1, -1, 0.5, True, decimal.Decimal("0.01"), "1", b"1", "01", "-1", "0.5", "1e3", b"\1",
        datetime.date(2024, 1, 1), datetime.datetime(2024, 1, 1), datetime.timedelta(1),
        "2024-01-01", "2024-01-01T10:00:00", "2024-00-00", b"1\0\0", b"2024-01-01 10:00:00.5",
    ],
)  # fmt: skip
def test_what_sql_calls_true_is_private(value, caplog):
    assert is_private(value) is True
    assert caplog.records == []


@pytest.mark.parametrize("value", ["no", "N", "yes", "false", b"no", "0x0", "nan", "٠", b"\2"])
def test_text_that_is_no_number_is_private_and_one_error(value, caplog):
    assert is_private(value) is True
    assert is_private("other") is True
    (record,) = caplog.records
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith(f"lookup.private: column hidden has {text!r}, which is ")


@pytest.mark.parametrize(
    "id, path",
    [(7.0, b"a.jpg\0\0\0"), (decimal.Decimal(7), b"a.jpg"), (7, "a.jpg"), (b"7", b"a.jpg")],
)
def test_id_and_path_are_what_the_database_shows(id, path):
    """A DOUBLE without a fraction has no point, and a BINARY is filled up with zero bytes."""
    read = row.reader(["id", "path"], is_plain)
    assert read((id, path)) == ("7", Row("a.jpg"))
    assert read((id, b"\0\0")) == ("7", None)


@pytest.fixture
def table(mariadb):
    """A function that makes a table with a column ``hidden`` of one type and value."""
    mariadb.execute("CREATE DATABASE flags")

    def make(kind, value):
        mariadb.execute(
            "SET sql_mode = ''",
            f"CREATE OR REPLACE TABLE flags.images (id INT, path VARCHAR(9), hidden {kind})",
            f"INSERT INTO flags.images VALUES (1, 'a.jpg', {value})",
        )
        given = {"lookup.database": mariadb.url("flags"), "lookup.private": "hidden"}
        with contextlib.closing(Lookup.from_options(given)) as pictures:
            one = pictures["1"]
            pictures.warm()
            assert pictures["1"] == one
            return one.private

    yield make
    mariadb.execute("DROP DATABASE flags")


def test_columns_of_all_types_mean_what_the_server_says(table, mariadb, caplog):
    """The server itself is asked whether each value is true."""
    for kind, value in (
        ("CHAR(1)", "'0'"), ("CHAR(1)", "'1'"), ("VARBINARY(4)", "'0'"), ("VARBINARY(4)", "'1'"),
        ("ENUM('0', '1')", "'0'"), ("ENUM('0', '1')", "'1'"), ("DATE", "'0000-00-00'"),
        ("DATETIME", "'0000-00-00 00:00:00'"), ("DATETIME", "'2024-01-01'"), ("BIT(1)", "0"),
        ("BIT(1)", "1"), ("BIT(8)", "48"), ("BIT(8)", "0"), ("DECIMAL(5,2)", "0"),
        ("DOUBLE", "0.5"), ("TIME", "'00:00:00'"), ("YEAR", "0"), ("TINYINT", "2"),
        ("TEXT", "'0'"), ("BLOB", "'0'"), ("TINYINT", "NULL"), ("BINARY(3)", "'0'"),
        ("BINARY(3)", "'1'"), ("DATE", "'2024-00-00'"), ("TIMESTAMP(3)", "'0000-00-00'"),
        ("JSON", "'0'"), ("FLOAT", "-0.0"), ("SET('0', '1')", "''"),
    ):  # fmt: skip
        private = table(kind, value)
        # a number is what an ENUM is by its place, and text what it is by its value
        wanted = "hidden = '1'" if kind.startswith("ENUM") else "IF(hidden + 0, 1, 0)"
        assert private == bool(mariadb.execute(f"SELECT {wanted} FROM flags.images")[0][0]), kind
    assert caplog.records == []


def test_word_in_the_column_is_one_error_that_names_it(table, caplog):
    assert table("VARCHAR(3)", "'no'")
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "lookup.private: column hidden has 'no', which is no number" in record.getMessage()


def test_rows_left_out_are_counted_in_the_line(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    with sqlite3.connect(tmp_path / "images.db") as connection:
        connection.execute("CREATE TABLE images (id TEXT, path TEXT)")
        rows = [("p1", "a"), ("not an id", "a"), (None, "a"), ("p2", None)]
        connection.executemany("INSERT INTO images VALUES (?, ?)", rows)
    connection.close()
    url = f"sqlite:///{tmp_path}/images.db"
    with contextlib.closing(Lookup.from_options({"lookup.database": url})) as pictures:
        assert pictures.warm() == 1
    assert caplog.messages[0].endswith(" ms, 3 left out")
    given = {"lookup.database": url, "lookup.snapshot": str(tmp_path / "snapshot")}
    with contextlib.closing(Lookup.from_options(given)) as pictures:
        pictures.load(10)
    assert any(text.endswith("0 changed or gone, 3 left out") for text in caplog.messages)


@pytest.fixture(autouse=True)
def generation(monkeypatch):
    """The number of the server's restart, in a list."""
    number = [1]
    monkeypatch.setattr("handlers.lookup.refresh.server_start", lambda: ("server", number[0]))
    return number


def refreshed(tmp_path, change, **options):
    """Write a snapshot, *change* the table, refresh as a child does; return the row of p1."""
    path = tmp_path / "images.db"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE images (id TEXT, path TEXT, hidden INT, at TEXT)")
        rows = [("p1", "a", 0, "2024-01-01 00:00:00"), ("p2", "b", 0, "2024-10-27 02:30:00")]
        connection.executemany("INSERT INTO images VALUES (?, ?, ?, ?)", rows)
    given = {
        "lookup.database": f"sqlite:///{path}",
        "lookup.snapshot": str(tmp_path / "snapshot"),
        "lookup.updated": "at",
        "lookup.private": "hidden",
        "lookup.refresh": "1",
        **options,
    }
    read = lookup_options.from_mapping(given)
    Refresher(read).refresh(10)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(change)
    refresher = Refresher(read)
    state = refresher._state()
    state.note(("server", 1))
    state.refreshed -= 100
    if options.get("lookup.full_refresh") == "50":
        state.full -= 100
    write_state(refresher.state_path, state)
    worker = Worker("test", lambda: None, lambda *args: None)
    with refresher.elect(None) as lock:
        refresher.work(lock, worker, None, lambda: None)
    with contextlib.closing(Lookup.from_options(given)) as pictures:
        return pictures.in_memory("p1")


HIDDEN = Row("a", True)
QUIETLY = "UPDATE images SET hidden = 1 WHERE id = 'p1'"
AN_HOUR_BACK = "UPDATE images SET hidden = 1, at = '2024-10-27 01:31:00' WHERE id = 'p1'"


def test_change_within_the_overlap_is_seen(tmp_path):
    """Such as an hour back, when summer time ends."""
    assert refreshed(tmp_path, AN_HOUR_BACK) == HIDDEN


def test_overlap_is_an_option(tmp_path):
    assert refreshed(tmp_path, AN_HOUR_BACK, **{"lookup.overlap": "60"}) == Row("a", False)


def test_change_that_says_nothing_is_seen_by_the_next_full_read(tmp_path):
    assert refreshed(tmp_path, QUIETLY) == Row("a", False)


def test_full_read_comes_by_itself(tmp_path):
    assert refreshed(tmp_path, QUIETLY, **{"lookup.full_refresh": "50"}) == HIDDEN


def test_full_read_comes_with_a_restart(tmp_path, generation):
    generation[0] = 2
    assert refreshed(tmp_path, QUIETLY) == HIDDEN


@pytest.mark.parametrize(
    "mark, wanted",
    [
        ("2024-01-01T10:00:00Z", "2024-01-01T08:00:00Z"),
        ("2024-01-01 10:00:00+05:30", "2024-01-01 08:00:00+05:30"),
        ("2024-01-01", "2023-12-31 22:00:00"),
        ("1700000000", "1699992800"),
        ("1700000000.25", "1699992800"),
        # as JavaScript and others count
        (1_700_000_000_000, 1_699_992_800_000),
        (1_700_000_000_000_000_001, 1_699_992_800_000_000_001),
        (17, 17 - 7200),
        ("any other text", "any other text"),
    ],
)
def test_time_of_any_form_goes_back_by_the_overlap(mark, wanted):
    assert updated.since(mark, 7200) == wanted


@pytest.mark.parametrize("ahead", [600, 20 * 3600, 40 * 86400])
def test_time_of_the_future_hides_no_change_of_now(ahead):
    """Such as one that a clock ahead has written, or that was imported."""
    now = datetime.datetime.now().replace(microsecond=0)
    later = now + datetime.timedelta(seconds=ahead)
    for text in (str(later), later.isoformat()):
        assert updated.since(text, 60) < text[:11] and updated.since(text, 60) < str(now)
    zoned = updated.since(later.astimezone(datetime.UTC).isoformat(), 60)
    assert datetime.datetime.fromisoformat(zoned) < now.astimezone(datetime.UTC)
    seconds = int(now.timestamp())
    assert updated.since(seconds + ahead, 60) <= seconds - 50
    assert int(updated.since(str(seconds + ahead), 60)) <= seconds - 50


def test_time_that_the_database_itself_shows_is_not_of_the_future():
    latest = datetime.datetime.now() + datetime.timedelta(hours=9)
    wanted = latest - datetime.timedelta(hours=2)
    assert updated.since(str(latest), 7200, latest) == str(wanted)


def test_time_goes_back_by_the_overlap():
    assert updated.since(1_700_000_000, 7200) == 1_700_000_000 - 7200
    assert updated.since("2024-01-01 10:00:00", 7200) == "2024-01-01 08:00:00"
    assert updated.since("2024-01-01 10:00:00", 0) == "2024-01-01 10:00:00"
