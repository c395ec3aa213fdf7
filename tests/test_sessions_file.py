"""The file store: torn slots, full disks, kills, and hostile directories."""

import mmap
import multiprocessing
import os
import random
import resource
import signal
import struct
import time

import pytest

from handlers.sessions import sid as sids
from handlers.sessions import slotfile, slots
from handlers.sessions.file import FileStore
from handlers.sessions.store import Conflict, Record, StoreRefused, StoreUnavailable
from handlers.sessions.sweep import Pace
from tests.session_files import file_of, files, read, save, write

fork = multiprocessing.get_context("fork")
COUNTER = struct.Struct("<Q")


@pytest.fixture
def store(tmp_path):
    return FileStore(tmp_path / "sessions")


# --- who may read and write


def test_directory_and_files_are_private_and_do_not_show_the_id(store):
    os.umask(os.umask(0))
    sid = sids.new()
    save(store, sid, b"x" * 10_000)
    save(store, sid, b"x" * 100_000)
    with store.lock(sid, 1):
        store.sweep(Pace.flat_out())
    assert os.stat(store.path).st_mode & 0o777 == 0o700
    for path in files(store):
        assert os.stat(path).st_mode & 0o777 == 0o600
        assert sid not in path
        assert sid.encode() not in read(path)
    for name in os.listdir(store.path):
        path = os.path.join(store.path, name)
        if os.path.isdir(path):
            assert os.stat(path).st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o702])
def test_directory_that_others_can_write_to_is_refused(tmp_path, mode):
    path = tmp_path / "open"
    path.mkdir()
    path.chmod(mode)
    with pytest.raises(StoreRefused, match="others can write"):
        FileStore(path)


def test_directory_of_another_user_is_refused(tmp_path, monkeypatch):
    FileStore(tmp_path / "sessions")
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    with pytest.raises(StoreRefused, match="owned by user"):
        FileStore(tmp_path / "sessions")


def test_directory_that_others_can_replace_is_refused(tmp_path):
    above = tmp_path / "open"
    above.mkdir()
    above.chmod(0o777)
    with pytest.raises(StoreRefused, match="replace"):
        FileStore(above / "sessions")
    above.chmod(0o1777)
    FileStore(above / "sessions")


def test_symbolic_link_in_place_of_the_directory_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "sessions").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreRefused, match="not a directory"):
        FileStore(tmp_path / "sessions")


def test_file_in_place_of_the_directory_is_refused(tmp_path):
    (tmp_path / "sessions").write_text("")
    with pytest.raises(StoreRefused, match="not a directory"):
        FileStore(tmp_path / "sessions")


def test_symbolic_link_in_place_of_a_session_is_refused(store, tmp_path):
    sid = sids.new()
    save(store, sid)
    target = tmp_path / "target"
    os.rename(file_of(store, sid), target)
    before = read(target)
    os.symlink(target, file_of(store, sid))
    for use in (store.load, lambda sid: save(store, sid, b"new")):
        with pytest.raises(StoreRefused, match="symbolic link"):
            use(sid)
    assert read(target) == before
    with pytest.raises(StoreRefused, match="symbolic link"):
        store.delete(sid)
    assert read(target) == before


def test_record_in_another_sessions_place_is_not_taken(store):
    mine, other = sids.new(), sids.new()
    save(store, mine, b"mine")
    save(store, other, b"other")
    write(file_of(store, mine), read(file_of(store, other)))
    assert store.load(mine) is None


# --- power cuts


@pytest.fixture(params=["first slot", "second slot"])
def two_versions(request, store):
    """A session saved twice or three times: its id, and where its newest slot lies."""
    sid = sids.new()
    save(store, sid, b"start" * 30)
    if request.param == "second slot":
        save(store, sid, b"start again" * 15)
    before = b"previous" * 20
    save(store, sid, before, user="ada")
    old = read(file_of(store, sid))
    save(store, sid, b"newest-" * 25, user="ada")
    new = read(file_of(store, sid))
    offset = 0 if request.param == "first slot" else len(new) // 2
    used = slots.HEADER_SIZE + 3 + 175
    assert old[:offset] == new[:offset]
    assert old[offset + used :] == new[offset + used :]
    return store, sid, before, old, new, offset, used


def test_write_torn_at_any_byte_leaves_the_previous_version(two_versions):
    store, sid, before, old, new, offset, used = two_versions
    path = file_of(store, sid)
    for cut in range(used):
        torn = new[: offset + cut] + old[offset + cut :]
        write(path, torn)
        expected = b"newest-" * 25 if torn == new else before
        assert store.load(sid).data == expected


def test_damage_at_any_byte_leaves_the_previous_version(two_versions):
    store, sid, before, _, new, offset, used = two_versions
    for at in range(offset, offset + used):
        damaged = bytearray(new)
        damaged[at] ^= 0xFF
        write(file_of(store, sid), damaged)
        assert store.load(sid).data == before


