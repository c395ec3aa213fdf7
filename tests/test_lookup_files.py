"""The files of a snapshot, and what admins, backups and kills leave of them: never older rows."""

import contextlib
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import threading
import time

import pytest

from handlers import invalidation
from handlers.elected import Worker, read_state, write_state
from handlers.lookup import Lookup, Row, Unavailable, options, refresh, snapshot, writing
from handlers.lookup.database import Database
from handlers.lookup.refresh import Refresher
from handlers.lookup.snapshot import LAYER
from handlers.lookup.state import State
from tests.support import until

COUNT = 300
NOW = int(time.time())
OLD, HIDDEN = Row("a.jpg", False), Row("a.jpg", True)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Tables of this size are large here."""
    monkeypatch.setattr(writing, "LAYERED_FROM", 100)
    monkeypatch.setattr(writing, "_LARGEST_LAYER", 25)


class Site:
    """A table in SQLite, and the files of its snapshot."""

    def __init__(self, directory):
        self.directory = directory
        self.path = directory / "images.db"
        self.file = directory / "files" / "snapshot"
        self.file.parent.mkdir()
        self.layer = pathlib.Path(f"{self.file}{LAYER}")
        with contextlib.closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute("CREATE TABLE images (id TEXT PRIMARY KEY, path, hidden, at INT)")
            rows = [(f"p{number}", "a.jpg", 0, NOW - 9000) for number in range(COUNT)]
            connection.executemany("INSERT INTO images VALUES (?, ?, ?, ?)", rows)
        self.given = {
            "lookup.database": f"sqlite:///{self.path}",
            "lookup.snapshot": str(self.file),
            "lookup.updated": "at",
            "lookup.private": "hidden",
            "lookup.refresh": "3600",
            "lookup.timeout": "0.05",
            "lookup.connect_timeout": "0.05",
        }
        self.refresher = Refresher(options.from_mapping(self.given))
        self.refresher.refresh(10)

    def hide(self, *numbers):
        """Make pictures private, and bring the snapshot up to date."""
        self.change(*numbers)
        self.refresh()

    def change(self, *numbers, hidden=1):
        chosen = ", ".join(f"'p{number}'" for number in numbers)
        with contextlib.closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(
                f"UPDATE images SET hidden = {hidden}, at = {NOW} WHERE id IN ({chosen})"
            )

    def refresh(self):
        found = self.refresher
        found._refresh(found._state(), found._usable(), full=False)

    def kept(self, name):
        """Keep a copy of the files as they are; return where."""
        return shutil.copytree(self.file.parent, self.directory / name)

    def opened(self):
        """Return a Lookup that refreshes nothing, as of a child that was just started."""
        pictures = Lookup.from_options(self.given)
        pictures._watcher._start_worker = lambda: None
        return contextlib.closing(pictures)

    def put(self, file, place):
        """Put a copy of *file* into the place of another, as a restored backup is."""
        shutil.copyfile(file, f"{place}.restored")
        os.replace(f"{place}.restored", place)


@pytest.fixture
def site(tmp_path):
    """Two layers were written over the file, one after the other."""
    site = Site(tmp_path)
    site.fresh = site.kept("fresh")
    site.hide(1)
    site.first = site.kept("first")
    site.hide(2)
    assert site.layer.exists()
    return site


def nothing(site):
    """Leave all as it is."""


def file_of_before_any_layer(site):
    """The rows are the same, and the layer fits."""
    site.put(site.fresh / site.file.name, site.file)


RIGHT = [nothing, file_of_before_any_layer]


def layer_removed(site):
    site.layer.unlink()


def layer_and_state_removed(site):
    site.layer.unlink()
    os.unlink(f"{site.file}.state")


def layer_of_before(site):
    site.put(site.first / site.layer.name, site.layer)


def layer_cut_off(site):
    os.truncate(site.layer, site.layer.stat().st_size - 4096)


def layer_emptied(site):
    os.truncate(site.layer, 0)


def layer_of_zeros(site):
    site.layer.write_bytes(bytes(site.layer.stat().st_size))


def layer_is_a_directory(site):
    site.layer.unlink()
    site.layer.mkdir()


def layer_of_another_file(site):
    other = Site(site.directory / "other")
    other.hide(5)
    site.put(other.layer, site.layer)


def all_but_the_state_of_before(site):
    site.put(site.first / site.file.name, site.file)
    site.put(site.first / site.layer.name, site.layer)


def file_alone_of_before_any_layer(site):
    file_of_before_any_layer(site)
    site.layer.unlink()


SPOILT = [
    layer_removed,
    layer_and_state_removed,
    layer_of_before,
    layer_cut_off,
    layer_emptied,
    layer_of_zeros,
    layer_is_a_directory,
    layer_of_another_file,
    file_alone_of_before_any_layer,
    all_but_the_state_of_before,
]


@pytest.mark.parametrize("spoil", [*RIGHT, *SPOILT])
def test_rows_of_an_earlier_snapshot_are_not_believed(site, spoil, caplog):
    (site.directory / "other").mkdir()
    spoil(site)
    # a child that was just started asks the database
    with site.opened() as pictures:
        assert [pictures[f"p{number}"] for number in (1, 2, 3)] == [HIDDEN, HIDDEN, OLD]
        assert pictures.public("p2") is None
    # and without it knows nothing
    site.path.rename(site.directory / "away")
    with site.opened() as pictures:
        if spoil in RIGHT:
            assert pictures["p2"] == HIDDEN
        else:
            for ask in (pictures.get, pictures.public, pictures.reread):
                with pytest.raises(Unavailable):
                    ask("p2")
            with pytest.raises(Unavailable):
                pictures.page(0, 10)
            assert list(pictures) == []
    (site.directory / "away").rename(site.path)
    if spoil in RIGHT or spoil is layer_is_a_directory:
        return
    # the next refresh is due, and writes the whole snapshot again
    caplog.clear()
    worker = Worker("test", lambda: None, lambda *args: None)
    with site.refresher.elect(None) as lock:
        site.refresher.work(lock, worker, None, lambda: None)
    assert "is written anew: it" in caplog.text
    assert dict(site.refresher.open().all())["p2"] == HIDDEN
    with site.opened() as pictures:
        assert pictures.in_memory("p1") == HIDDEN
        assert len(pictures) == COUNT


@pytest.mark.slow
@pytest.mark.parametrize("spoil", SPOILT)
def test_child_that_has_the_files_open_goes_on_with_them(site, spoil):
    (site.directory / "other").mkdir()
    with site.opened() as pictures:
        assert pictures["p1"] == HIDDEN
        spoil(site)
        pictures._watcher.look(wait=True)
        assert [pictures[f"p{number}"] for number in (1, 2, 3)] == [HIDDEN, HIDDEN, OLD]
        # a thread that has no connection yet finds other files, and does not hang
        found, site.refresher.damaged = [], None

        def ask():
            found.append(pictures["p2"])
            for look in (lambda: pictures.page(0, 10), lambda: list(pictures)):
                with contextlib.suppress(Unavailable):
                    look()
            found.append(pictures.newest(["p2"]))

        pictures._database._outage.begin(refresh.DatabaseAway("it is away"))
        pictures._database._outage.end()
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join(60)
        # None instead of a row would have its thumbnails removed
        assert found in ([HIDDEN, None], [HIDDEN, {"p2": HIDDEN}])


@pytest.mark.parametrize("name", ["", LAYER])
def test_file_that_was_removed_is_not_called_damaged(site, name, caplog):
    """By a thread that has no connection to it yet."""
    site.given["lookup.preload"] = "0"
    with site.opened() as pictures:
        assert pictures["p1"] == HIDDEN
        os.unlink(f"{site.file}{name}")
        found = []
        thread = threading.Thread(target=lambda: found.append(pictures["p2"]))
        thread.start()
        thread.join(60)
    assert found == [HIDDEN] and not caplog.records


@pytest.mark.parametrize("names", [[LAYER], ["", LAYER], [""]])
def test_file_that_is_written_over_is_not_read_on(site, names):
    """``cp`` puts back a backup like this, and a child that has the file open reads the new one."""
    site.given["lookup.preload"] = "0"
    refresher = site.refresher
    assert refresher._serial(refresher._state())
    with site.opened() as pictures:
        assert pictures["p1"] == HIDDEN
        for name in names:
            earlier = site.first if name else site.fresh
            shutil.copyfile(f"{earlier / site.file.name}{name}", f"{site.file}{name}")
        pictures._watcher.look(wait=True)
        assert [pictures[f"p{number}"] for number in (1, 2, 3)] == [HIDDEN, HIDDEN, OLD]
        assert pictures.public("p2") is None
        # the file alone has the same rows as before
        assert (refresher._serial(refresher._state()) is None) == (LAYER in names)
        assert (pictures._watcher.memory.snapshot is None) == (LAYER in names)


def test_value_that_nobody_has_written_is_damage_or_private(site):
    """One bit of a disk makes a number of a text, and another number of 0 and 1."""
    site.given["lookup.preload"] = "0"
    with contextlib.closing(sqlite3.connect(site.file)) as connection, connection:
        connection.execute("UPDATE rows SET private = 7 WHERE id = 'p3'")
        connection.execute("UPDATE rows SET path = 5 WHERE id = 'p4'")
    with site.opened() as pictures:
        assert pictures.in_memory("p3") == HIDDEN
        # the database is asked
        assert pictures["p4"] == OLD
        assert pictures._watcher.memory.snapshot is None
    with pytest.raises(snapshot.Unusable):
        dict(site.refresher.open().all())


def test_layer_leaves_the_time_of_the_file_below_it(site):
    before = site.file.stat().st_mtime_ns
    site.hide(3)
    assert site.refresher.open().required == 3
    assert site.file.stat().st_mtime_ns == before


def test_refresher_that_was_killed_before_the_last_step_is_helped(site, monkeypatch):
    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "require_layer", killed)
    with pytest.raises(KeyboardInterrupt):
        site.hide(3)
    monkeypatch.undo()
    found = site.refresher.open()
    assert (found.required, found.number, found.get("p3")) == (2, 3, HIDDEN)
    site.refresh()
    site.layer.unlink()
    with pytest.raises(snapshot.Unusable):
        site.refresher.open()


def test_merged_file_asks_for_no_layer(site, monkeypatch):
    monkeypatch.setattr(writing, "LAYERED_FROM", 1000)
    site.hide(*range(10, 20))
    assert not site.layer.exists()
    found = site.refresher.open()
    assert (found.required, found.number, found.get("p2")) == (0, 0, HIDDEN)


def test_clock_that_was_set_back_makes_no_snapshot_an_earlier_one(site):
    state = read_state(site.refresher.state_path, State)
    state.refreshed += 100_000
    write_state(site.refresher.state_path, state)
    site.hide(3)
    assert site.refresher.open().get("p3") == HIDDEN


@pytest.mark.parametrize("is_running", [True, False])
def test_purge_is_heeded_though_the_snapshot_is_of_the_future(site, monkeypatch, is_running):
    """Written while the clock was a year ahead."""
    cache = site.directory / "cache"
    cache.mkdir(mode=0o700)
    site.given["thumbnail.cache"] = str(cache)
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 10**9 * 86_400 * 365)
    site.refresher.refresh(10)
    site.hide(3)
    with contextlib.ExitStack() as opened:
        pictures = opened.enter_context(site.opened())
        if is_running:
            assert pictures["p4"] == OLD
        monkeypatch.undo()
        site.change(4)
        invalidation.invalidate(str(cache), ["p4"])
        if not is_running:
            pictures = opened.enter_context(site.opened())
        pictures._watcher.look(wait=True)
        assert pictures["p4"] == pictures.reread("p4") == HIDDEN
        assert pictures.public("p4") is None
        assert pictures.newest(["p3", "p4", "p5"]) == {"p3": HIDDEN, "p4": HIDDEN, "p5": OLD}


@pytest.fixture
def purged(site):
    """Return what makes a picture private or public, and has a thread notice the purge."""
    cache = site.directory / "cache"
    cache.mkdir(mode=0o700)
    site.given["thumbnail.cache"] = str(cache)

    def purge(pictures, number, hidden=1, wait=60):
        site.change(number, hidden=hidden)
        invalidation.invalidate(str(cache), [f"p{number}"])
        thread = threading.Thread(target=pictures._watcher.look, args=(True,))
        thread.start()
        thread.join(wait)
        return thread

    return purge


@pytest.mark.parametrize("ask", ["get", "public", "reread", "in_memory"])
def test_purge_is_heeded_by_a_request_that_is_reading_the_row(site, purged, ask, monkeypatch):
    site.given["lookup.preload"] = "0"
    read = snapshot.Snapshot.get

    def get(self, id):
        row = read(self, id)
        monkeypatch.undo()
        purged(pictures, 4)
        return row

    with site.opened() as pictures:
        pictures.warm()
        monkeypatch.setattr(snapshot.Snapshot, "get", get)
        assert getattr(pictures, ask)("p4") in (HIDDEN, None)
        assert pictures["p4"] == HIDDEN
        assert pictures.public("p4") is None


def test_purge_is_heeded_by_a_request_that_moves_the_row_in_memory(site, purged):
    class Older(dict):
        def get(self, id):
            row = super().get(id)
            if not thread:
                thread.append(purged(pictures, 4))
            return row

    thread = []
    site.given["lookup.preload"] = "0"
    with site.opened() as pictures:
        pictures.warm()
        pictures._watcher.memory._older = Older(p4=OLD)
        assert pictures["p4"] == HIDDEN
        assert pictures.public("p4") is None


def test_purge_is_heeded_while_all_rows_are_read_without_a_snapshot(site, purged):
    del site.given["lookup.snapshot"]
    threads = []
    with site.opened() as pictures:
        watcher = pictures._watcher
        new_memory = watcher._new_memory

        def late(*args, **options):
            memory = new_memory(*args, **options)
            threads.append(purged(pictures, 4, wait=0.2))
            return memory

        watcher._new_memory = late
        pictures.warm()
        watcher._new_memory = new_memory
        threads[0].join(60)
        assert pictures["p4"] == HIDDEN
        assert pictures.public("p4") is None


def test_picture_that_became_public_while_it_was_asked_for_is_not_hidden(site, purged, monkeypatch):
    site.given["lookup.missing_ttl"] = "3600"
    one = Database.one

    def publish(self, id):
        row = one(self, id)
        monkeypatch.undo()
        purged(pictures, 1, hidden=0)
        return row

    with site.opened() as pictures:
        monkeypatch.setattr(Database, "one", publish)
        assert pictures.public("p1") is None
        assert pictures.public("p1") == OLD


def test_full_disk_in_the_middle_of_a_layer_leaves_the_one_before(site, monkeypatch):
    before = site.layer.read_bytes()

    class Full(OSError):
        pass

    def full(*args):
        raise Full("No space left on device")

    monkeypatch.setattr(writing.os, "fsync", full)
    with pytest.raises(Full):
        site.hide(3)
    monkeypatch.undo()
    assert site.layer.read_bytes() == before
    assert sorted(os.listdir(site.file.parent)) == [
        "snapshot", "snapshot.changes", "snapshot.state"
    ]  # fmt: skip
    site.refresh()
    assert site.refresher.open().get("p3") == HIDDEN


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_writer_of_layers_killed_at_any_moment_leaves_no_older_row(site, seed):
    chance = random.Random(seed)
    for turn in range(3, 25):
        site.change(turn)
        child = os.fork()
        if child == 0:
            try:
                site.refresh()
            finally:
                os._exit(0)
        time.sleep(chance.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with site.opened() as pictures:
            assert pictures["p1"] == pictures["p2"] == HIDDEN
        if turn % 5 == 0:
            site.refresh()
            with site.opened() as pictures:
                assert all(pictures.in_memory(f"p{n}") == HIDDEN for n in range(3, turn))
    site.refresh()
    assert sorted(os.listdir(site.file.parent))[0] == "snapshot"


@pytest.mark.slow
def test_two_servers_share_a_snapshot(tmp_path, monkeypatch):
    """Each of them refreshes it after its own start, and neither undoes what the other has done."""
    site = Site(tmp_path)
    told = []
    lookups = []
    for server in ("one", "two"):
        monkeypatch.setattr(refresh, "server_start", lambda server=server: (server, 1))
        pictures = Lookup.from_options({**site.given, "lookup.refresh": "0.1"})
        pictures.on_change = lambda ids, server=server: told.append((server, list(ids)))
        pictures.warm()
        lookups.append(pictures)
    try:
        for number in range(2):
            with contextlib.closing(sqlite3.connect(site.path)) as connection, connection:
                connection.execute(
                    f"UPDATE images SET hidden = 1, at = {NOW + number} WHERE id = 'p{number}'"
                )
            for pictures in lookups:
                until(lambda p=pictures, n=number: p[f"p{n}"] == HIDDEN)
        until(lambda: sorted(id for _, ids in told for id in ids) == [f"p{n}" for n in range(2)])
    finally:
        for pictures in lookups:
            pictures.close()
