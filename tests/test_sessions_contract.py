"""One contract for all session stores, each on its real file or server."""

import contextlib
import dataclasses
import itertools
import multiprocessing
import random
import threading
import time

import pytest

from handlers import state_directory
from handlers.database.url import parse
from handlers.elected import write_state
from handlers.locks import LockTimeout
from handlers.sessions import sid as sids
from handlers.sessions import tally
from handlers.sessions.dbm import DbmStore
from handlers.sessions.file import FileStore
from handlers.sessions.memcached import MemcachedStore
from handlers.sessions.memory import MemoryStore
from handlers.sessions.mysql import MysqlStore
from handlers.sessions.sqlite import SqliteStore
from handlers.sessions.store import REPLACED, Conflict, Record, RecordTooLarge
from handlers.sessions.sweep import Pace, Swept
from tests.servers.memcached import Memcached

STORES = (
    *("file", "dbm", "memory", "sqlite"),
    *(
        pytest.param(name, marks=pytest.mark.server)
        for name in ("mysql", "mysql row by row", "memcached")
    ),
)
_numbers = itertools.count()
# children are forked: a prefork server's way, and stores need not be picklable
fork = multiprocessing.get_context("fork")


class Clock:
    """The time of day, and how far a test has moved it."""

    def __init__(self):
        self.moved = 0.0

    def __call__(self):
        return time.time() + self.moved


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(scope="session")
def memcached():
    with Memcached() as server:
        yield server


@pytest.fixture(params=STORES)
def store(request, tmp_path, clock):
    """A store of each kind, empty."""
    kind = request.param
    if kind == "file":
        opened = FileStore(tmp_path / "sessions", clock=clock)
    elif kind == "dbm":
        opened = DbmStore(tmp_path / "sessions" / "all.dbm", clock=clock)
    elif kind == "memory":
        opened = MemoryStore(clock=clock)
    elif kind == "sqlite":
        opened = SqliteStore(str(tmp_path / "sessions.db"), clock=clock)
    elif kind == "memcached":
        server = request.getfixturevalue("memcached")
        prefix = f"t{next(_numbers)}:"
        # a busy machine may stall it
        opened = MemcachedStore([server.address], prefix=prefix, clock=clock, timeout=30)
    else:
        server = request.getfixturevalue("mariadb")
        name = f"sessions{next(_numbers)}"
        server.execute(f"CREATE DATABASE {name}")
        opened = MysqlStore(parse(server.url(name)), clock=clock)
        opened.create(partitioned=kind == "mysql")
    yield opened
    opened.close()
    if isinstance(opened, MysqlStore):
        server.execute(f"DROP DATABASE {name}")


@pytest.fixture
def listing(store):
    """A store of each kind that can list and sweep its sessions."""
    if store.lists:
        return store
    # the promises of the others are those of the tests that ask for `store`
    return MemoryStore(clock=store.clock)


def save(store, sid, data=b"content", timeout=1800, user=None, expected=None):
    now = store.clock()
    return store.save(sid, Record(data, now, now, timeout, user), expected)


def test_saved_session_is_loaded_whole(store):
    sid, now = sids.new(), store.clock()
    data = bytes(range(256)) * 5
    version = store.save(sid, Record(data, now - 10, now, 60.5, "käthe"))
    record = store.load(sid)
    assert record.data == data
    assert record.created == pytest.approx(now - 10, abs=0.002)
    assert record.accessed == pytest.approx(now, abs=0.002)
    assert (record.timeout, record.user, record.version) == (60.5, "käthe", version)


def test_unknown_session_is_none(store):
    assert store.load(sids.new()) is None
    assert store.touch(sids.new(), store.clock()) is False
    assert store.delete(sids.new()) is False


def test_empty_content_is_kept(store):
    sid = sids.new()
    save(store, sid, b"")
    assert store.load(sid).data == b""


def test_last_save_wins_and_changes_the_version(store):
    sid = sids.new()
    versions = [save(store, sid, b"%d" % number) for number in range(5)]
    assert store.load(sid).data == b"4"
    assert len(set(versions)) == 5


@pytest.mark.parametrize("sizes", [(10, 5000, 20), (100_000, 10, 900_000)])
def test_session_may_grow_and_shrink(store, sizes):
    sid = sids.new()
    for size in sizes:
        save(store, sid, b"x" * size)
        assert len(store.load(sid).data) == size


def test_too_large_session_is_refused_and_the_stored_one_stays(store):
    sid = sids.new()
    save(store, sid, b"small")
    with pytest.raises(RecordTooLarge):
        save(store, sid, b"x" * (store.max_size + 1))
    assert store.load(sid).data == b"small"


def test_deleted_session_is_gone(store):
    sid = sids.new()
    save(store, sid)
    assert store.delete(sid) is True
    assert store.load(sid) is None


