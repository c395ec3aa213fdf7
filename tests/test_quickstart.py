"""apache_conf/quickstart as a user runs it, in this test run's virtual environment."""

import http.client
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.conftest import SERVERS
from tests.servers.httpd import free_port

SCRIPT = pathlib.Path(__file__).parent.parent / "apache_conf" / "quickstart"


class Quickstart:
    """The script with one work directory."""

    def __init__(self, work):
        self.work = work
        self.port = free_port()

    def command(self, *arguments):
        return [
            str(SCRIPT),
            *map(str, arguments),
            "--work",
            str(self.work),
            "--venv",
            sys.prefix,
        ]

    def run(self, *arguments):
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=120)

    def start(self, *arguments):
        return self.run(*arguments, "--detach", "--port", self.port, "--children", 2)

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, body


@pytest.fixture
def quickstart(public_dir):
    script = Quickstart(public_dir / "work")
    yield script
    if (script.work / "run" / "httpd.pid").exists():
        script.run("--stop")


@pytest.mark.parametrize("server", SERVERS)
def test_detach_prints_addresses_that_answer_and_stop_stops(quickstart, pictures, server):
    done = quickstart.start(pictures[0], "--server", server)
    assert done.returncode == 0, done.stderr
    addresses = [line.split()[-1] for line in done.stdout.splitlines() if "http://" in line]
    assert len(addresses) == 2
    for address in addresses:
        assert quickstart.get(address.split(str(quickstart.port))[1])[0] == 200
    for name in ("httpd.conf", "logs/error.log", "logs/access.log", "cache/thumbs"):
        assert (quickstart.work / name).exists()
    assert quickstart.run("--stop").returncode == 0
    with pytest.raises(ConnectionRefusedError):
        quickstart.get("/")


def test_second_start_takes_less_than_3_seconds(quickstart, pictures):
    assert quickstart.start(pictures[0]).returncode == 0
    quickstart.run("--stop")
    started = time.monotonic()
    assert quickstart.start(pictures[0]).returncode == 0
    assert time.monotonic() - started < 3


def test_foreground_tails_the_logs_until_interrupted(quickstart, pictures):
    process = subprocess.Popen(
        quickstart.command(pictures[0], "--port", quickstart.port),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "Logs of" in line:
            break
    quickstart.get("/thumbs/200x200/sub-p001.jpg")
    for line in process.stdout:
        lines.append(line)
        if "GET /thumbs/200x200/sub-p001.jpg" in line:
            break
    os.kill(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert rest.endswith("Stopped.\n")
    with pytest.raises(ConnectionRefusedError):
        quickstart.get("/")


def test_mariadb_by_tcp_and_by_socket(quickstart, pictures, mariadb):
    mariadb.execute("DROP DATABASE IF EXISTS quick", "CREATE DATABASE quick")
    for url in (mariadb.url("quick"), mariadb.socket_url("quick")):
        done = quickstart.start(pictures[0], "--database", url)
        assert done.returncode == 0, done.stderr
        assert quickstart.get("/thumbs/200x200/sub-p001.jpg")[0] == 200
        quickstart.run("--stop")


def test_table_of_others_is_read_and_never_changed(quickstart, pictures, mariadb):
    mariadb.execute(
        "DROP DATABASE IF EXISTS theirs",
        "CREATE DATABASE theirs",
        "CREATE TABLE theirs.images (id INT PRIMARY KEY, path TEXT)",
        "INSERT INTO theirs.images VALUES (7, 'sub/p007.jpg')",
    )
    assert quickstart.start(pictures[0], "--database", mariadb.url("theirs")).returncode == 0
    assert quickstart.get("/thumbs/200x200/7.jpg")[0] == 200
    assert mariadb.execute("SELECT * FROM theirs.images") == [(7, "sub/p007.jpg")]


def failure(done):
    assert done.returncode != 0
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("quickstart: ")
    return lines[0]


def test_port_in_use(quickstart, pictures):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", quickstart.port))
        taken.listen()
        assert "in use" in failure(quickstart.start(pictures[0]))


def test_already_running(quickstart, pictures):
    assert quickstart.start(pictures[0]).returncode == 0
    assert "already running" in failure(quickstart.start(pictures[0]))
    assert quickstart.get("/")[0] == 200


def test_folder_missing(quickstart, public_dir):
    assert "not a folder" in failure(quickstart.start(public_dir / "nowhere"))


def test_folder_unreadable(quickstart, public_dir):
    closed = public_dir / "closed"
    closed.mkdir(0)
    assert "cannot" in failure(quickstart.start(closed))


def test_folder_without_pictures(quickstart, public_dir):
    assert "no pictures" in failure(quickstart.start(public_dir))


def test_unknown_url_scheme(quickstart, pictures):
    said = failure(quickstart.start(pictures[0], "--database", "oracle://u:secret@h/x"))
    assert "oracle" in said and "secret" not in said


def test_database_not_reachable(quickstart, pictures):
    url = f"mysql://u:secret@127.0.0.1:{free_port()}/x"
    said = failure(quickstart.start(pictures[0], "--database", url))
    assert "127.0.0.1" in said and "secret" not in said


def test_stop_without_a_server(quickstart):
    assert "nothing runs" in failure(quickstart.run("--stop"))