@pytest.mark.slow
def test_file_cut_short_at_any_byte_gives_a_whole_version_or_none(two_versions):
    store, sid, before, _, new, offset, used = two_versions
    path = file_of(store, sid)
    for length in range(len(new)):
        write(path, new[:length])
        record = store.load(sid)
        if offset:
            whole = length >= offset + used
            kept = b"newest-" * 25 if whole else before if length >= used else None
            if length < offset and kept is not None:
                assert record.data == before
            elif kept is None:
                assert record is None or record.data == before
            else:
                assert record.data == kept
        else:
            assert record is None or record.data in (before, b"newest-" * 25)


def test_session_can_be_saved_after_any_damage(two_versions):
    store, sid, _, old, new, offset, used = two_versions
    path = file_of(store, sid)
    for content in (
        new[: offset + 100] + old[offset + 100 :],
        new[: offset + used],
        new[: offset + 100],
        b"",
        bytes(len(new)),
        new[:10] + bytes(len(new) - 10),
    ):
        write(path, content)
        save(store, sid, b"after")
        assert store.load(sid).data == b"after"
        save(store, sid, b"after all")
        assert store.load(sid).data == b"after all"


def test_save_waits_for_the_disk_when_told_to(tmp_path):
    store = FileStore(tmp_path / "sessions", sync=True)
    sid = sids.new()
    for size in (10, 20, 5000, 10):
        save(store, sid, b"x" * size)
        assert len(store.load(sid).data) == size


def test_file_of_another_form_is_no_session_and_is_replaced_by_a_save(store):
    sid = sids.new()
    save(store, sid)
    path = file_of(store, sid)
    write(path, b"\x80\x05something else entirely" * 20)
    os.utime(path, (0, 0))
    assert store.load(sid) is None
    assert store.sweep(Pace.flat_out()).deleted == 0
    save(store, sid, b"ours")
    assert store.load(sid).data == b"ours"


# --- writes without the session's lock


@pytest.mark.parametrize("size", [10, 50_000])
def test_lock_taken_while_another_writes_without_it_overwrites_nothing_unseen(
    store, monkeypatch, size
):
    """What it loads may be what was there before that write, in a file that is replaced."""
    sid = sids.new()
    version = save(store, sid, b"old")
    first = store.lock(sid, 1)
    writing = FileStore(store.path)
    own_save, taken = slotfile.save, []

    def overtaken(*args):
        if not taken:
            first.release()
            taken.append(store.lock(sid, 1))
            assert store.load(sid, taken[0]).data == b"old"
        return own_save(*args)

    monkeypatch.setattr(slotfile, "save", overtaken)
    writing.save(sid, record(b"n" * size), version)
    with taken[0]:
        with pytest.raises(Conflict):
            store.save(sid, record(b"mine"), version, taken[0])
        assert writing.load(sid).data == b"n" * size
        store.save(sid, record(b"mine"), None, taken[0])
    assert writing.load(sid).data == b"mine"


def test_writer_that_was_killed_without_the_lock_stops_nobody(store):
    sid = sids.new()
    version = save(store, sid, b"old")
    with store.lock(sid, 1):
        writer = fork.Process(target=_die_in_a_write, args=(store.path, sid))
        writer.start()
        writer.join(30)
        assert writer.exitcode == -signal.SIGKILL
    with store.lock(sid, 1) as held:
        assert store.load(sid, held).data == b"old"
        version = store.save(sid, record(b"new"), version, held)
    assert store.load(sid)[::5] == (b"new", version)
    with store.lock(sid, 1):
        save(store, sid, b"unlocked")
    assert store.load(sid).data == b"unlocked"


def record(data):
    now = time.time()
    return Record(data, now, now, 1800)


def _die_in_a_write(path, sid):
    slotfile.save = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    save(FileStore(path), sid, b"lost")


