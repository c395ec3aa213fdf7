"""The process for dangerous work: what it returns, what bounds it, and how its end is told."""

import contextlib
import errno
import functools
import os
import pathlib
import resource
import signal
import subprocess
import sys
import time

import pytest

from handlers import lookup, making, stop, thumbnail, worker
from handlers.cache.store import Store
from handlers.settings import Settings
from handlers.worker import Bounds, WorkerDied, WorkerTimeout, call
from tests import forked
from tests.support import nothing_left, until

MEGABYTE = 1 << 20
BOUNDS = Bounds(300, 5, 256 * MEGABYTE)


def test_answer_and_data_come_back():
    data = os.urandom(3 * MEGABYTE)
    done = call(lambda: ({"pid": os.getpid(), "text": "é\n"}, data), BOUNDS)
    assert done.answer["pid"] != os.getpid()
    assert (done.answer["text"], done.data) == ("é\n", data)
    assert done.cpu_seconds < 1 and done.peak_bytes > MEGABYTE


def test_it_is_the_least_urgent_and_leaves_no_core():
    def look():
        limits = resource.getrlimit(resource.RLIMIT_CORE)[0]
        return {"scheduler": os.sched_getscheduler(0), "core": limits}, b""

    assert call(look, BOUNDS).answer == {"scheduler": os.SCHED_IDLE, "core": 0}


def spin():
    while True:
        pass


@pytest.mark.slow
def test_cpu_time_is_bounded():
    # a busy machine leaves it little
    with pytest.raises(WorkerDied, match="over 1 s of CPU time"):
        call(spin, Bounds(600, 0.5, MEGABYTE * 256))


def test_time_by_the_clock_is_bounded():
    with pytest.raises(WorkerTimeout, match=r"within 0\.2 s"):
        call(spin, Bounds(0.2, 5, MEGABYTE * 256))


def test_memory_is_bounded():
    with pytest.raises(WorkerDied, match="bytes of memory"):
        call(lambda: ({}, bytes(500 * MEGABYTE)), BOUNDS)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGQUIT", "SIGTERM"])
def test_signal_is_told(name):
    def die():
        os.kill(os.getpid(), signal.Signals[name])
        time.sleep(60)

    with pytest.raises(WorkerDied, match=f"killed by {name}"):
        call(die, BOUNDS)


@pytest.mark.parametrize("name", ["SIGINT", "SIGQUIT", "SIGTERM", "SIGHUP"])
def test_signal_that_the_server_ignores_is_told(name):
    """A server that was started in the background, or by nohup, ignores some."""
    before = signal.signal(signal.Signals[name], signal.SIG_IGN)
    try:
        test_signal_is_told(name)
    finally:
        signal.signal(signal.Signals[name], before)


def test_stop_of_the_server_lets_the_work_for_a_request_end(monkeypatch):
    def live_on():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
        return {"lives": True}, b""

    with pytest.raises(WorkerDied):
        call(live_on, BOUNDS)
    monkeypatch.setattr(stop, "left_to_child", lambda: (signal.SIGTERM, signal.SIGHUP))
    assert call(live_on, BOUNDS).answer == {"lives": True}


def test_exception_comes_with_its_traceback():
    with pytest.raises(WorkerDied, match="ZeroDivisionError"):
        call(lambda: 1 / 0, BOUNDS)


def test_silent_end_is_told():
    with pytest.raises(WorkerDied, match="ended without an answer"):
        call(lambda: os._exit(0), BOUNDS)


def test_no_descriptor_and_no_process_is_left():
    with nothing_left():
        for work in (lambda: ({}, b""), lambda: 1 / 0):
            with contextlib.suppress(WorkerDied):
                call(work, BOUNDS)


def test_it_dies_with_its_caller():
    code = (
        "import os, time\nfrom handlers.worker import Bounds, call\n"
        "def work():\n    print(os.getpid(), flush=True)\n    time.sleep(60)\n"
        "call(work, Bounds(60, 5, 1 << 28))\n"
    )
    checkout = pathlib.Path(__file__).parent.parent
    with subprocess.Popen([sys.executable, "-c", code], cwd=checkout, stdout=subprocess.PIPE) as it:
        pid = int(it.stdout.readline())
        it.kill()

    def has_ended():
        try:
            status = pathlib.Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return True
        return status.rpartition(")")[2].split()[0] in "ZX"

    until(has_ended)


@pytest.mark.slow
def test_new_python_does_the_work_where_other_interpreters_are(tmp_path, monkeypatch):
    """A fork hangs there; the new process gets the descriptors, and the bounds hold."""
    monkeypatch.setattr(worker, "_is_one_of_several_interpreters", lambda: True)
    (tmp_path / "text").write_text("what it holds")
    with open(tmp_path / "text", "rb") as file:
        keep = [file.fileno()]
        done = call(functools.partial(forked.read, file.fileno()), BOUNDS, keep)
    assert done.answer["pid"] != os.getpid()
    assert done.data == b"what it holds"
    # and the pipe for the answer
    assert len(done.answer["open"]) == 5 and set(done.answer["open"]) > {0, 1, 2, *keep}
    assert done.answer["scheduler"] == os.SCHED_IDLE
    with pytest.raises(WorkerDied, match="over 1 s of CPU time"):
        call(forked.spin, Bounds(600, 0.5, MEGABYTE * 256))


@pytest.mark.parametrize("kind", ["no more processes", "no more files", "no Python", "no /proc"])
def test_process_that_cannot_be_started_is_503_and_named_as_it_is(
    kind, tmp_path, monkeypatch, caplog
):
    """Nothing of the cache or of the picture is to blame, so the log does not say so."""

    def refused(number):
        raise OSError(number, os.strerror(number))

    if kind == "no more processes":
        monkeypatch.setattr(os, "fork", lambda: refused(errno.EAGAIN))
    elif kind == "no more files":
        monkeypatch.setattr(os, "pipe", lambda: refused(errno.EMFILE))
    elif kind == "no /proc":
        monkeypatch.setattr(worker, "_STATM", f"{tmp_path}/self/statm")
    else:
        monkeypatch.setattr(worker, "_is_one_of_several_interpreters", lambda: True)
        monkeypatch.setattr(worker, "_python", lambda: f"{tmp_path}/bin/python3")
    with nothing_left(), pytest.raises(worker.NotStarted):
        call(forked.spin, BOUNDS)
    monkeypatch.setattr(making, "make", lambda *_: call(forked.spin, BOUNDS))
    asked, options = thumbnail.parse("200x200/1.jpg"), Settings({"images.root": str(tmp_path)})
    outcome, _ = thumbnail._made(Store(str(tmp_path)), asked, lookup.Row("1.jpg"), None, options)
    assert outcome == "failed"
    (said,) = caplog.messages
    assert said.startswith("no process can be started to make thumbnails: ")


def test_other_interpreters_are_seen():
    code = (
        "import _xxsubinterpreters, sys; from handlers import worker\n"
        "print(worker._is_one_of_several_interpreters())\n"
        "kept = _xxsubinterpreters.create(); print(worker._is_one_of_several_interpreters())"
    )
    if sys.version_info >= (3, 13):
        code = code.replace("_xxsubinterpreters", "_interpreters")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
