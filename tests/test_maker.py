"""Makers: what they answer, what bounds them, when they go, and what they cannot do."""

import concurrent.futures
import contextlib
import errno
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile

import pytest
from PIL import Image

from handlers import faults, making, state_directory, worker
from handlers.cache.pace import Pace
from handlers.cache.store import Store
from handlers.cache.turns import Turns
from handlers.image import libraries, strips
from handlers.image.geometry import parse
from handlers.image.limits import Limits
from handlers.image.thumbnail import make
from handlers.lookup import Row
from handlers.maker import client, confinement, roll, wire
from handlers.maker.job import Job, run, unpacked
from tests.servers.httpd import at_work_on, makers_of
from tests.support import nothing_left, until

# a maker gets the CPU time that a busy machine leaves
BOUNDS = worker.Bounds(300, 20, 400 << 20)
LIMITS = Limits(memory=300 << 20, formats=("JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF"))


def job(size="40x30-crop", ext="jpg", animated=False, wants_copy=False):
    return Job(size, ext, (0.3, 0.6), LIMITS, None, animated, wants_copy)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sources")
    picture = Image.effect_noise((640, 480), 60).convert("RGB")
    picture.save(directory / "plain.jpg")
    picture.convert("CMYK").save(directory / "cmyk.jpg")
    picture.convert("RGBA").save(directory / "rgba.png")
    picture.quantize().save(directory / "palette.png")
    picture.convert("I;16").save(directory / "deep.png")
    picture.save(directory / "plain.webp")
    picture.save(directory / "plain.avif")
    picture.save(directory / "plain.tif", compression="tiff_lzw")
    frames = [picture.resize((90, 60)).rotate(angle).quantize() for angle in (0, 90)]
    frames[0].save(directory / "film.gif", save_all=True, append_images=frames[1:])
    Image.effect_noise((5000, 3600), 60).save(directory / "large.jpg", quality=90)
    Image.new("RGB", (4000, 2900)).save(directory / "progressive.jpg", progressive=True)
    Image.new("L", (7000, 7000)).save(directory / "wide.png")
    (directory / "text.jpg").write_text("this is no picture")
    return directory


def ask(cache, path, wanted=None, bounds=BOUNDS, slot=0):
    with open(path, "rb") as file:
        return client.ask(cache, slot, wanted or job(), [file.fileno()], bounds)


def pid_of(cache):
    (pid,) = makers_of(cache)
    return pid


def test_job_survives_its_way_through_json():
    for wanted in (job(), job()._replace(focus=None, quality=70)):
        assert unpacked(json.loads(json.dumps(wanted.packed()))) == wanted


def test_maker_answers_as_this_process_would_for_every_format(cache, sources):
    """It has all that Pillow loads late before it is shut in."""
    for path in sorted(set(sources.iterdir()) - {sources / "wide.png", sources / "large.jpg"}):
        for ext in ("jpg", "webp", *(("png", "avif") if path.stem == "plain" else ())):
            wanted = job("200x200", ext, animated=True, wants_copy=ext == "jpg")
            done = ask(cache, path, wanted)
            answer, data = run([os.open(path, os.O_RDONLY)], wanted)
            assert (done.answer, done.data) == (answer, data), path
            if answer.get("error") is None:
                assert done.cpu_seconds > 0 and done.peak_bytes > 10 << 20
    assert len(makers_of(cache)) == 1


def test_copy_is_used(cache, sources):
    with open(sources / "large.jpg", "rb") as file, open(sources / "plain.jpg", "rb") as copy:
        done = client.ask(cache, 0, job(), [file.fileno(), copy.fileno()], BOUNDS)
    assert done.answer["source"] == "5000x3600 JPEG (its copy)"


