"""What was counted in each minute, and the last warnings: rings that all children share."""

import logging

import pytest

from handlers import counters
from handlers.counters import Counters
from handlers.counting import history, notices
from handlers.status import figures
from tests.support import until

MINUTE = 60
NOON = 1_700_000_000 // 3600 * 3600


@pytest.fixture
def directory(tmp_path):
    return str(tmp_path)


def made(minutes):
    return [minute["thumbnails_made"] for minute in minutes]


def test_each_minute_has_what_was_counted_in_it(directory):
    own = Counters(directory)
    for minute in range(3):
        own.add("thumbnails_made", minute + 1)
        history.record(directory, NOON + minute * MINUTE)
    own.add("thumbnails_made", 9)
    assert made(history.read(directory, 5, NOON + 3 * MINUTE)) == [0, 1, 2, 3, 9]
    own.close()


def test_minutes_that_nobody_sampled_show_in_the_next_one(directory):
    own = Counters(directory)
    history.record(directory, NOON)
    own.add("thumbnails_made", 7)
    history.record(directory, NOON + 10 * MINUTE)
    assert made(history.read(directory, 12, NOON + 11 * MINUTE)) == [0] * 10 + [7, 0]
    own.close()


def test_a_day_later_the_ring_holds_the_last_day(directory):
    own = Counters(directory)
    for hour in range(30):
        own.add("thumbnails_made")
        history.record(directory, NOON + hour * 3600)
    found = made(history.read(directory, now=NOON + 29 * 3600))
    assert sum(found) == 24 and len(found) == history.MINUTES
    own.close()


def test_server_that_was_off_for_long_shows_nothing_of_before(directory):
    own = Counters(directory)
    own.add("thumbnails_made", 5)
    history.record(directory, NOON)
    own.add("thumbnails_made", 2)
    assert sum(made(history.read(directory, now=NOON + 5 * 86400))) == 2
    own.close()


def test_quantiles_are_bounds_of_buckets(directory):
    own = Counters(directory)
    history.record(directory, NOON)
    for seconds in [0.02] * 97 + [0.3] * 2 + [60]:
        own.observe("thumbnail_making_seconds", seconds)
    minutes = history.read(directory, 2, NOON + MINUTE)
    assert figures.quantile(minutes, 0.5) == 0.025
    assert figures.quantile(minutes, 0.99) == 0.5
    assert figures.quantile(minutes, 1.0) == float("inf")
    assert figures.quantile([counters.read(directory + "/none")], 0.5) is None
    own.close()


def test_cache_that_is_gone_is_no_fault_of_the_samples(directory, caplog):
    """Or of a full disk: the cache's own fault has its line."""
    caplog.set_level("INFO", "handlers")
    history.start(f"{directory}/gone")
    worker = history._workers.pop(f"{directory}/gone")
    try:
        until(lambda: caplog.records)
    finally:
        worker.stop(60)
    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert record.getMessage().startswith("no sample for the status page: ")


@pytest.fixture
def served(directory, monkeypatch):
    """The directory, as that of the site which this thread serves."""
    monkeypatch.setattr(counters, "directory", lambda: directory)
    return directory


def test_last_notices_are_kept_newest_first(served):
    Counters(served).close()
    keeper = notices.Keeper()
    for number in range(notices.KEPT + 7):
        record = logging.LogRecord("a", logging.WARNING, "", 0, "n %d\nmore", (number,), None)
        keeper.emit(record)
    found = notices.read(served)
    assert len(found) == notices.KEPT
    assert (found[0].text, found[0].level) == (f"n {notices.KEPT + 6}", "warning")
    assert [notice.text for notice in found] == [
        f"n {number}" for number in range(notices.KEPT + 6, 6, -1)
    ]


def test_notice_of_any_length_and_characters_is_kept(served):
    Counters(served).close()
    text = "\ud800ü\x00京" * 1000
    notices.Keeper().emit(logging.LogRecord("a", 40, "", 0, text, (), None))
    (found,) = notices.read(served)
    assert found.text and text.startswith(found.text)


def test_directory_that_is_gone_breaks_nothing(served, monkeypatch):
    for gone in (served + "/gone", None):
        monkeypatch.setattr(counters, "directory", lambda gone=gone: gone)
        notices.Keeper().emit(logging.LogRecord("a", 40, "", 0, "x", (), None))
    assert notices.read(served + "/gone") == []
