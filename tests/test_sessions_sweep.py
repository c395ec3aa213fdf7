"""The sweep of the file store: what it deletes, at what pace, and which child does it."""

import errno
import logging
import multiprocessing
import os
import signal
import threading
import time
from unittest.mock import Mock

import pytest

from handlers.sessions import sid as sids
from handlers.sessions import slots, sweep
from handlers.sessions.file import FileStore
from handlers.sessions.store import StoreUnavailable
from handlers.sessions.sweep import Pace, Sweeper
from tests.session_files import file_of, save, write
from tests.support import until

fork = multiprocessing.get_context("fork")


@pytest.fixture
def store(tmp_path):
    return FileStore(tmp_path / "sessions")


def fill(store, count, **options):
    ids = [sids.new() for _ in range(count)]
    for sid in ids:
        save(store, sid, **options)
    return ids


def test_sweep_leaves_a_session_that_a_request_holds_to_the_next_round(store):
    (sid,) = fill(store, 1, accessed=0)
    with store.lock(sid, 1):
        assert store.sweep(Pace.flat_out()).deleted == 0
    assert store.sweep(Pace.flat_out()).deleted == 1


def test_sweep_looks_again_and_repairs_the_time_of_a_live_session(store):
    (sid,) = fill(store, 1)
    os.utime(file_of(store, sid), (0, 0))
    assert store.sweep(Pace.flat_out()).deleted == 0
    assert os.stat(file_of(store, sid)).st_mtime > time.time() + 1000
    assert store.load(sid) is not None


@pytest.mark.parametrize("what", ["directory", "link"])
def test_one_file_that_is_none_of_ours_stops_neither_sweep_nor_list(store, what, caplog):
    fill(store, 20, accessed=0)
    (live,) = fill(store, 1, user="ann")
    os.makedirs(f"{store.path}/00", exist_ok=True)
    path = f"{store.path}/00/{'0' * 32}"
    if what == "link":
        os.symlink("/etc/passwd", path)
    else:
        os.mkdir(path)
    os.utime(path, (0, 0), follow_symlinks=False)
    for _ in range(2):
        assert store.sweep(Pace.flat_out()).left == 2
        assert [entry.key for entry in store.entries()] == [sids.key(live)]
    (record,) = caplog.records
    assert record.levelname == "WARNING" and path in record.getMessage()
    assert store.purge("ann") == 1


def test_purge_that_can_open_no_file_is_an_error_and_not_an_end_of_nobody(store, monkeypatch):
    (sid,) = fill(store, 1, user="ann")
    too_many = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    with monkeypatch.context() as patch, pytest.raises(StoreUnavailable, match="Too many open"):
        patch.setattr(os, "open", Mock(side_effect=too_many))
        store.purge("ann")
    assert store.purge("ann") == 1 and store.load(sid) is None


def test_sweep_goes_on_where_it_stopped(store):
    fill(store, 300, accessed=0)
    stop = threading.Event()
    remove = store._remove_expired
    removed = []

    def remove_some(key, grace):
        removed.append(key)
        if len(removed) == 100:
            stop.set()
        return remove(key, grace)

    store._remove_expired = remove_some
    first = store.sweep(Pace(float("inf"), 1, stop=stop))
    assert (first.deleted, first.finished) == (100, False)
    second = FileStore(store.path).sweep(Pace.flat_out())
    assert (second.deleted, second.seen, second.finished) == (300, 300, True)


@pytest.mark.parametrize("content", ["", "nonsense", "1 999 0 0 0 0", "2 3 4 5 6 7", "1 2 3"])
def test_sweep_starts_anew_where_its_state_is_unreadable(store, content):
    fill(store, 5, accessed=0)
    write(os.path.join(store.path, "sweep.state"), content.encode())
    assert store.sweep(Pace.flat_out()).deleted == 5


def test_two_sweeps_do_not_run_at_once(store):
    fill(store, 5, accessed=0)
    with store._acquire("sweep", 0):
        assert store.sweep(Pace.flat_out()) is None
    assert store.sweep(Pace.flat_out()).deleted == 5


