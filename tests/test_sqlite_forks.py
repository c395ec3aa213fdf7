"""A process that a handler forks while another thread is reading from SQLite."""

import os
import signal
import threading

import pytest

from handlers.lookup.row import Row, Skipped
from handlers.lookup.snapshot import Snapshot
from handlers.lookup.writing import write_all
from handlers.sessions.sqlite import SqliteStore
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
