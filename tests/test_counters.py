"""Counters: sums over all processes, living and gone."""

import multiprocessing
import os
import signal
import threading

import pytest

from handlers import counters
from handlers.counters import Counters


@pytest.fixture
def directory(tmp_path):
    return str(tmp_path)


def in_process(work):
    """Run *work* in a forked process; return how it ended."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1]


def test_nothing_counted_is_zero(directory):
    found = counters.read(directory)
    assert found["thumbnails_made"] == 0
    assert found["thumbnail_making_seconds"] == ([0] * 11, 0.0)


def test_counts_of_many_processes_are_summed_and_stay(directory):
    def count():
        own = Counters(directory)
        for _ in range(100):
            own.add("thumbnails_made")
        own.observe("thumbnail_making_seconds", 0.04)
        os.kill(os.getpid(), signal.SIGKILL)

    for _ in range(6):
        assert in_process(count) == signal.SIGKILL
    found = counters.read(directory)
    assert found["thumbnails_made"] == 600
    assert found["thumbnail_making_seconds"][0] == [0, 0, 6] + [0] * 8
    assert found["thumbnail_making_seconds"][1] == pytest.approx(0.24)


@pytest.mark.slow
def test_file_does_not_grow_with_processes_that_come_and_go(directory, monkeypatch):
    monkeypatch.setattr(counters, "_SLOTS", 4)
    for _ in range(12):
        assert in_process(lambda: Counters(directory).add("lookup_found")) == 0
    assert counters.read(directory)["lookup_found"] == 12
    assert os.path.getsize(counters.path_in(directory)) <= 4 * counters._STRIDE


def test_living_processes_have_slots_of_their_own(directory):
    ready = multiprocessing.get_context("fork").Barrier(9)

    def count():
        own = Counters(directory)
        ready.wait(60)
        for _ in range(1000):
            own.add("lookup_missing")

    processes = [multiprocessing.get_context("fork").Process(target=count) for _ in range(8)]
    for process in processes:
        process.start()
    ready.wait(60)
    for process in processes:
        process.join(60)
    assert counters.read(directory)["lookup_missing"] == 8000


def test_threads_of_a_process_lose_nothing(directory):
    own = Counters(directory)

    def count():
        for _ in range(5000):
            own.add("sessions_begun")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    own.close()
    assert counters.read(directory)["sessions_begun"] == 20_000


def test_process_that_was_told_of_no_directory_counts_nothing(directory):
    def count():
        counters.add("lookup_found")
        counters.observe("thumbnail_source_bytes", 5)

    assert in_process(count) == 0
    assert counters.read(directory)["lookup_found"] == 0


def test_each_thread_counts_for_the_site_that_it_serves(tmp_path):
    sites = [str(tmp_path / name) for name in "abc"]

    def count():
        assert counters.use(sites[0])
        threads = [threading.Thread(target=of_site, args=(site,)) for site in sites for _ in "12"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # a thread that serves no site counts for the first one, and nobody else's
        counters.add("sessions_begun", 7)

    def of_site(site):
        for _ in range(100):
            counters.serve(site)
            counters.add("lookup_found")
            counters.answered()
            assert counters.directory() == site
            counters.serve(None)
            counters.add("lookup_missing")

    assert in_process(count) == 0
    found = [counters.read(site) for site in sites]
    assert [one["lookup_found"] for one in found] == [200, 200, 200]
    assert [one["lookup_missing"] for one in found] == [600, 0, 0]
    assert [one["sessions_begun"] for one in found] == [7, 0, 0]


def test_file_that_cannot_be_opened_is_tried_again_after_a_minute(tmp_path):
    (tmp_path / "a").write_text("a file in the way")

    def count():
        with pytest.raises(OSError):
            counters.serve(str(tmp_path / "a"))
        (tmp_path / "a").unlink()
        assert not counters.serve(str(tmp_path / "a"))
        counters.add("lookup_found")
        counters._thread.site._not_before = 0.0
        assert counters.serve(str(tmp_path / "a"))
        counters.add("lookup_found")

    assert in_process(count) == 0
    assert counters.read(str(tmp_path / "a"))["lookup_found"] == 1


def test_more_processes_than_slots_is_an_error_that_says_so(directory, monkeypatch):
    monkeypatch.setattr(counters, "_SLOTS", 1)
    own = Counters(directory)
    with pytest.raises(TimeoutError, match="1 processes count already"):
        Counters(directory)
    own.close()
    Counters(directory).close()


def test_value_on_a_bound_belongs_below_it(directory):
    own = Counters(directory)
    for value in (0.01, 0.010001, 10.0, 11.0):
        own.observe("thumbnail_making_seconds", value)
    own.close()
    buckets, total = counters.read(directory)["thumbnail_making_seconds"]
    assert (buckets[0], buckets[1], buckets[9], buckets[10]) == (1, 1, 1, 1)
    assert total == pytest.approx(21.020001)
