"""SQLite files that several threads have open, beside other processes."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from handlers.lookup.row import Row, Skipped
from handlers.lookup.snapshot import Snapshot
from handlers.lookup.writing import write_all
from handlers.sessions import sid as sids
from handlers.sessions.sqlite import SqliteStore
from handlers.sessions.store import Record, StoreUnavailable
from tests.support import until


def of_lookup(directory):
    """Return what gives the calling thread a connection of its own to a snapshot."""
    path = str(directory / "snapshot")
    write_all(path, "", [("p1", Row("a.jpg"), None)], 1, None, False, Skipped(False))
    snapshot = Snapshot(path, "")

    def connected():
        assert snapshot.get("p1") == Row("a.jpg")
        return snapshot._local.reader._connection

    return connected


def of_sessions(directory):
    """Return the same for a table of sessions."""
    store = SqliteStore(str(directory / "private" / "sessions"), create=True)
    return lambda: store._link()._connection


def test_second_connection_of_a_process_leaves_the_log_to_the_first(tmp_path):
    """Another process that comes and goes would delete it if it took itself for the only one."""
    path = str(tmp_path / "private" / "sessions")
    store = SqliteStore(path, create=True)
    sid, now = sids.new(), time.time()
    store.save(sid, Record(b"first", now, now, 1800))
    others = threading.Thread(target=lambda: store.load(sid) and store.close())
    others.start()
    others.join()
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); "
        "print(c.execute('SELECT COUNT(*) FROM sessions').fetchone()); c.close()"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True)
        assert os.path.exists(f"{path}-wal")
        store.save(sid, Record(b"second", now, now, 1800))
        other = SqliteStore(path)
        assert other.load(sid).data == b"second"
    store.close()


def test_file_of_sessions_is_for_its_user_alone_and_no_link_or_directory(tmp_path):
    (tmp_path / "private").mkdir(mode=0o700)
    path = tmp_path / "private" / "sessions"
    SqliteStore(str(path), create=True)
    assert path.stat().st_mode & 0o777 == 0o600
    assert not list(path.parent.glob("sessions.*"))
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreUnavailable, match="symbolic links"):
        SqliteStore(str(path), create=True)
    assert not (tmp_path / "elsewhere").exists()
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreUnavailable, match="Is a directory"):
        SqliteStore(str(path), create=True)


@pytest.mark.parametrize("opened", [of_lookup, of_sessions])
def test_forked_process_does_not_wait_for_a_thread_that_it_has_not(opened, tmp_path):
    reads, go_on = threading.Event(), threading.Event()
    connected = opened(tmp_path)

    def read():
        connection = connected()
        connection.create_function("wait", 0, lambda: reads.set() or int(go_on.wait(60)))
        connection.execute("SELECT wait()").fetchall()

    thread = threading.Thread(target=read)
    thread.start()
    try:
        assert reads.wait(60)
        child = os.fork()
        if child == 0:
            os._exit(0)
        try:
            until(lambda: os.waitpid(child, os.WNOHANG)[0], within=30)
        except AssertionError:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise
    finally:
        go_on.set()
        thread.join()
