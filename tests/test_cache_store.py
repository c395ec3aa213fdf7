"""The cache's files, turns and memory of failures, without a server."""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import queue
import signal
import struct
import subprocess
import sys
import threading
import time
import types

import pytest

from handlers import locks, state_directory
from handlers.cache import turns as turns_module
from handlers.cache import wakeup
from handlers.cache.failures import FailedBefore, Failures, Kinds
from handlers.cache.pace import Pace
from handlers.cache.store import EXTENSIONS, Store, purge
from handlers.cache.turns import Busy, Turns
from tests.support import until

NAME = "200x200/a.jpg"
SECOND = 10**9
#: Numbers of epoll_wait and its kin, on x86-64 and on ARM.
EPOLL = ("232", "281", "22", "441")


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "cache"))


def test_thumbnail_has_the_time_of_its_source_and_the_access_time_of_now(store):
    before = time.time()
    store.write(store.path(NAME), b"x", 17 * 10**17)
    found = os.stat(store.path(NAME))
    assert found.st_mtime_ns // SECOND == 17 * 10**8
    assert found.st_atime >= before - 1
    assert os.listdir(store.part("tmp")) == []


def test_time_is_settled_even_of_a_new_source(store):
    store.write(store.path(NAME), b"x", time.time_ns() + 50 * SECOND)
    assert os.stat(store.path(NAME)).st_mtime <= time.time() - 2 + 0.01


def test_time_is_the_same_when_it_is_made_again_and_another_in_each_format(store):
    times = set()
    for ext in EXTENSIONS:
        for _ in range(2):
            store.write(store.path(f"200x200/a.{ext}"), b"x", 17 * 10**17 + 123_456_789)
            times.add(os.stat(store.path(f"200x200/a.{ext}")).st_mtime_ns // 1000)
    assert len(times) == len(EXTENSIONS)


def test_failed_write_leaves_nothing(store):
    os.makedirs(store.path(NAME))
    with pytest.raises(OSError):
        store.write(store.path(NAME), b"x", 0)
    assert os.listdir(store.part("tmp")) == []


def test_purge_reaches_all_and_nothing_else(store):
    for size in ("200x200", "31x17-crop"):
        for ext in EXTENSIONS:
            for id in ("a", "ab"):
                store.write(store.path(f"{size}/{id}.{ext}"), b"x", 0)
    store.write(store.copy_path("a"), b"x", 0)
    assert purge(store.directory, ["a", "nobody"]) == 8
    left = [name for _, _, names in os.walk(store.part("thumbs")) for name in names]
    assert len(left) == 8 and all(name.startswith("ab.") for name in left)
    assert not os.path.exists(store.copy_path("a"))


def test_copy_is_written_by_one_at_a_time(store):
    """Two sizes of one picture, made at the same time, bring the same copy."""
    data = os.urandom(1 << 20)
    os.makedirs(store.directory)

    def write(_):
        for _ in range(20):
            store.write_copy("a", data, 0)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    with open(store.copy_path("a"), "rb") as file:
        assert file.read() == data and store.is_of(file, 0)
    with locks.held(store.part("lock"), locks.key_offset("copies/b")):
        store.write_copy("b", data, 0)
    assert not os.path.exists(store.copy_path("b"))
    assert os.listdir(store.part("tmp")) == []


def test_purge_waits_for_what_is_being_made(store):
    store.write(store.path("200x200/b.jpg"), b"x", 0)
    turns = Turns(store.directory, 1, None, None)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with turns.thumbnail(NAME):
            purging = pool.submit(purge, store.directory, ["a"])
            store.write(store.path(NAME), b"x", 0)
        assert purging.result() == 1
    assert not store.has(NAME)


def test_one_maker_for_each_thumbnail_and_as_many_as_allowed(store):
    at_work, most, guard = set(), [], threading.Lock()

    def make(number):
        turns = Turns(store.directory, 3, None, None)
        with turns.thumbnail(f"200x200/{number % 8}.jpg"), turns.maker():
            with guard:
                assert number % 8 not in at_work
                at_work.add(number % 8)
                most.append(len(at_work))
            time.sleep(0.005)
            with guard:
                at_work.remove(number % 8)

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(make, range(64)))
    assert max(most) == 3


def test_who_may_not_wait_is_turned_away_at_once(store):
    first = Turns(store.directory, 1, 0, 600)
    with first.thumbnail(NAME):
        started = time.monotonic()
        with pytest.raises(Busy), Turns(store.directory, 1, 0, 600).thumbnail(NAME):
            pass
        assert time.monotonic() - started < 60
    with first.thumbnail(NAME):
        pass