def test_one_maker_stays_for_many_jobs_and_is_shut_in_and_the_least_urgent(cache, sources):
    ask(cache, sources / "plain.jpg")
    pid = pid_of(cache)
    for _ in range(5):
        ask(cache, sources / "plain.jpg")
    assert makers_of(cache) == [pid]
    status = pathlib.Path(f"/proc/{pid}/status").read_text().split("\n")
    told = dict(line.split(":\t", 1) for line in status if ":\t" in line)
    assert told["Name"] == "thumbnail-maker"
    assert told["NoNewPrivs"] == "1"
    assert told["Threads"] == "1"
    assert told["Seccomp"] == "2"
    assert os.sched_getscheduler(pid) == os.SCHED_IDLE
    # the standard three, the pidfd, the socket, and what it measures itself by
    until(lambda: len(os.listdir(f"/proc/{pid}/fd")) == 7)
    links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    assert {link for link in links if link.startswith("/proc")} == {
        f"/proc/{pid}/statm",
        f"/proc/{pid}/clear_refs",
    }


def test_nothing_is_left_in_the_caller(cache, sources):
    with nothing_left():
        for path in ("plain.jpg", "plain.jpg", "text.jpg"):
            ask(cache, sources / path)
        with pytest.raises(worker.WorkerDied):
            ask(cache, sources / "large.jpg", bounds=BOUNDS._replace(cpu_seconds=0.01))


def test_start_of_a_maker_is_not_what_those_who_wait_expect(cache, sources, monkeypatch):
    """Many would be sent away after it, though the maker stays and the next ones take no start."""
    assert ask(cache, sources / "plain.jpg").starting_seconds > 0
    assert ask(cache, sources / "plain.jpg").starting_seconds == 0
    make_once, usual = client.make, Pace(cache).seconds()
    # as if it had taken as long as the whole turn
    late = {"starting_seconds": 3600.0}
    monkeypatch.setattr(client, "make", lambda *given: make_once(*given)._replace(**late))
    how = making.Recipe(str(sources), LIMITS, {}, False, 20, 3600, 3)
    asked, row = making.Asked("9x9", "1", "jpg"), Row("plain.jpg", False, None, None)
    assert making.make(Store(cache), asked, row, how, Turns(cache, 1, 1, 60))
    assert 0 < Pace(cache).seconds() < usual


def test_each_turn_has_a_maker_of_its_own(cache, sources):
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask, cache, sources / "plain.jpg", slot=slot) for slot in range(3)]
        assert len({future.result().data for future in asking}) == 1
    assert len(makers_of(cache)) == 3


def test_idle_maker_goes_and_the_next_one_is_started(cache, sources, monkeypatch):
    monkeypatch.setattr(client, "IDLE", 0.2)
    ask(cache, sources / "plain.jpg")
    until(lambda: not makers_of(cache))
    monkeypatch.setattr(client, "IDLE", 600.0)
    ask(cache, sources / "plain.jpg")
    assert len(makers_of(cache)) == 1


CHILD = """
import os, sys, time
from handlers import worker
from handlers.image.limits import Limits
from handlers.maker import client
from handlers.maker.job import Job
cache, path, times = sys.argv[1:4]
bounds = worker.Bounds(300, 20, 400 << 20)
client.IDLE = 600.0
if os.fork() == 0:
    with open(path, "rb") as file:
        job = Job("9x9", "jpg", None, Limits(), 80, False, False)
        for _ in range(int(times)):
            client.ask(cache, 0, job, [file.fileno()], bounds)
    print(os.getpid(), flush=True)
    time.sleep(300)
else:
    time.sleep(300)
"""


def started(cache, path, times=1):
    checkout = pathlib.Path(__file__).parent.parent
    command = [sys.executable, "-c", CHILD, cache, path, str(times)]
    return subprocess.Popen(command, cwd=checkout, stdout=subprocess.PIPE, text=True)


def test_maker_goes_with_the_parent_of_its_children_and_not_with_one_of_them(cache, sources):
    with started(cache, sources / "plain.jpg") as server:
        child = int(server.stdout.readline())
        pid = pid_of(cache)
        os.kill(child, signal.SIGKILL)
        ask(cache, sources / "plain.jpg")
        assert makers_of(cache) == [pid]
        server.kill()
    until(lambda: not makers_of(cache))