def test_lock_of_a_killed_child_is_not_kept_by_what_it_has_forked(store):
    sid = sids.new()
    reading, writing = os.pipe()
    holder = os.fork()
    if holder == 0:
        store.lock(sid, 1)
        pid = os.fork()
        if pid == 0:
            signal.pause()
        os.write(writing, str(pid).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(holder, 0)
    pid = int(os.read(reading, 20))
    try:
        # it has a moment to give up what it came with
        store.lock(sid, 30).release()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.close(reading)
        os.close(writing)


# --- full disks


def in_child(action):
    """Run *action* in a child; return whether it ended well."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            action()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize("size", [1500, 50_000])
def test_full_disk_raises_and_the_old_version_stays(store, size):
    sid = sids.new()
    save(store, sid, b"old" * 400)

    def fill():
        # room for a part of the second slot; the rest fails as it does on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (2148, 2148))
        with pytest.raises(StoreUnavailable):
            save(store, sid, b"n" * size)

    assert in_child(fill)
    assert store.load(sid).data == b"old" * 400
    assert [path for path in files(store) if "." in os.path.basename(path)] == []
    save(store, sid, b"n" * size)
    assert store.load(sid).data == b"n" * size


def test_new_session_on_a_full_disk_leaves_no_file(store):
    sid = sids.new()

    def fill():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        with pytest.raises(StoreUnavailable):
            save(store, sid)

    assert in_child(fill)
    assert not os.path.exists(file_of(store, sid))


def test_sweep_makes_room_on_a_full_disk(store):
    """Also where it cannot write how far it has come."""
    for _ in range(20):
        save(store, sids.new(), accessed=0)

    def sweep():
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        assert store.sweep(Pace.flat_out()).finished

    assert in_child(sweep)
    assert store.stats().expired == 0


# --- processes


KILLS = (pytest.param(150, marks=pytest.mark.slow), pytest.param(1000, marks=pytest.mark.stress))


@pytest.mark.parametrize("kills", KILLS)
def test_no_save_is_torn_or_lost_by_kills(store, kills):
    ids = [sids.new() for _ in range(4)]
    for sid in ids:
        save(store, sid, COUNTER.pack(0))
    returned = mmap.mmap(-1, COUNTER.size * len(ids))

    def note(number, count):
        # by one copy of 8 bytes: struct.pack_into would fill them with zeros first
        returned[number * COUNTER.size : (number + 1) * COUNTER.size] = COUNTER.pack(count)

    def writer(seed):
        sizes = random.Random(seed)
        while True:
            for number, sid in enumerate(ids):
                (count,) = COUNTER.unpack_from(returned, number * COUNTER.size)
                content = COUNTER.pack(count + 1) * sizes.choice((1, 100, 100, 200, 900))
                if seed % 2:
                    save(store, sid, content)
                else:
                    # as a request does: the file stays open from the load to the save
                    with store.lock(sid, 10) as held:
                        record = store.load(sid, held)
                        store.save(sid, record._replace(data=content), record.version, held)
                note(number, count + 1)

    chance = random.Random(1)
    for kill in range(kills):
        before = bytes(returned)
        pid = os.fork()
        if not pid:
            writer(kill)
        while bytes(returned) == before:
            os.sched_yield()
        killed_at = time.monotonic() + chance.uniform(0, 0.002)
        while time.monotonic() < killed_at:
            os.sched_yield()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for number, sid in enumerate(ids):
            data = store.load(sid).data
            (count,) = COUNTER.unpack_from(data)
            assert data == data[: COUNTER.size] * (len(data) // COUNTER.size)
            (least,) = COUNTER.unpack_from(returned, number * COUNTER.size)
            assert least <= count <= least + 1
            # the kill may have come between the save and the note of it
            note(number, count)


def test_readers_see_whole_versions_and_never_an_older_one(store):
    sid = sids.new()
    save(store, sid, COUNTER.pack(0) * 5000)
    stop = fork.Event()

    def writer():
        count = 0
        while not stop.is_set():
            count += 1
            save(store, sid, COUNTER.pack(count) * 5000)

    child = fork.Process(target=writer)
    child.start()
    last = 0
    for _ in range(5000):
        data = store.load(sid).data
        (count,) = COUNTER.unpack_from(data)
        assert data == COUNTER.pack(count) * 5000
        assert count >= last
        last = count
    stop.set()
    child.join()


def test_lock_of_a_killed_child_is_free_at_once(store):
    sid = sids.new()
    locked = fork.Event()

    def holder():
        store.lock(sid, 5)
        locked.set()
        signal.pause()

    child = fork.Process(target=holder)
    child.start()
    locked.wait()
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    store.lock(sid, 0).release()


def test_lock_is_not_inherited_by_a_child(store):
    sid = sids.new()
    held = store.lock(sid, 5)
    assert not in_child(lambda: store.lock(sid, 0))
    held.release()
    assert in_child(lambda: store.lock(sid, 0))


def test_saved_session_survives_a_sweep_that_judges_it_meanwhile(store):
    """Saves without a session lock, each just when the sweep finds the session expired."""
    ids = [sids.new() for _ in range(20)]
    stop = fork.Event()

    def sweeping():
        while not stop.is_set():
            store.sweep(Pace.flat_out())

    child = fork.Process(target=sweeping)
    child.start()
    try:
        for turn in range(1500):
            sid = ids[turn % len(ids)]
            save(store, sid, b"dead", accessed=time.time() - 10_000)
            save(store, sid, b"alive")
            assert store.load(sid).data == b"alive"
    finally:
        stop.set()
        child.join()


def test_save_that_has_returned_outlives_deletes_before_it(store):
    """Two children save and delete one session without a lock: the last word holds."""
    sid = sids.new()
    stop = fork.Event()

    def deleting():
        while not stop.is_set():
            store.delete(sid)
            store.touch(sid, time.time())

    child = fork.Process(target=deleting)
    child.start()
    for _ in range(2000):
        save(store, sid)
    stop.set()
    child.join()
    save(store, sid, b"last")
    assert store.load(sid).data == b"last"