def test_wait_is_bounded_in_total(store):
    turns = Turns(store.directory, 1, 5, 0.05)
    other = Turns(store.directory, 1, 5, 1)
    with other.thumbnail(NAME), other.maker():
        for taken in (turns.thumbnail(NAME), turns.maker()):
            with pytest.raises(locks.LockTimeout), taken:
                pass


def test_lock_is_waited_for_though_the_machine_stands_still(tmp_path, monkeypatch):
    path, now = str(tmp_path / "lock"), [0.0]
    held = [locks.acquire(path)]

    def stand_still(seconds):
        now[0] += 10
        if now[0] == 30:
            os.close(held.pop())

    clock = types.SimpleNamespace(monotonic=lambda: now[0], sleep=stand_still)
    monkeypatch.setattr(locks, "time", clock)
    with locks.held(path, 0, 5), pytest.raises(locks.LockTimeout):
        locks.acquire(path, 0, 5)


class Counted:
    """A range of numbers that counts how many of them were asked for."""

    def __init__(self, numbers):
        self.numbers, self.taken = numbers, 0

    def __len__(self):
        return len(self.numbers)

    def __contains__(self, number):
        return number in self.numbers

    def __iter__(self):
        for number in self.numbers:
            self.taken += 1
            yield number


def test_no_more_bytes_of_a_long_queue_are_looked_at_than_are_taken(tmp_path):
    """Each request that waits takes the first free one of some ten thousand."""
    queue = Counted(range(1 << 40, (1 << 40) + 50_000))
    path = str(tmp_path / "queue")
    with contextlib.ExitStack() as stack:
        for number in range(3):
            fd, offset = locks.acquire_one(path, queue, 0)
            stack.callback(os.close, fd)
            assert offset == (1 << 40) + number
    assert queue.taken == 1 + 2 + 3


@pytest.mark.slow
def test_one_more_than_may_wait_waits_if_its_turn_comes_soon(store):
    def thumbnail(soon):
        return Turns(store.directory, 1, 0, 30, soon).thumbnail(NAME)

    pace = Pace(store.directory)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with thumbnail(0):
            with pytest.raises(Busy, match="0 requests wait already"), thumbnail(0):
                pass
            asking = pool.submit(contextlib.ExitStack().enter_context, thumbnail(20))
            with pytest.raises(TimeoutError):
                asking.result(0.1)
        assert asking.result() is None
    # what has not come in time is no longer expected soon
    with Turns(store.directory, 1, 0, 30).thumbnail("200x200/2.jpg"):
        slow = Turns(store.directory, 1, 0, 30, 0.2)
        with pytest.raises(locks.LockTimeout), slow.thumbnail("200x200/2.jpg"):
            pass
        assert pace.seconds() >= 0.2
        with pytest.raises(Busy), Turns(store.directory, 1, 0, 30, 0.1).thumbnail("200x200/2.jpg"):
            pass


def test_pace_follows_what_thumbnails_take_and_survives_what_it_finds(store):
    state_directory.ensure(store.directory)
    pace = Pace(store.directory)
    usual = pace.seconds()
    for _ in range(20):
        pace.note(2.0)
    assert 1.9 < pace.seconds() <= 2.0
    pace.note(0.0)
    assert pace.seconds() < 1.5
    for torn in (b"", b"123", struct.pack("=d", float("nan")), struct.pack("=d", -1.0)):
        with open(state_directory.path(store.directory, "pace"), "wb") as file:
            file.write(torn)
        assert pace.seconds() == usual


@pytest.mark.slow
def test_makers_follow_in_the_order_of_asking(store, monkeypatch):
    """Each is woken: nobody has to look again."""
    monkeypatch.setattr(turns_module, "_LOOK_AGAIN", 600)
    os.makedirs(store.directory)
    order, about_to_sleep = [], queue.SimpleQueue()
    sleeping = wakeup.sleeping

    @contextlib.contextmanager
    def noted(path):
        with sleeping(path) as sleep:

            def sleep_noted(seconds):
                about_to_sleep.put(threading.get_native_id())
                sleep(seconds)

            yield sleep_noted

    monkeypatch.setattr(wakeup, "sleeping", noted)

    def make(number):
        with Turns(store.directory, 1, None, 60).maker():
            order.append(number)

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        with Turns(store.directory, 1, None, 60).maker():
            waiting = []
            for number in range(12):
                waiting.append(pool.submit(make, number))
                path = f"/proc/self/task/{about_to_sleep.get()}/syscall"
                until(lambda path=path: pathlib.Path(path).read_text().split()[0] in EPOLL)
        for future in waiting:
            future.result(timeout=90)
    assert order == list(range(12))


