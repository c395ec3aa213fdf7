"""Commands that take long: a bar on a terminal, nothing but the result in a pipe, Ctrl-C, JSON."""

import contextlib
import json
import os
import pickle
import pty
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from handlers.sessions import sid as sids
from handlers.sessions.file import FileStore
from handlers.sessions.store import Record
from tests.support import until

pytestmark = pytest.mark.slow

ROWS = 300_000
SESSIONS = 400


@pytest.fixture
def place(tmp_path):
    """Settings with a large table, sessions of mod_python, and room for ours."""
    tmp_path.chmod(0o755)
    with contextlib.closing(sqlite3.connect(tmp_path / "images.db")) as connection, connection:
        connection.execute("CREATE TABLE images (id TEXT PRIMARY KEY, path TEXT)")
        rows = ((f"i{number}", f"{number}.jpg") for number in range(ROWS))
        connection.executemany("INSERT INTO images VALUES (?, ?)", rows)
    (tmp_path / "mp_sess").mkdir(mode=0o755)
    (tmp_path / "settings.ini").write_text(
        f"[lookup]\ndatabase = sqlite:///{tmp_path}/images.db\nsnapshot = {tmp_path}/snapshot\n"
        f"[mod_python.session]\ndatabase_directory = {tmp_path}\ntakeover = {tmp_path}/mp_sess\n"
    )
    return tmp_path


def put_sessions(place, count=SESSIONS):
    now = time.time()
    ids = [sids.new() for _ in range(count)]
    for number, sid in enumerate(ids):
        content = {"_data": {"n": number}, "_created": now, "_accessed": now, "_timeout": 1800}
        file = place / "mp_sess" / sid[:2] / sid
        file.parent.mkdir(mode=0o750, exist_ok=True)
        file.write_bytes(pickle.dumps(content, 2))
    return ids


def command(place, *arguments):
    return [*(sys.executable, "-m", "handlers", "--settings", place / "settings.ini"), *arguments]


def run(place, *arguments):
    return subprocess.run(command(place, *arguments), capture_output=True, text=True, cwd="/")


def on_terminal(place, *arguments):
    """Run a command on a terminal; return its result, and what the terminal got."""
    parent, child = pty.openpty()
    with (
        open(child, "w") as terminal,
        subprocess.Popen(
            command(place, *arguments), stdout=subprocess.PIPE, stderr=terminal, text=True, cwd="/"
        ) as running,
    ):
        terminal.close()
        pieces = []
        # the end of a pseudoterminal is an error
        with contextlib.suppress(OSError):
            while piece := os.read(parent, 4096):
                pieces.append(piece)
        os.close(parent)
        out = running.stdout.read()
    assert running.returncode == 0
    return out, b"".join(pieces).decode()


def interrupted(place, prepare, begun, *arguments):
    """Run a command, and press Ctrl-C when *begun* is true; again, if that was too late.

    :param prepare: makes the place as it is before the command.
    """

    def is_in_time():
        prepare()
        with subprocess.Popen(
            command(place, *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
            start_new_session=True,
        ) as running:
            until(lambda: begun() or running.poll() is not None)
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGINT)
            said = running.stdout.read()
        assert (running.returncode, said) == (130, "") or running.returncode == 0, said
        return running.returncode

    until(is_in_time)


def test_lookup_warm(place):
    new = place / "snapshot.new"

    def prepare():
        for path in place.glob("snapshot*"):
            path.unlink()

    interrupted(place, prepare, new.exists, "lookup", "warm")
    assert not new.exists() and not (place / "snapshot").exists()
    out, bar = on_terminal(place, "lookup", "warm", "--json")
    assert json.loads(out)["rows"] == ROWS
    assert re.search(r"\r\x1b\[K\d+ rows", bar)
    # by now it is known how many there are
    out, bar = on_terminal(place, "lookup", "warm")
    assert out.startswith(f"{ROWS} rows from ")
    assert re.search(rf"\[#+\.*\] \d+ of {ROWS} rows", bar)
    assert bar.endswith("\r\x1b[K")
    piped = run(place, "lookup", "warm")
    assert (piped.returncode, piped.stderr) == (0, "")


def test_sessions_takeover(place):
    ids = []
    ours = place / "mp_sessions"
    old = place / "mp_sess"

    def prepare():
        for directory in (ours, old):
            shutil.rmtree(directory, ignore_errors=True)
        old.mkdir(mode=0o755)
        ids[:] = put_sessions(place)

    def left():
        return sum(len(files) for _, _, files in os.walk(old))

    interrupted(place, prepare, lambda: left() < SESSIONS, "sessions", "takeover")
    rest = left()
    assert rest < SESSIONS
    out, bar = on_terminal(place, "sessions", "takeover", "--json")
    # one may have been stored, and not removed yet, when Ctrl-C came
    told = json.loads(out)
    assert told["left"] == left() == 0 and rest - 1 <= told["taken"] <= rest
    if rest:
        assert re.search(rf"\[[#.]+\] \d+ of {rest} sessions", bar)
    store = FileStore(ours)
    assert all(store.load(sid) is not None for sid in ids)
    # Ctrl-C may have come between the writing of one and the setting of its time
    assert run(place, "sessions", "sweep", "--fast").stdout.startswith("0 of ")
    assert store.stats().live == SESSIONS


def test_sessions_that_cannot_be_taken_over_are_left_and_told(place):
    put_sessions(place, 2)
    sid = sids.new()
    (place / "mp_sess" / sid[:2]).mkdir(exist_ok=True)
    (place / "mp_sess" / sid[:2] / sid).write_text("no pickle")
    done = run(place, "sessions", "takeover")
    assert done.stdout.startswith("2 sessions taken over; 1 left")
    assert done.stderr.startswith("session of mod_python not taken over: ")
    assert run(place, "sessions", "takeover", place / "nowhere").returncode == 1


def test_session_that_is_here_already_is_not_overwritten(place):
    (sid,) = put_sessions(place, 1)
    run(place, "sessions", "takeover")
    store = FileStore(place / "mp_sessions")
    version = store.load(sid).version
    content = {"_data": {}, "_created": 1, "_accessed": time.time(), "_timeout": 9}
    (place / "mp_sess" / sid[:2] / sid).write_bytes(pickle.dumps(content, 2))
    assert json.loads(run(place, "sessions", "takeover", "--json").stdout)["taken"] == 0
    assert store.load(sid).version == version


def test_sessions_sweep_shows_a_bar(place):
    store = FileStore(place / "mp_sessions")
    before = time.time() - 9000
    for _ in range(200):
        store.save(sids.new(), Record(b"x", before, before, 60))
    out, bar = on_terminal(place, "sessions", "sweep", "--fast")
    assert out.startswith("200 of 200 sessions deleted")
    assert re.search(r"\d+ sessions deleted", bar)