@pytest.mark.slow
def test_sweep_keeps_to_its_pace(store):
    fill(store, 60, accessed=0)
    started = time.monotonic()
    assert store.sweep(Pace(deletes=200, share=1)).deleted == 60
    assert time.monotonic() - started > 0.25


@pytest.mark.slow
def test_sweep_ends_at_its_limit(store):
    fill(store, 60, accessed=0)
    swept = store.sweep(Pace(deletes=30, share=1, limit=0.5))
    assert not swept.finished
    # a busy machine does less in that time
    assert 1 <= swept.deleted <= 20


@pytest.mark.parametrize("pace", [(0, 0.1), (600, 0), (600, 1.1), (-1, 1)])
def test_pace_that_is_none_is_refused(pace):
    with pytest.raises(ValueError, match="not a pace"):
        Pace(*pace)


def test_sweep_removes_what_killed_writers_left_and_nothing_foreign(store, monkeypatch):
    (sid,) = fill(store, 1)
    bucket = os.path.dirname(file_of(store, sid))
    left = os.path.join(bucket, f".{sids.key(sid)}.1234abcd")
    foreign = os.path.join(bucket, "README")
    empty = os.path.join(bucket, bucket[-2:] + "0" * 30)
    torn = os.path.join(bucket, bucket[-2:] + "1" * 30)
    for path in (left, foreign, empty, torn):
        write(path, b"" if path == empty else slots.MAGIC + b"torn")
        os.utime(path, (0, 0))
    assert store.sweep(Pace.flat_out()).deleted == 0
    assert os.path.exists(left) and os.path.exists(torn)
    monkeypatch.setattr("handlers.sessions.scan._TEMP_AGE", -1)
    monkeypatch.setattr("handlers.sessions.file._REMAINS_AGE", -1)
    assert store.sweep(Pace.flat_out()).deleted == 2
    assert sorted(os.listdir(bucket)) == sorted([sids.key(sid), "README"])
    assert store.load(sid) is not None


@pytest.mark.slow
def test_sweeper_logs_one_line_for_a_finished_round(store, caplog):
    fill(store, 40, accessed=0)
    caplog.set_level(logging.INFO, "handlers.sessions.sweep")
    sweeper = Sweeper(store, interval=60, deletes=100_000, share=1)
    sweeper.start()
    until(lambda: caplog.records)
    sweeper.stop()
    (record,) = caplog.records
    assert record.getMessage().startswith("sweep finished: 40 of 40 sessions deleted in ")
    assert time.time() - store.last_sweep() < 60


@pytest.mark.slow
def test_stopped_sweeper_leaves_its_election_to_another(store):
    sweeper = Sweeper(store)
    sweeper.start()
    until(lambda: not elected(store))
    sweeper.stop(60)
    assert elected(store)


@pytest.mark.slow
def test_another_child_is_elected_when_the_sweeping_one_is_killed(store, monkeypatch):
    monkeypatch.setattr(sweep, "_ELECTION", 0.1)
    ids = fill(store, 5)

    def child():
        Sweeper(store, interval=0.05).start()
        signal.pause()

    children = [fork.Process(target=child) for _ in range(3)]
    for process in children:
        process.start()
    try:
        for process in children:
            for sid in ids:
                save(store, sid, accessed=0)
            until(lambda: not any(os.path.exists(file_of(store, sid)) for sid in ids))
            assert not elected(store)
            os.kill(process.pid, signal.SIGKILL)
            process.join()
    finally:
        for process in children:
            process.kill()
            process.join()
    assert elected(store)


def test_sweeper_outlives_an_error(store, monkeypatch, caplog):
    monkeypatch.setattr(sweep, "_ELECTION", 0.05)
    fill(store, 5, accessed=0)
    os.rename(store.path, store.path + ".away")
    sweeper = Sweeper(store, interval=0.05)
    sweeper.start()
    until(lambda: "No such file or directory" in caplog.text)
    os.rename(store.path + ".away", store.path)
    until(lambda: store.stats().expired == 0)
    sweeper.stop()


def elected(store):
    held = store.elect()
    if held is None:
        return False
    held.release()
    return True