@pytest.mark.slow
def test_one_that_waits_takes_the_turn_of_a_killed_process(store):
    code = (
        "import time\nfrom handlers.cache.turns import Turns\n"
        f"with Turns({store.directory!r}, 1, 5, 1).maker():\n    print(1, flush=True)\n"
        "    time.sleep(60)\n"
    )
    os.makedirs(store.directory)
    checkout = os.path.dirname(os.path.dirname(__file__))
    with subprocess.Popen([sys.executable, "-c", code], cwd=checkout, stdout=subprocess.PIPE) as it:
        it.stdout.read(1)
        threading.Timer(0.2, it.kill).start()
        with Turns(store.directory, 1, 5, 30).maker():
            assert it.wait() == -signal.SIGKILL


def test_turns_of_a_killed_process_are_free(store):
    code = (
        "import os, sys, time\nfrom handlers.cache.turns import Turns\n"
        f"turns = Turns({store.directory!r}, 1, 5, 1)\n"
        f"with turns.thumbnail({NAME!r}), turns.maker():\n    print(1, flush=True)\n"
        "    time.sleep(60)\n"
    )
    checkout = os.path.dirname(os.path.dirname(__file__))
    with subprocess.Popen([sys.executable, "-c", code], cwd=checkout, stdout=subprocess.PIPE) as it:
        it.stdout.read(1)
        turns = Turns(store.directory, 1, 0, 0)
        with pytest.raises(Busy), turns.thumbnail(NAME):
            pass
        it.kill()
        it.wait()
        with turns.thumbnail(NAME), turns.maker():
            pass


class Final(Exception):
    pass


class Died(Exception):
    pass


class TooLarge(Final):
    pass


KINDS = Kinds(TooLarge, Final, Died)
ID = "12345"


def record(store):
    path = store.part("failures", ID)
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def test_success_leaves_no_mark(store):
    failures = Failures(store.directory, 60, 3)
    with failures.attempt(ID, NAME, "v1", KINDS):
        assert record(store)[:2] == ["v1", 1]
    assert record(store) is None
    failures.check(ID, NAME, "v1")


def test_final_failure_is_believed_for_a_jittered_while(store):
    ends, started = set(), time.time()
    for _ in range(8):
        failures = Failures(store.directory, 60, 3)
        with pytest.raises(Final), failures.attempt(ID, NAME, "v1", KINDS):
            raise Final("no good")
        ends.add(round(record(store)[2] - started))
        with pytest.raises(FailedBefore, match="no good"):
            Failures(store.directory, 60, 3).check(ID, NAME, "v1")
    took = time.time() - started
    assert min(ends) >= 60 and max(ends) <= 76 + took and len(ends) > 1
    Failures(store.directory, 60, 3).check(ID, NAME, "v2")


def test_death_counts_until_it_is_believed(store, caplog):
    failures = Failures(store.directory, 60, 2)
    for _ in range(2):
        failures.check(ID, NAME, "v1")
        with pytest.raises(Died), failures.attempt(ID, NAME, "v1", KINDS):
            raise Died("died")
    with pytest.raises(FailedBefore, match="died"):
        failures.check(ID, NAME, "v1")
    assert "given up after 2 attempts" in caplog.text


def test_what_is_not_the_sources_fault_does_not_count(store):
    failures = Failures(store.directory, 60, 2)
    with pytest.raises(OSError, match="no space"), failures.attempt(ID, NAME, "v1", KINDS):
        raise OSError("no space")
    assert record(store) is None
    with pytest.raises(Died), failures.attempt(ID, NAME, "v1", KINDS):
        raise Died("died")
    for _ in range(5):
        failures.check(ID, NAME, "v1")
        with pytest.raises(OSError, match="no space"), failures.attempt(ID, NAME, "v1", KINDS):
            raise OSError("no space")
    assert record(store)[:2] == ["v1", 1]


def test_verdict_holds_for_every_thumbnail_of_the_source(store):
    failures = Failures(store.directory, 60, 3)
    with pytest.raises(Final), failures.attempt(ID, NAME, "v1", KINDS):
        raise Final("no good")
    with pytest.raises(FailedBefore, match="no good"):
        failures.check(ID, "800x800/12345.avif", "v1")


def test_source_too_large_for_one_thumbnail_is_tried_for_another(store):
    failures = Failures(store.directory, 60, 3)
    with pytest.raises(TooLarge), failures.attempt(ID, NAME, "v1", KINDS):
        raise TooLarge("memory")
    assert record(store) is None
    with pytest.raises(FailedBefore, match="memory"):
        failures.check(ID, NAME, "v1")
    failures.check(ID, "100x100/12345.jpg", "v1")


def test_torn_record_is_no_record(store):
    failures = Failures(store.directory, 60, 2)
    with pytest.raises(Final), failures.attempt(ID, NAME, "v1", KINDS):
        raise Final
    path = store.part("failures", ID)
    for text in ("", "[", "{}", "[1,2,3,4,5,6]", "null"):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        failures.check(ID, NAME, "v1")
