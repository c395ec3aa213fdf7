"""Changes of a large table: a small file above the snapshot, merged now and then."""

import contextlib
import os
import random
import sqlite3
import time

import pytest

from handlers.lookup import Lookup, Row, options, snapshot, writing
from handlers.lookup.refresh import Refresher
from handlers.lookup.row import Skipped
from handlers.lookup.snapshot import LAYER, Snapshot, Unusable

COUNT = 3000


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Tables of this size are large here."""
    monkeypatch.setattr(writing, "LAYERED_FROM", 100)
    monkeypatch.setattr(writing, "_LARGEST_LAYER", 200)
    monkeypatch.setattr(snapshot, "ANCHOR", 50)
    monkeypatch.setattr(writing, "ANCHOR", 50)
    monkeypatch.setattr(writing, "_ANCHORS", writing._ANCHORS.replace("% 1000", "% 50"))


class Table:
    """A model of the table: what the snapshot must say."""

    def __init__(self, path, seed):
        self.path = str(path)
        self.chance = random.Random(seed)
        self.rows = {f"p{number:05}": self.row() for number in range(0, 2 * COUNT, 2)}
        self.rows["zz"] = Row("last.jpg")
        self.told()
        self.full()

    def row(self):
        if self.chance.random() < 0.1:
            return None
        return Row(f"{self.chance.random()}.jpg", self.chance.random() < 0.3, None, 0.5)

    def records(self, ids):
        return [(id, self.rows[id], None) for id in ids]

    def change(self, count):
        for _ in range(count):
            number = self.chance.randrange(2 * COUNT + 100)
            id = f"p{number:05}" if number % 3 else f"a{number:05}"
            self.rows[id] = self.row()
        return list(self.rows)

    @property
    def pending(self):
        """The ids that a reader sees another row of than at the last :meth:`told`."""
        ids = self.rows.keys() | self.before.keys()
        return {id for id in ids if self.rows.get(id) != self.before.get(id)}

    def told(self):
        self.before = dict(self.rows)

    def full(self, untold=False):
        old = self.opened() if os.path.exists(self.path) else None
        began = time.time_ns()
        done = writing.write_all(
            self.path, "x", self.records(self.rows), began, old, untold, Skipped(False)
        )
        return done

    def refresh(self, ids, untold=False):
        return writing.write_changes(
            self.path,
            "x",
            self.records(ids),
            lambda: len(self.rows),
            time.time_ns(),
            self.opened(),
            untold,
            Skipped(False),
        )

    def opened(self):
        return Snapshot(self.path, "x")

    def check(self):
        found = self.opened()
        wanted = {id: row for id, row in self.rows.items() if row is not None}
        assert dict(found.all()) == wanted
        assert list(found.ids()) == sorted(wanted)
        assert (found.rows, found.total) == (len(wanted), len(self.rows))
        for id in self.chance.sample(sorted(self.rows), 200):
            assert found.get(id) == self.rows[id], id
        assert found.get("none") is None and found.get("p00001x") is None
        public = sorted(id for id, row in wanted.items() if not row.private)
        assert found.public == len(public)
        for start in (0, 1, 49, 50, 51, 777, 1500, len(public) - 3, len(public), len(public) + 9):
            assert found.page(start, 7) == (public[start : start + 7], len(public)), start
            assert found.page(start, 7, private=True)[0] == sorted(wanted)[start : start + 7]
        return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))]
)
def test_layers_say_what_a_new_file_would(tmp_path, seed):
    table = Table(tmp_path / "snapshot", seed)
    table.check()
    layers = 0
    for turn in range(12):
        before = os.stat(table.path).st_ino
        table.told()
        table.refresh(table.change(table.chance.choice([1, 5, 40, 90])))
        found = table.check()
        assert set(found.changed()) == table.pending
        layers += found.layer is not None and os.stat(table.path).st_ino == before
        if turn == 7:
            # a full read finds the same with the layer as without it
            table.told()
            table.change(30)
            table.full()
            found = table.check()
            assert found.layer is None and not os.path.exists(table.path + LAYER)
            assert set(found.changed()) == table.pending
    assert layers > 3


def test_untold_changes_pass_to_the_next_layer_and_to_a_merged_file(tmp_path):
    table = Table(tmp_path / "snapshot", 5)
    for count in (3, 3, 500):
        table.refresh(table.change(count), untold=True)
        assert set(table.opened().changed()) >= table.pending
    assert table.opened().layer is None


def test_nothing_changed_writes_nothing(tmp_path):
    table = Table(tmp_path / "snapshot", 6)
    table.refresh(table.change(5))
    before = snapshot.identity(table.path)
    assert not table.refresh(list(table.rows)).new
    assert not table.full().new
    assert snapshot.identity(table.path) == before


def test_removed_row_is_noticed_above_a_layer(tmp_path):
    table = Table(tmp_path / "snapshot", 7)
    table.refresh(table.change(5))
    del table.rows["zz"]
    with pytest.raises(writing.DeletedRows):
        table.refresh(list(table.rows))
    table.full()
    assert "zz" in set(table.check().changed())


def test_layer_of_a_file_before_is_none(tmp_path):
    """A process was killed between the new file and the removal of the layer."""
    table = Table(tmp_path / "snapshot", 8)
    table.refresh(table.change(5))
    with open(table.path + LAYER, "rb") as file:
        kept = file.read()
    table.change(5)
    table.full()
    with open(table.path + LAYER, "wb") as file:
        file.write(kept)
    assert table.check().layer is None
    table.told()
    table.refresh(table.change(5))
    assert set(table.check().changed()) == table.pending


@pytest.mark.parametrize("damage", [lambda data: data[:-4096], lambda data: b"x" * 5000])
def test_damaged_layer_makes_the_snapshot_unusable(tmp_path, damage):
    """Without the layer a picture that became private would be public again."""
    table = Table(tmp_path / "snapshot", 9)
    table.refresh(table.change(90))
    with open(table.path + LAYER, "rb") as file:
        data = file.read()
    with open(table.path + LAYER, "wb") as file:
        file.write(damage(data))
    with pytest.raises(Unusable):
        table.opened()


def test_reader_of_a_layer_that_was_replaced_is_told(tmp_path):
    table = Table(tmp_path / "snapshot", 10)
    table.refresh(table.change(5))
    found = table.opened()
    table.refresh(table.change(5))
    with pytest.raises(snapshot.Replaced):
        list(found.ids())


@pytest.mark.slow
def test_cost_of_a_refresh_goes_with_the_change(tmp_path, monkeypatch):
    """By way of the lookup: a hundred rows of 50,000 write some kilobytes, and are answered."""
    monkeypatch.undo()
    path = tmp_path / "images.db"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE images (id TEXT PRIMARY KEY, path TEXT, at INT)")
        rows = ((f"p{number}", f"a/{number}.jpg", 1_600_000_000) for number in range(50_000))
        connection.executemany("INSERT INTO images VALUES (?, ?, ?)", rows)
        connection.execute("CREATE INDEX at ON images (at)")
    given = {
        "lookup.database": f"sqlite:///{path}",
        "lookup.snapshot": str(tmp_path / "snapshot"),
        "lookup.updated": "at",
        "lookup.overlap": "0",
    }
    read = options.from_mapping(given)
    Refresher(read).refresh(10)
    before = os.stat(tmp_path / "snapshot")
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "UPDATE images SET path = 'b', at = 1600000001 WHERE id IN"
            " (SELECT id FROM images ORDER BY id LIMIT 100)"
        )
    refresher = Refresher(read)
    done = refresher._refresh(refresher._state(), refresher._usable(), full=False)
    assert (done.new, done.changed) == (True, 100)
    assert os.stat(tmp_path / "snapshot").st_ino == before.st_ino
    assert os.stat(tmp_path / f"snapshot{LAYER}").st_size < 100_000
    with contextlib.closing(Lookup.from_options(given)) as pictures:
        assert pictures["p1"] == Row("b") and pictures["p9"] == Row("a/9.jpg")
        assert len(pictures) == 50_000
