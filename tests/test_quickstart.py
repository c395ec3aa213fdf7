"""apache_conf/quickstart: what it serves, prints and leaves."""

import contextlib
import http.client
import io
import os
import pty
import select
import signal
import socket
import subprocess
import threading
import time

import pytest
from PIL import Image

from handlers.quickstart.pictures import id_of
from tests.conftest import SERVERS
from tests.servers.quickstart import failure

RED, BLUE = (200, 20, 20), (20, 20, 200)


def folder_of(directory, names, colour=RED):
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (400, 300), colour).save(path)
        # a source younger than two seconds gives its thumbnail a time of its own
        os.utime(path, (1.7e9, 1.7e9))
    return directory


def colour_of(body):
    pixel = Image.open(io.BytesIO(body)).resize((1, 1)).getpixel((0, 0))
    return RED if pixel[0] > pixel[2] else BLUE


@contextlib.contextmanager
def foreground(command, **how):
    """Run the script; yield the process and a function that reads up to a line with *text*."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **how)

    def lines_until(text):
        lines = []
        for line in process.stdout:
            lines.append(line)
            if text in line:
                return lines
        raise AssertionError(lines)

    try:
        yield process, lines_until
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=600)


@pytest.mark.parametrize("server", SERVERS)
def test_detach_prints_addresses_that_answer_and_stop_stops(quickstart, pictures, server):
    done = quickstart.start(pictures[0], "--server", server)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    addresses = [line.split()[-1] for line in lines if "http://" in line]
    assert len(addresses) == 2
    assert lines[-1] == f"Gallery:   http://127.0.0.1:{quickstart.port}/"
    for address in addresses:
        assert quickstart.get(address.split(str(quickstart.port))[1])[0] == 200
    for name in ("httpd.conf", "logs/error.log", "logs/access.log", "cache/thumbs"):
        assert (quickstart.work / name).exists()
    assert quickstart.run("--stop").returncode == 0
    with pytest.raises(ConnectionRefusedError):
        quickstart.get("/")


def test_starts_without_a_network(quickstart, pictures):
    """In a namespace that has the loopback interface and nothing else: nothing is installed."""
    command = quickstart.command(pictures[0], "--detach", "--port", quickstart.port)
    done = quickstart.execute(
        ["unshare", "-n", "sh", "-c", 'ip link set lo up; "$@"', "", *command]
    )
    assert done.returncode == 0, done.stderr


def test_second_folder_shows_nothing_of_the_first(quickstart, public_dir):
    first = folder_of(public_dir / "first", ["old.jpg", "both.jpg"], RED)
    second = folder_of(public_dir / "second", ["new.jpg", "both.jpg"], BLUE)
    assert quickstart.start(first).returncode == 0
    assert colour_of(quickstart.get("/thumbs/200x200/both.jpg")[1]) == RED
    assert quickstart.get("/thumbs/200x200/old.jpg")[0] == 200
    quickstart.run("--stop")
    assert quickstart.start(second).returncode == 0
    for _ in range(6):  # whichever child answers
        gallery = quickstart.get("/")[1].decode()
        assert [f'id="p-{id}"' in gallery for id in ("new", "both", "old")] == [True, True, False]
        assert quickstart.get("/thumbs/200x200/old.jpg")[0] == 404
    assert colour_of(quickstart.get("/thumbs/200x200/both.jpg")[1]) == BLUE


def test_removed_and_hidden_pictures_are_gone_at_the_next_start(quickstart, public_dir):
    root = folder_of(public_dir / "root", ["kept.jpg", "removed.jpg", "hidden.jpg"])
    assert quickstart.start(root).returncode == 0
    for name in ("kept", "removed", "hidden"):
        assert quickstart.get(f"/thumbs/200x200/{name}.jpg")[0] == 200
    quickstart.run("--stop")
    (root / "removed.jpg").unlink()
    (root / "private").mkdir()
    (root / "hidden.jpg").rename(root / "private" / "hidden.jpg")
    assert quickstart.start(root).returncode == 0
    assert quickstart.get("/thumbs/200x200/kept.jpg")[0] == 200
    for name in ("removed", "hidden", "private-hidden"):
        assert quickstart.get(f"/thumbs/200x200/{name}.jpg")[0] == 404


@pytest.mark.parametrize("connections", [6, 20])
def test_browser_with_many_connections_leaves_the_log_quiet(quickstart, pictures, connections):
    done = quickstart.run(pictures[0], "--detach", "--port", quickstart.port)
    assert done.returncode == 0, done.stderr
    barrier, statuses = threading.Barrier(connections), []

    def browse(number):
        connection = http.client.HTTPConnection("127.0.0.1", quickstart.port, timeout=120)
        connection.connect()
        barrier.wait()
        for path in ("/", f"/thumbs/200x200/sub-p{number:03d}.jpg", f"/images/sub-p{number:03d}"):
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
            except (http.client.RemoteDisconnected, ConnectionError):
                # it was idle for a second; a browser does the same
                connection.close()
                connection.request("GET", path)
                answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
        connection.close()

    browsers = [threading.Thread(target=browse, args=(n,)) for n in range(connections)]
    for browser in browsers:
        browser.start()
    for browser in browsers:
        browser.join()
    assert statuses == [200] * 3 * connections
    assert quickstart.complaints() == []


def test_four_slow_clients_hold_up_nobody_and_are_cut_off(quickstart, pictures):
    assert quickstart.start(pictures[0]).returncode == 0

    def is_answered_beside_them():
        with contextlib.ExitStack() as stack:
            slow = []
            for _ in range(4):
                address = "127.0.0.1", quickstart.port
                client = stack.enter_context(socket.create_connection(address))
                client.sendall(b"GET / HTTP/1.1\r\nHost: ")
                slow.append(client)
            assert quickstart.get("/")[0] == 200
            # which is to be before any of them was cut off
            ended = select.select(slow, [], [], 0)[0]
            for client in slow:
                client.settimeout(90)
                assert client.recv(100).startswith(b"HTTP/1.1 408")
        return not ended

    # a machine that stands still for ten seconds cuts them off first
    assert any(is_answered_beside_them() for _ in range(3))
    assert quickstart.complaints() == []


def test_trace_is_off(quickstart, pictures):
    assert quickstart.start(pictures[0]).returncode == 0
    assert quickstart.get("/", method="TRACE")[0] == 405


def test_listens_on_loopback_alone(quickstart, pictures):
    assert quickstart.start(pictures[0]).returncode == 0
    assert quickstart.get("/")[0] == 200
    with pytest.raises(ConnectionRefusedError):
        quickstart.get("/", host="127.0.0.2")


@pytest.mark.parametrize(
    ("listen", "host", "url"),
    [
        ("127.0.0.2", "127.0.0.2", "http://127.0.0.2:"),
        ("::1", "::1", "http://[::1]:"),
        ("[::1]", "::1", "http://[::1]:"),
        ("0.0.0.0", "127.0.0.2", "http://"),
        ("::", "::1", "http://"),
    ],
)
def test_listen_address_is_the_printed_one(quickstart, pictures, listen, host, url):
    done = quickstart.start(pictures[0], "--listen", listen)
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()[-1].split()[-1]
    assert printed.startswith(url) and printed.endswith(f":{quickstart.port}/")
    assert quickstart.get("/", host=host)[0] == 200
    printed_host = printed.removeprefix("http://").rpartition(":")[0].strip("[]")
    assert quickstart.get("/", host=printed_host)[0] == 200


def test_foreground_tails_the_logs_until_interrupted(quickstart, pictures):
    command = quickstart.command(pictures[0], "--port", quickstart.port)
    with foreground(command, start_new_session=True) as (process, lines_until):
        lines_until("Gallery:")
        quickstart.get("/thumbs/200x200/sub-p001.jpg")
        lines_until("GET /thumbs/200x200/sub-p001.jpg")
        os.kill(process.pid, signal.SIGINT)
        rest, _ = process.communicate(timeout=600)
    assert process.returncode == 0
    assert rest.endswith("Stopped.\n")
    with pytest.raises(ConnectionRefusedError):
        quickstart.get("/")


def test_foreground_shows_the_address_last_and_no_old_log(quickstart, pictures):
    quickstart.start(pictures[0])
    quickstart.get("/thumbs/200x200/of-the-first-run.jpg")
    quickstart.run("--stop")
    command = quickstart.command(pictures[0], "--port", quickstart.port)
    with foreground(command) as (_, lines_until):
        printed = lines_until("Gallery:")
        assert not [line for line in printed if line.startswith("[")]
        quickstart.get("/thumbs/200x200/of-the-second-run.jpg")
        shown = "".join(printed)
        # of two logs, which come in any order
        for text in ("GET /thumbs/200x200/of-the-second-run.jpg", "resuming normal operations"):
            if text not in shown:
                shown += "".join(lines_until(text))
    assert "of-the-first-run" not in shown
    # what httpd said at this start is there, once
    assert shown.count("resuming normal operations") == 1


def test_ctrl_c_in_a_terminal_stops_httpd(quickstart, pictures):
    pid, terminal = pty.fork()
    if pid == 0:
        command = quickstart.command(pictures[0], "--port", quickstart.port)
        os.execv(command[0], command)
    said = b""
    while b"Gallery:" not in said:
        said += os.read(terminal, 4096)
    os.write(terminal, b"\x03")
    with contextlib.suppress(OSError):  # Linux: EIO at the end
        while more := os.read(terminal, 4096):
            said += more
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert said.endswith(b"Stopped.\r\n")
    with pytest.raises(ConnectionRefusedError):
        quickstart.get("/")


def test_closed_terminal_stops_httpd(quickstart, pictures):
    command = quickstart.command(pictures[0], "--port", quickstart.port)
    with foreground(command) as (process, lines_until):
        lines_until("Gallery:")
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=600)
    with pytest.raises(ConnectionRefusedError):
        quickstart.get("/")


def ignored_as_by_nohup():
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def test_background_outlives_its_terminal_and_ends_by_stop(quickstart, pictures):
    command = quickstart.command(pictures[0], "--port", quickstart.port)
    with foreground(command, preexec_fn=ignored_as_by_nohup) as (process, lines_until):
        lines_until("Gallery:")
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            process.send_signal(number)
        assert quickstart.get("/")[0] == 200
        assert process.poll() is None
        assert quickstart.run("--stop").returncode == 0
        rest, _ = process.communicate(timeout=600)
    assert process.returncode == 0
    assert rest.endswith("Stopped.\n")


def test_death_of_httpd_is_told(quickstart, pictures):
    command = quickstart.command(pictures[0], "--port", quickstart.port)
    with foreground(command, stderr=subprocess.PIPE) as (process, lines_until):
        lines_until("Gallery:")
        pid = int((quickstart.work / "run" / "httpd.pid").read_text())
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            children = [int(child) for child in file.read().split()]
        for one in (pid, *children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        _, error = process.communicate(timeout=600)
    assert process.returncode == 1
    assert "ended by itself" in error
    (quickstart.work / "run" / "httpd.pid").unlink()


def test_work_directory_remembers_its_virtual_environment(quickstart, pictures):
    assert quickstart.start(pictures[0]).returncode == 0
    own = [quickstart.command()[0], "--work", str(quickstart.work)]
    status = quickstart.execute([*own, "--status"])
    assert status.returncode == 0
    assert status.stdout.splitlines()[-1] == f"Gallery:   http://127.0.0.1:{quickstart.port}/"
    again = [*own, str(pictures[0]), "--detach", "--port", str(quickstart.port)]
    assert "already running" in failure(quickstart.execute(again))
    assert quickstart.execute([*own, "--stop"]).returncode == 0
    assert "nothing runs" in failure(quickstart.execute([*own, "--status"]))
    assert quickstart.execute(again).returncode == 0
    assert not (quickstart.work / "venv").exists()


def test_already_running(quickstart, pictures):
    assert quickstart.start(pictures[0]).returncode == 0
    assert "already running" in failure(quickstart.start(pictures[0]))
    assert quickstart.get("/")[0] == 200


def test_two_starts_at_once(quickstart, pictures):
    arguments = (pictures[0], "--detach", "--port", quickstart.port)
    both = [
        subprocess.Popen(
            quickstart.command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=600)[1].decode() for process in both]
    assert sorted(process.returncode for process in both) == [0, 1]
    assert "another quickstart" in "".join(said) or "already running" in "".join(said)
    assert quickstart.get("/")[0] == 200


def test_skipped_files_are_counted_by_kind(quickstart, public_dir):
    root = folder_of(public_dir / "root", ["a.jpg", "b.PNG", "c.webp", "d.gif", "e.avif"])
    for name in ("1.tif", "2.TIFF", "3.tiff", "1.heic", "2.heif", "1.svg", "1.mp4", "README"):
        (root / name).write_bytes(b"x")
    (root / ".hidden.jpg").write_bytes(b"x")
    (root / "closed.jpg").write_bytes(b"x")
    (root / "closed.jpg").chmod(0o600)
    (root / "away.jpg").symlink_to("/etc/hostname")
    os.mkfifo(root / "fifo.jpg")
    done = quickstart.start(root)
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("Pictures:"))
    assert f"5 of {root}; skipped: 3 TIFF, 2 HEIC" in line
    counted = set(line.partition("skipped: ")[2].split(", "))
    assert {"3 TIFF", "2 HEIC", "1 SVG", "1 MP4", "1 hidden", "1 without a known suffix"} <= counted
    for name in ("a.jpg", "b.PNG", "c.webp", "d.gif", "e.avif"):
        assert quickstart.get(f"/thumbs/200x200/{id_of(name)}.jpg")[0] == 200
    assert quickstart.get("/thumbs/200x200/closed.jpg")[0] == 404
    assert quickstart.complaints() == []


def test_folder_without_pictures_says_what_is_in_it(quickstart, public_dir):
    assert "no pictures" in failure(quickstart.start(public_dir))
    (public_dir / "scan.tiff").write_bytes(b"x")
    assert "skipped: 1 TIFF" in failure(quickstart.start(public_dir))


def test_picture_that_cannot_be_made_shows_a_tile(quickstart, public_dir):
    root = folder_of(public_dir / "root", ["a.jpg"])
    (root / "broken.jpg").write_text("this is no picture")
    assert quickstart.start(root).returncode == 0
    for size, pixels in (("200x200", 200), ("400x400-crop", 400)):
        status, body = quickstart.get(f"/thumbs/{size}/broken.jpg")
        assert status == 404
        tile = Image.open(io.BytesIO(body)).convert("L")
        assert tile.size == (pixels, pixels)
        # light grey, with darker letters on it
        low, high = tile.getextrema()
        assert high >= 230 and low < 140


@pytest.mark.parametrize("server", SERVERS)
def test_log_of_a_start_is_quiet(quickstart, pictures, server):
    assert quickstart.start(pictures[0], "--server", server).returncode == 0
    assert quickstart.get("/")[0] == 200
    quickstart.run("--stop")
    assert quickstart.complaints() == []


@pytest.mark.parametrize("delay", [0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0])
def test_interrupt_at_any_moment_leaves_nothing_running(quickstart, pictures, delay):
    command = quickstart.command(pictures[0], "--port", quickstart.port)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    # the moment is what is tried here, not waited for
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=600)
    assert process.returncode in (0, 1, 130, -signal.SIGINT)
    assert quickstart.run("--status").returncode == 1
    with pytest.raises(ConnectionRefusedError):
        quickstart.get("/")