def test_session_expires_after_its_timeout_and_not_before(store, clock):
    sid = sids.new()
    save(store, sid, timeout=1000)
    # the test itself may take a while
    clock.moved = 980
    assert store.load(sid) is not None
    clock.moved = 1001
    assert store.load(sid) is None


def test_timeout_of_zero_is_over_when_the_clock_moves(store, clock):
    sid = sids.new()
    save(store, sid, timeout=0)
    clock.moved = 0.01
    assert store.load(sid) is None


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf")])
def test_timeout_that_is_no_number_of_seconds_is_refused(store, timeout):
    with pytest.raises(ValueError, match="timeout"):
        save(store, sids.new(), timeout=timeout)


@pytest.mark.parametrize("timeout", [86400 * 60, 1e12])
def test_long_timeout_is_kept(store, timeout):
    sid = sids.new()
    save(store, sid, timeout=timeout)
    assert store.load(sid).timeout == timeout


def test_session_lives_on_when_the_clock_jumps_back(store, clock):
    sid = sids.new()
    save(store, sid, b"before", timeout=100)
    clock.moved = -86400
    assert store.load(sid).data == b"before"
    save(store, sid, b"after", timeout=100)
    assert store.load(sid).data == b"after"
    store.sweep(Pace.flat_out())
    assert store.load(sid).data == b"after"


def test_touch_moves_the_access_and_keeps_the_version(store, clock):
    sid = sids.new()
    version = save(store, sid, b"content", timeout=100)
    clock.moved = 80
    assert store.touch(sid, clock()) is True
    clock.moved = 160
    record = store.load(sid)
    assert (record.data, record.version) == (b"content", version)
    assert record.accessed == pytest.approx(clock() - 80, abs=15)
    assert store.touch(sid, clock() - 120) is True
    assert store.load(sid).accessed == pytest.approx(record.accessed, abs=0.01)
    clock.moved = 185
    assert store.load(sid) is None


def test_save_after_touch_carries_its_own_time(store, clock):
    sid = sids.new()
    save(store, sid)
    clock.moved = 50
    store.touch(sid, clock())
    clock.moved = 70
    save(store, sid, b"new")
    assert store.load(sid).accessed == pytest.approx(clock(), abs=15)


def test_touch_is_due_after_a_twentieth_of_the_timeout(store, clock):
    sid = sids.new()
    save(store, sid, timeout=1800)
    record = store.load(sid)
    assert not record.touch_due(clock() + 80)
    assert record.touch_due(clock() + 91)
    assert record.touch_due(clock() - 10)


def test_expected_version_is_compared_and_swapped(store):
    sid = sids.new()
    first = save(store, sid, b"first")
    second = save(store, sid, b"second", expected=first)
    with pytest.raises(Conflict):
        save(store, sid, b"late", expected=first)
    assert store.load(sid).data == b"second"
    save(store, sid, b"third", expected=second)
    store.delete(sid)
    with pytest.raises(Conflict):
        save(store, sid, b"after logout", expected=second)
    assert store.load(sid) is None


def test_version_of_a_deleted_session_means_nothing_to_its_successor(store):
    sid = sids.new()
    version = save(store, sid, b"first")
    store.delete(sid)
    save(store, sid, b"other")
    with pytest.raises(Conflict):
        save(store, sid, b"late", expected=version)


def test_renamed_session_has_the_new_id_only(store):
    old, new = sids.new(), sids.new()
    save(store, old, b"content", timeout=77, user="mia")
    assert store.rename(old, new) is True
    assert store.load(old) is None
    record = store.load(new)
    assert (record.data, record.timeout, record.user) == (b"content", 77, "mia")
    assert store.rename(old, sids.new()) is False


def test_rename_can_bring_new_content(store):
    old, new = sids.new(), sids.new()
    save(store, old)
    store.rename(old, new, b"signed anew")
    assert store.load(new).data == b"signed anew"


def test_lock_excludes_and_times_out(store):
    sid = sids.new()
    taken = []

    def try_lock(timeout):
        try:
            with store.lock(sid, timeout):
                taken.append(timeout)
        except LockTimeout:
            taken.append(None)
        finally:
            store.close()

    def in_thread(timeout):
        thread = threading.Thread(target=try_lock, args=(timeout,))
        thread.start()
        return thread

    held = store.lock(sid, 5)
    in_thread(0).join()
    in_thread(0.1).join()
    assert taken == [None, None]
    waiting = in_thread(60)
    held.release()
    held.release()
    waiting.join()
    assert taken == [None, None, 60]


def test_lock_taken_twice_by_one_thread_is_an_error_and_no_hang(store):
    sid = sids.new()
    with store.lock(sid, 5), pytest.raises(LockTimeout):
        store.lock(sid, 0.05)
    store.lock(sid, 5).release()


