"""Workers: one of all processes is elected, and ends at once when it is told to."""

import contextlib
import dataclasses
import logging
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from handlers import locks
from handlers.elected import Worker, read_state, write_state
from tests.forked import forked
from tests.support import until


@dataclasses.dataclass
class State:
    name: str = ""
    count: int = 0
    seconds: float = 0.0
    done: bool = False
    by_hour: dict = dataclasses.field(default_factory=dict)
    mark: object = None


@pytest.fixture
def lock(tmp_path):
    return str(tmp_path / "lock")


@pytest.fixture
def start(lock):
    """A function that starts a worker, elected by *lock*; it is stopped afterwards."""
    workers = []

    def start_one(work, elect=lambda: locks.held(lock, 0, 0), **options):
        worker = Worker("counting", elect, work, **{"every": 0.01, "after_fault": 0.01, **options})
        workers.append(worker)
        worker.start()
        return worker

    yield start_one
    for worker in workers:
        worker.stop(10)


def test_one_at_a_time_works_and_the_next_goes_on_when_it_stops(start):
    working = []

    def work(fd, worker):
        working.append(worker)
        os.fstat(fd)
        while worker.rest(0.01):
            pass
        working.remove(worker)

    workers = [start(work) for _ in range(4)]
    while workers:
        until(lambda: working)
        assert len(working) == 1
        workers.remove(working[0])
        working[0].stop(10)


def test_process_that_an_application_forks_is_not_elected_with_its_parent(lock):
    """It may outlive the parent, and no other process would ever be elected."""
    with locks.held(lock, 0, 0):
        pid = os.fork()
        if pid == 0:
            signal.pause()
            os._exit(0)
    try:
        # it has a moment to give up what it came with
        with locks.held(lock, 0, 30):
            pass
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_another_process_is_elected_when_the_working_one_is_killed(lock, tmp_path):
    def child():
        def work(_, worker):
            with open(tmp_path / "elected", "a") as file:
                file.write(f"{os.getpid()}\n")
            worker.rest(60)

        Worker("counting", lambda: locks.held(lock, 0, 0), work, every=0.05).start()
        time.sleep(60)

    def elected_ones():
        with contextlib.suppress(FileNotFoundError):
            return [int(line) for line in (tmp_path / "elected").read_text().split()]
        return []

    children = []
    try:
        for _ in range(3):
            pid = os.fork()
            if pid == 0:
                try:
                    child()
                finally:
                    os._exit(0)
            children.append(pid)
        for number in range(3):
            until(lambda number=number: len(elected_ones()) == number + 1)
            pid = elected_ones()[number]
            assert pid in children
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            children.remove(pid)
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def test_failing_work_is_logged_once_and_done_again(start, caplog):
    calls = []

    def work(fd, worker):
        calls.append(fd)
        raise RuntimeError("the disk is away")

    start(work)
    until(lambda: len(calls) > 5)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith("counting failed, and goes on in ")
    assert "RuntimeError: the disk is away" in record.getMessage()


def test_what_is_complained_of_is_not_logged_again(start, caplog):
    complaints = []

    def fail(*args):
        raise OSError("the disk is full")

    for options in ({"work": fail}, {"work": print, "elect": fail}, {"work": print, "look": fail}):
        before = len(complaints)
        worker = start(**options, complain=lambda error: complaints.append(str(error)) or True)
        until(lambda before=before: len(complaints) > before + 2)
        worker.stop(10)
    assert set(complaints) == {"the disk is full"} and not caplog.records


def test_nothing_due_is_no_election(start):
    looks, done = [], []
    start(lambda *args: done.append(args), elect=lambda: None, look=lambda: looks.append(1))
    until(lambda: len(looks) > 5)
    assert not done


def test_stop_interrupts_what_waits_for_others(start):
    answered = threading.Event()
    begun = threading.Event()

    def work(fd, worker):
        begun.set()
        answered.wait(60)

    worker = start(work, interrupt=answered.set)
    begun.wait(60)
    worker.stop(30)
    assert worker.stopped and answered.is_set() and not worker._thread.is_alive()


def test_forked_child_starts_a_thread_of_its_own(start):
    worker = start(lambda fd, worker: worker.rest(60))

    def names():
        worker.start()
        return sorted(thread.name for thread in threading.enumerate())

    assert forked([names]) == ["['MainThread', 'counting']"]
    worker.start()
    assert [t.name for t in threading.enumerate()].count("counting") == 1


@pytest.mark.slow
@pytest.mark.parametrize("busy", ["worker.rest(60)", "time.sleep(60)"])
def test_interpreter_ends_soon_whatever_its_workers_do(lock, busy):
    """Asleep between two steps, or in the midst of one that nothing interrupts."""
    code = (
        "import os, sys, time\n"
        "from handlers import elected, locks\n"
        f"def work(fd, worker):\n    os.write(1, b'working\\n')\n    {busy}\n"
        "for n in range(3):\n"
        f"    elected.Worker(f'w{{n}}', lambda n=n: locks.held({lock!r}, n, 0), work).start()\n"
        "sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        for _ in range(3):
            assert process.stdout.readline() == b"working\n"
        process.stdin.close()
        # far less than the sleep; the half second is for a machine that does nothing else
        assert process.wait(30) == 0


def test_state_comes_back_as_it_was_written(tmp_path):
    path = str(tmp_path / "state")
    assert read_state(path, State) is None
    long = State("a" * 5000, 3, 1.5, True, {"5": 6}, "2024-01-01")
    for state in (long, State("b", 0, 2, False, {}, None)):
        write_state(path, state)
        assert read_state(path, State) == state
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_writing_the_state_into_the_lock_keeps_the_lock(lock):
    with locks.held(lock, 0, 0):
        write_state(lock, State("x"))
        with pytest.raises(locks.LockTimeout):
            locks.acquire(lock, 0, 0)
    assert read_state(lock, State) == State("x")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}x",
        b"[]",
        b"17",
        b"null",
        b"\xff" * 30,
        b'{"unknown": 1}',
        b'{"count": "three"}',
        b'{"count": true}',
        b'{"done": 1}',
        b'{"seconds": null}',
        b'{"by_hour": []}',
        b"1 5 0 0 0.000 17.000",
    ],
)
def test_state_of_another_version_or_half_of_one_is_none(tmp_path, content):
    path = tmp_path / "state"
    path.write_bytes(content)
    assert read_state(str(path), State) is None
    write_state(str(path), State(count=1))
    assert read_state(str(path), State) == State(count=1)


def test_state_torn_at_any_byte_is_none_or_whole(tmp_path):
    path = tmp_path / "state"
    state = State("name", 12, 3.5, True, {"1": 2}, 5)
    write_state(str(path), state)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert read_state(str(path), State) in (None, state)