def test_job_of_a_caller_that_has_died_is_given_up(cache, sources, monkeypatch):
    # should it be between two jobs when its caller dies
    monkeypatch.setattr(client, "IDLE", 20.0)
    ask(cache, sources / "plain.jpg")
    pid = pid_of(cache)
    with started(cache, sources / "large.jpg", times=100_000) as server:
        until(lambda: at_work_on([pid], sources / "large.jpg"))
        children = pathlib.Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text()
        os.kill(int(children), signal.SIGKILL)
        until(lambda: not makers_of(cache))
        server.kill()
    assert ask(cache, sources / "plain.jpg").answer["bytes"]


@pytest.mark.parametrize(
    ("bounds", "error", "said"),
    [
        ({"cpu_seconds": 0.02}, worker.WorkerDied, r"over 0\.02 s of CPU time"),
        ({"seconds": 0.02}, worker.WorkerTimeout, r"not finished within 0\.02 s"),
        ({"memory": 1 << 20}, worker.WorkerDied, "over 1048576 bytes of memory"),
    ],
)
def test_job_over_its_bounds_is_ended_and_the_next_one_is_done(cache, sources, bounds, error, said):
    ask(cache, sources / "plain.jpg")
    pid = pid_of(cache)
    source = "wide.png" if "memory" in bounds else "large.jpg"
    with pytest.raises(error, match=said):
        ask(cache, sources / source, job("1500x1500"), BOUNDS._replace(**bounds))
    until(lambda: pid not in makers_of(cache))
    assert ask(cache, sources / "plain.jpg").answer["bytes"]


def test_bounds_are_those_of_one_job(cache, sources):
    """CPU time, memory and peak do not add up from job to job."""
    once = ask(cache, sources / "large.jpg").cpu_seconds
    bounds = BOUNDS._replace(cpu_seconds=max(4 * once, 0.5))
    for _ in range(8):
        done = ask(cache, sources / "large.jpg", bounds=bounds)
        assert done.cpu_seconds < bounds.cpu_seconds
    peak = ask(cache, sources / "progressive.jpg").peak_bytes
    assert ask(cache, sources / "plain.jpg").peak_bytes < peak - (30 << 20)


def test_large_png_is_decoded_in_strips_and_by_no_other_thread(cache, sources):
    """Behind the walls, where libvips can load nothing and start nothing any more."""
    before = ask(cache, sources / "plain.jpg").peak_bytes
    done = ask(cache, sources / "wide.png")
    with open(sources / "wide.png", "rb") as file:
        whole = make(file, parse("40x30-crop"), "jpg", focus=(0.3, 0.6), limits=LIMITS)
    assert done.data == whole.data
    # Pillow holds 49 MB of it
    assert done.peak_bytes - before < 20 << 20
    status = pathlib.Path(f"/proc/{pid_of(cache)}/status").read_text()
    assert "\nThreads:\t1\n" in status


def test_maker_says_what_it_works_with(cache, sources, monkeypatch):
    assert roll.libraries(cache) == []
    ask(cache, sources / "plain.jpg")
    used = ["cykooz.resizer for scaling", "libvips for large PNG files"]
    assert roll.libraries(cache)[1:] == used
    assert roll.libraries(cache)[0].startswith("Pillow 1")
    # this process has not loaded it
    monkeypatch.setattr(strips, "_vips", None)
    assert libraries.used()[-1] == "not libvips, which is installed, but cannot be loaded"
    assert worker.call(libraries.told, BOUNDS).answer["libraries"] == roll.libraries(cache)


def test_maker_that_has_kept_much_memory_goes_after_its_answer(cache, sources, monkeypatch):
    monkeypatch.setattr(client, "IDLE", 600.0)
    monkeypatch.setattr(client, "MOST_KEPT", -1 << 30)
    assert ask(cache, sources / "plain.jpg").answer["bytes"]
    until(lambda: not makers_of(cache))