def test_sessions_do_not_wait_for_each_other(store):
    first, second = sids.new(), sids.new()
    with store.lock(first, 5), store.lock(second, 0):
        pass


def test_load_and_save_wait_for_no_lock(store):
    sid = sids.new()
    save(store, sid, b"old")
    with store.lock(sid, 5):
        assert store.load(sid).data == b"old"
        save(store, sid, b"new")
        assert store.load(sid).data == b"new"


def test_only_one_is_elected_until_it_lets_go(store):
    first = store.elect()
    found = []

    def candidate():
        found.append(store.elect())
        if found[-1] is not None:
            found[-1].release()
        store.close()

    for _ in range(2):
        thread = threading.Thread(target=candidate)
        thread.start()
        thread.join()
        first.release()
    assert found[0] is None
    assert found[1] is not None


def test_sweep_deletes_expired_sessions_and_no_others(listing, clock):
    dead = [sids.new() for _ in range(30)]
    live = [sids.new() for _ in range(30)]
    for sid in dead:
        save(listing, sid, timeout=100)
    for sid in live:
        save(listing, sid, timeout=86400)
    # half an hour is the grain of the tables
    clock.moved = 100 + 3600
    swept = listing.sweep(Pace.flat_out())
    assert (swept.deleted, swept.finished) == (30, True)
    assert listing.stats()[:2] == (30, 0)
    assert all(listing.load(sid) is not None for sid in live)


def test_sweep_tells_the_status_page_how_many_live(listing, clock, tmp_path):
    state_directory.ensure(str(tmp_path))
    for number in range(20):
        # of the first ten, five are over, within the grain of the tables
        save(listing, sids.new(), timeout=100 if number < 5 else 20_000)
    clock.moved = 200
    for _ in range(2):
        swept = listing.sweep(Pace.flat_out())
        tally.note(listing, "here", swept, str(tmp_path))
    found = tally.read(str(tmp_path), "here")
    if listing.shared:
        assert found.live == 15
        assert abs(found.finished - time.time()) < 60 and found.finished >= found.counted > 0
    else:
        # each process has its own
        assert found.live == -1


def test_count_of_a_slow_table_is_not_repeated_with_each_sweep(tmp_path, monkeypatch):
    state_directory.ensure(str(tmp_path))
    opened = SqliteStore(str(tmp_path / "sessions.db"))
    counts = iter([3, 5, 7])
    monkeypatch.setattr(opened, "count", lambda: next(counts))
    swept = Swept(1, 1, 0.1, True)
    tally.note(opened, "here", swept, str(tmp_path))
    assert tally.read(str(tmp_path), "here").live == 3
    slow = dataclasses.replace(tally.read(str(tmp_path), "here"), count_seconds=9.0)
    write_state(tally._path(str(tmp_path), "here"), slow)
    tally.note(opened, "here", swept, str(tmp_path))
    assert tally.read(str(tmp_path), "here").live == 3
    early = dataclasses.replace(slow, counted=time.time() - 901)
    write_state(tally._path(str(tmp_path), "here"), early)
    tally.note(opened, "here", swept, str(tmp_path))
    assert tally.read(str(tmp_path), "here").live == 5


def test_sweep_gives_grace(listing, clock):
    sid = sids.new()
    save(listing, sid, timeout=100)
    clock.moved = 100 + 3600
    assert listing.sweep(Pace.flat_out(), grace=4000).deleted == 0
    assert listing.stats()[:2] == (0, 1)
    assert listing.sweep(Pace.flat_out(), grace=10).deleted == 1


def test_sweep_spares_a_session_that_was_touched(listing, clock):
    sid = sids.new()
    save(listing, sid, timeout=4000)
    clock.moved = 3900
    listing.touch(sid, clock())
    clock.moved = 7800
    assert listing.sweep(Pace.flat_out()).deleted == 0
    assert listing.load(sid) is not None


def test_sessions_that_outlive_every_partition_are_kept(listing, clock):
    sid = sids.new()
    save(listing, sid, timeout=86400 * 3)
    for hours in range(0, 71, 5):
        clock.moved = hours * 3600
        assert listing.sweep(Pace.flat_out()).deleted == 0
        assert listing.load(sid) is not None
    clock.moved = 86400 * 3 + 7200
    assert listing.load(sid) is None
    for _ in range(3):
        listing.sweep(Pace.flat_out())
        clock.moved += 8 * 3600
    assert listing.stats()[:2] == (0, 0)


def test_store_that_was_not_swept_for_days_goes_on(listing, clock):
    save(listing, sids.new(), timeout=100)
    clock.moved = 86400 * 10
    sid = sids.new()
    save(listing, sid, timeout=100)
    assert listing.load(sid) is not None
    assert listing.sweep(Pace.flat_out()).deleted == 1
    assert listing.load(sid) is not None


