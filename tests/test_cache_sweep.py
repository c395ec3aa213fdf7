"""The sweep: what it deletes, what it leaves, and that it goes on after a kill."""

import gc
import os
import pathlib
import re
import time

import pytest

from handlers.cache import directory, keeper
from handlers.cache.store import Store
from handlers.cache.sweep import Limits, Sweep
from handlers.settings import Settings

DAY = 86400
KILOBYTES = bytes(8192)


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path))


def fill(store, count, size="200x200", unused_days=0.0):
    """Write thumbnails, the first one unused for longest."""
    for number in range(count):
        path = store.path(f"{size}/{number}.jpg")
        store.write(path, KILOBYTES, 0)
        found = os.stat(path)
        used = time.time() - unused_days * DAY - (count - number) * 3600
        os.utime(path, ns=(int(used * 1e9), found.st_mtime_ns))


def run(store, limits, step=1.0):
    sweep = Sweep(store.directory, limits)
    while not sweep.step(step):
        pass
    return sweep.round


def names(store, size="200x200"):
    return {int(name.partition(".")[0]) for name in os.listdir(store.path(size))}


def test_without_limits_it_counts(store, caplog):
    caplog.set_level("INFO")
    fill(store, 5)
    fill(store, 3, "400x400-crop")
    found = run(store, Limits())
    assert (found.files, found.bytes, found.deleted) == (8, 8 * 8192, 0)
    assert len(re.findall(r"cache: 8 thumbnails, 0\.1 MB; 0 files deleted", caplog.text)) == 1


def test_round_is_due_when_the_limit_is_passed(store):
    """Not at the next interval only."""
    fill(store, 6)
    limits = Limits(bytes=10 * 8192)
    run(store, limits)
    sweep = Sweep(store.directory, limits)
    assert not sweep.is_due(3600)
    fill(store, 4, "400x400")
    assert not sweep.is_due(3600)
    fill(store, 1, "100x100")
    assert sweep.is_due(3600) and not Sweep(store.directory, Limits()).is_due(3600)
    assert run(store, limits).bytes == 9 * 8192
    assert not Sweep(store.directory, limits).is_due(3600)
    assert Sweep(store.directory, limits).is_due(0)


def test_unused_for_too_long_is_deleted(store):
    fill(store, 3, unused_days=100)
    fill(store, 2, "400x400")
    found = run(store, Limits(age=90 * DAY))
    assert (found.files, found.deleted, found.freed) == (2, 3, 3 * 8192)
    assert names(store) == set() and len(names(store, "400x400")) == 2


def test_least_recently_used_is_deleted_down_to_nine_tenths(store):
    fill(store, 100)
    found = run(store, Limits(bytes=50 * 8192))
    assert found.bytes <= 45 * 8192
    assert names(store) == set(range(100 - found.files, 100))
    assert 44 <= found.files <= 45


def test_within_the_limit_nothing_is_deleted(store):
    fill(store, 20)
    assert run(store, Limits(bytes=20 * 8192)).deleted == 0


def test_copies_count_and_go(store):
    store.write(store.copy_path("a"), KILOBYTES, 0)
    assert run(store, Limits()).bytes == 8192
    os.utime(store.copy_path("a"), (1, 1))
    assert run(store, Limits(age=DAY)).deleted == 1


def test_orphans_and_old_failures_are_deleted(store):
    for part in ("tmp", "failures"):
        os.makedirs(store.part(part))
        pathlib.Path(store.part(part, "x")).touch()
    assert run(store, Limits()).deleted == 0
    time.sleep(0.01)
    assert run(store, Limits(failure_age=0)).deleted == 1
    assert os.listdir(store.part("tmp")) == ["x"]


def test_round_goes_on_where_a_killed_one_stood(store, monkeypatch):
    monkeypatch.setattr("handlers.cache.sweep._SAVED_EVERY", -1)
    monkeypatch.setattr("handlers.cache.sweep._ENTRIES", 7)
    for size in ("200x200", "300x300", "400x400"):
        fill(store, 50, size)
    steps = 0
    while True:
        # each step in a process of its own, as it were
        sweep = Sweep(store.directory, Limits(bytes=100 * 8192))
        steps += 1
        if sweep.step(1e-9):
            break
    assert steps > 20
    assert sweep.round.bytes <= 90 * 8192
    left = sum(len(names(store, size)) for size in store.sizes())
    assert sweep.round.files == left >= 88


def test_damaged_state_begins_a_new_round(store):
    fill(store, 3)
    for text in ("", "{", '{"started": 1, "unknown": 2}', "[]", "7"):
        with open(store.part("round"), "w", encoding="utf-8") as file:
            file.write(text)
        assert run(store, Limits()).files == 3


@pytest.mark.slow
def test_step_is_short(store):
    fill(store, 3000)
    sweep = Sweep(store.directory, Limits())
    longest = 0.0
    ended = False
    # a collection costs what all objects of the test run cost
    gc.disable()
    try:
        while not ended:
            started = time.thread_time()
            ended = sweep.step(0.001)
            longest = max(longest, time.thread_time() - started)
    finally:
        gc.enable()
    assert longest < 0.1
    assert sweep.round.files == 3000


def test_directory_is_read_in_pieces(tmp_path):
    wanted = {f"file-{number}" for number in range(1000)}
    for name in wanted:
        (tmp_path / name).touch()
    (tmp_path / "directory").mkdir()
    found, place = [], 0
    while place is not None:
        names, place = directory.read(str(tmp_path), place, 64)
        found += names
    assert sorted(found) == sorted(wanted)
    with pytest.raises(FileNotFoundError):
        directory.read(str(tmp_path / "nowhere"), 0, 1)


@pytest.mark.parametrize(
    ("options", "limits"),
    [
        ({}, (None, None, 7200)),
        ({"cache.bytes": "20G", "cache.age": "90"}, (20 << 30, 90 * DAY, 7200)),
        ({"cache.bytes": "1.5 MB", "thumbnail.failure_ttl": "10"}, (3 << 19, None, 20)),
    ],
)
def test_limits_come_from_options(options, limits):
    assert keeper.limits(Settings(options)) == limits