def test_killed_maker_is_one_failure(cache, sources):
    ask(cache, sources / "plain.jpg")

    def ask_until_it_fails():
        while True:
            ask(cache, sources / "large.jpg")

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask_until_it_fails)
        while not asking.done():
            # it may have answered when the signal comes
            for pid in at_work_on(makers_of(cache), sources / "large.jpg"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        with pytest.raises(worker.WorkerDied, match="its maker was killed, or has crashed"):
            asking.result()
    assert ask(cache, sources / "plain.jpg").answer["bytes"]


def test_maker_killed_between_two_jobs_is_none(cache, sources):
    for _ in range(3):
        assert ask(cache, sources / "plain.jpg").answer["bytes"]
        os.kill(pid_of(cache), signal.SIGKILL)


def stopped(cache):
    """Stop the maker, and return its pid: the least urgent of all, it may need a while for that."""
    pid = pid_of(cache)
    os.kill(pid, signal.SIGSTOP)
    until(lambda: client._is_stopped(pid))
    return pid


def test_maker_that_is_stopped_is_replaced_at_once(cache, sources, monkeypatch):
    ask(cache, sources / "plain.jpg")
    pid = stopped(cache)
    monkeypatch.setattr(client, "_PROMPT", 0.1)
    # a child that waits for the stopped one would wait for an hour
    assert ask(cache, sources / "plain.jpg", bounds=BOUNDS._replace(seconds=3600)).answer["bytes"]
    # the least urgent of all, it needs CPU time to end
    until(lambda: pid not in makers_of(cache))


def test_maker_that_does_not_answer_is_replaced(cache, sources, monkeypatch):
    connected = client._connected
    ask(cache, sources / "plain.jpg")
    pid = stopped(cache)
    monkeypatch.setattr(client, "_is_stopped", lambda pid: False)
    monkeypatch.setattr(client, "_connected", lambda *given: connected(*given[:2], 0.2))
    assert ask(cache, sources / "plain.jpg").answer["bytes"]
    # the least urgent of all, it needs CPU time to end
    until(lambda: pid not in makers_of(cache))


def test_maker_of_another_container_is_replaced_and_nobody_killed(cache, sources, monkeypatch):
    """Two containers may share a cache, and have process ids of their own (pid_namespaces(7))."""
    connected, killed = client._connected, []
    ask(cache, sources / "plain.jpg")
    pid = stopped(cache)
    with monkeypatch.context() as patch:
        patch.setattr(client, "_connected", lambda *given: connected(*given[:2], 0.2))
        patch.setattr(wire, "peer_of", lambda connection: (0, os.geteuid()))
        patch.setattr(os, "kill", lambda *given: killed.append(given))
        assert ask(cache, sources / "plain.jpg").answer["bytes"]
    assert killed == [] and pid in makers_of(cache)


def test_maker_of_another_build_goes_and_the_work_is_done(cache, sources, monkeypatch, caplog):
    """After an upgrade without a restart: this process is of the old one, and makers of the new."""
    ask(cache, sources / "plain.jpg")
    monkeypatch.setattr(wire, "BUILD", "another")
    monkeypatch.setattr(client, "_STARTS", 1)
    for _ in range(2):
        with open(sources / "plain.jpg", "rb") as file:
            done = client.make(cache, 0, job(), [file.fileno()], BOUNDS)
        assert done.answer["bytes"]
    until(lambda: not makers_of(cache))
    (said,) = caplog.messages
    assert said.startswith("no maker can be started, each thumbnail takes a process: ")


def test_process_is_forked_where_no_maker_can_be_started(
    cache, sources, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(worker, "_python", lambda: f"{tmp_path}/bin/python3")
    with open(sources / "plain.jpg", "rb") as file:
        done = client.make(cache, 0, job(), [file.fileno()], BOUNDS)
    assert (done.answer, done.data) == run([os.open(sources / "plain.jpg", 0)], job())
    assert len(caplog.messages) == 1 and not makers_of(cache)


def test_maker_that_cannot_listen_does_one_job(cache, sources):
    """On a disk that is full, say."""
    pathlib.Path(state_directory.path(cache, wire.socket_name(0))).mkdir()
    for _ in range(2):
        assert ask(cache, sources / "plain.jpg").answer["bytes"]
    until(lambda: not makers_of(cache))


def test_cache_may_have_a_long_path(sources):
    with tempfile.TemporaryDirectory() as directory:
        cache = os.path.join(directory, "x" * 120)
        state_directory.ensure(cache)
        for _ in range(2):
            ask(cache, sources / "plain.jpg")
        os.kill(pid_of(cache), signal.SIGKILL)


def test_only_its_user_can_reach_it(cache, sources):
    ask(cache, sources / "plain.jpg")
    path = pathlib.Path(state_directory.path(cache, wire.socket_name(0)))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


ATTEMPTS = """
import ctypes, fcntl, json, os, signal, socket, sys
from handlers.maker import confinement
address = json.loads(sys.argv[1])
inherited = os.open("/etc/hostname", os.O_RDONLY)
missing = confinement.confine()
def tried(attempt):
    try:
        attempt()
    except OSError as error:
        return error.errno
    return 0
answers = {
    "open": tried(lambda: os.open("/etc/passwd", os.O_RDONLY)),
    "write": tried(lambda: os.open("/tmp/x", os.O_WRONLY | os.O_CREAT)),
    "list": tried(lambda: os.listdir("/")),
    "connect": tried(lambda: socket.create_connection(address, 5)),
    "listen": tried(lambda: socket.create_server(("127.0.0.1", 0))),
    "execute": tried(lambda: os.execv("/bin/true", ["true"])),
    "fork": tried(os.fork),
    "kill": tried(lambda: os.kill(os.getppid(), 0)),
    "have killed": tried(lambda: fcntl.fcntl(inherited, fcntl.F_SETOWN, os.getppid())),
    "remove": tried(lambda: os.unlink(sys.argv[2])),
    "read what is open": tried(lambda: os.read(inherited, 1)),
}
os.write(1, json.dumps([missing, answers]).encode())
"""


def attempted(code, path):
    """Run *code* in a process of its own, beside a server; return what it prints as JSON."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = subprocess.run(
            [sys.executable, "-c", code, json.dumps(server.getsockname()), path],
            cwd=pathlib.Path(__file__).parent.parent,
            capture_output=True,
            check=True,
        )
    return json.loads(done.stdout)


def test_process_that_is_shut_in_opens_connects_and_executes_nothing(tmp_path):
    (tmp_path / "file").write_text("x")
    missing, answers = attempted(ATTEMPTS, tmp_path / "file")
    assert "seccomp" not in missing
    assert answers.pop("read what is open") == 0
    assert answers == dict.fromkeys(answers, errno.EPERM)


def test_landlock_alone_takes_files_and_ports_away(tmp_path):
    """It stands behind the filter, should that let something through."""
    version = confinement._libc.syscall(444, None, 0, 1)
    code = ATTEMPTS.replace("confinement.confine()", "confinement._restrict_files()")
    code = code.replace("missing =", "confinement._libc.prctl(38, 1, 0, 0, 0); missing =")
    code = code.replace('"fork": tried(os.fork),', "")
    _, answers = attempted(code, tmp_path / "file")
    files, ports = ("open", "write", "list", "execute"), ("connect", "listen")
    expected = dict.fromkeys(files, errno.EACCES if version >= 1 else 0)
    expected |= dict.fromkeys(ports, errno.EACCES if version >= 4 else 0)
    assert {name: answers[name] for name in expected} == expected


def test_kernel_without_the_walls_is_one_info_line(caplog, monkeypatch):
    caplog.set_level("INFO")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for _ in range(2):
            wire.send(theirs, {"build": wire.BUILD, "missing": ["Landlock"]})
            assert client._greeted(ours, 1)
    assert caplog.messages == [
        "makers are not shut in by Landlock, which this kernel or machine has not"
    ]
    assert [record.levelname for record in caplog.records] == ["INFO"]
    faults.over("confinement")
