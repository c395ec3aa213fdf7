"""The three kinds of errors, and what handlers and the command line make of each."""

import logging

import pytest

from handlers import errors, faults
from handlers.database.url import BadURL
from handlers.locks import LockTimeout
from handlers.lookup.errors import DatabaseAway, DatabaseMisconfigured
from handlers.lookup.errors import Unavailable as LookupUnavailable
from handlers.sessions.held import SessionLocked
from handlers.sessions.store import Conflict, StoreRefused, StoreUnavailable, TableMissing
from handlers.settings import BadSettings


@pytest.fixture(autouse=True)
def forget_what_was_logged():
    faults._told.clear()
    faults._quiet_until.clear()


@pytest.mark.parametrize("kind", [BadSettings, BadURL, DatabaseMisconfigured, StoreRefused])
def test_wrong_configuration_is_500_and_one_line(kind, caplog):
    for _ in range(3):
        assert faults.answer(kind("/etc/a.ini: not UTF-8")) == (500, None)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().endswith("/etc/a.ini: not UTF-8")


@pytest.mark.parametrize("kind", [StoreUnavailable, TableMissing, Conflict, LockTimeout])
def test_what_is_away_or_busy_is_503_with_a_time_and_one_line(kind, caplog):
    for _ in range(3):
        status, seconds = faults.answer(kind("no answer"))
        assert status == 503 and seconds > 0
    (record,) = caplog.records
    assert "no answer" in record.getMessage()


def test_lookup_keeps_the_log_of_its_outages_itself(caplog):
    assert faults.answer(LookupUnavailable("away", 7.5)) == (503, 7.5)
    assert not caplog.records


def test_busy_is_a_kind_of_unavailable_and_a_lock_is_one():
    assert issubclass(errors.Busy, errors.Unavailable)
    assert issubclass(LockTimeout, errors.Busy) and issubclass(LockTimeout, TimeoutError)
    assert issubclass(DatabaseAway, errors.Unavailable)


def test_log_names_the_part_that_failed(caplog):
    faults.answer(SessionLocked("abc not free within 5 s"))
    faults.answer(errors.Misconfigured("thumbnail.scans: 'many' is not a whole number"))
    assert [record.getMessage() for record in caplog.records] == [
        "sessions: abc not free within 5 s",
        "thumbnail.scans: 'many' is not a whole number",
    ]