def test_list_shows_live_sessions_without_their_ids(listing, clock):
    sid = sids.new()
    save(listing, sid, b"12345", timeout=1000, user="ada")
    save(listing, sids.new(), timeout=10)
    clock.moved = 20
    (entry,) = listing.entries()
    assert (entry.key, entry.user, entry.size) == (sids.key(sid), "ada", 5)
    assert sid not in repr(entry)


def test_purge_logs_one_user_out_everywhere(listing):
    for user in ("ada", "ada", "bob", None):
        save(listing, sids.new(), user=user)
    assert [entry.user for entry in listing.entries("ada")] == ["ada", "ada"]
    assert listing.purge("ada") == 2
    assert sorted(entry.user or "" for entry in listing.entries()) == ["", "bob"]


def test_users_are_told_apart_exactly(listing):
    """Also an empty name, as of a shell's variable that is not set."""
    for other in ("ada ", "a\u0308", None):
        save(listing, sids.new(), user=other)
    for user in ("", "ada", "ADA ", "ada  ", "\u00e4", "%"):
        assert list(listing.entries(user)) == []
        assert listing.purge(user) == 0
    assert len(list(listing.entries())) == 3


def test_purge_waits_for_a_request_that_would_save_the_session_again(listing):
    sid = sids.new()
    save(listing, sid, user="ada")
    locked = threading.Event()

    def request():
        with listing.lock(sid, 5):
            locked.set()
            save(listing, sid, b"changed", user="ada")
        listing.close()

    thread = threading.Thread(target=request)
    thread.start()
    locked.wait()
    assert listing.purge("ada") == 1
    thread.join()
    assert listing.load(sid) is None


def test_purge_ends_a_session_that_gets_another_id_meanwhile(listing):
    old, new = sids.new(), sids.new()
    version = save(listing, old, user="ada")
    acquire = listing._acquire

    def replace_first(name, timeout):
        # what the request does that the purge waits for
        listing._acquire = acquire
        save(listing, new, user="ada")
        save(listing, old, REPLACED, expected=version)
        return acquire(name, timeout)

    listing._acquire = replace_first
    listing.purge("ada")
    assert list(listing.entries("ada")) == [] and listing.load(new) is None


def increments(store, ids, seed, times, done):
    with contextlib.closing(store):
        order = random.Random(seed)
        for _ in range(times):
            sid = order.choice(ids)
            with store.lock(sid, 60):
                record = store.load(sid)
                save(store, sid, b"%d" % (int(record.data) + 1))
    done.put(times)


def swaps(store, sid, times, done):
    with contextlib.closing(store):
        for _ in range(times):
            while True:
                record = store.load(sid)
                try:
                    save(store, sid, b"%d" % (int(record.data) + 1), expected=record.version)
                    break
                except Conflict:
                    pass
    done.put(times)


def sweeping(store, stop):
    """Sweep all the time, and keep it busy with sessions that have expired."""
    with contextlib.closing(store):
        while not stop.is_set():
            for _ in range(5):
                save(store, sids.new(), timeout=0)
            store.sweep(Pace())


def in_children(store, target, argument_sets):
    """Run *target* in a child each, or in threads where children see different sessions."""
    store.close()
    if store.shared:
        children = [fork.Process(target=target, args=args) for args in argument_sets]
    else:
        children = [threading.Thread(target=target, args=args) for args in argument_sets]
    for child in children:
        child.start()
    return children


def all_ended(children, done):
    total = sum(done.get(timeout=200) for _ in children)
    for child in children:
        child.join()
    return total


INCREMENTS = (
    pytest.param(250, marks=pytest.mark.slow),
    pytest.param(2000, marks=pytest.mark.stress),
)


@pytest.mark.parametrize("each", INCREMENTS)
def test_no_increment_is_lost_between_8_children_while_a_sweep_runs(store, each):
    ids = [sids.new() for _ in range(50)]
    for sid in ids:
        save(store, sid, b"0")
    done, stop = fork.Queue(), fork.Event()
    sets = [(store, ids, seed, each, done) for seed in range(8)]
    children = in_children(store, increments, sets)
    sweepers = in_children(store, sweeping, [(store, stop)])
    try:
        assert all_ended(children, done) == 8 * each
    finally:
        stop.set()
        for child in sweepers:
            child.join()
    assert sum(int(store.load(sid).data) for sid in ids) == 8 * each


@pytest.mark.slow
def test_no_increment_is_lost_by_compare_and_swap_without_a_lock(store):
    sid = sids.new()
    save(store, sid, b"0")
    done = fork.Queue()
    children = in_children(store, swaps, [(store, sid, 50, done)] * 4)
    all_ended(children, done)
    assert int(store.load(sid).data) == 200
