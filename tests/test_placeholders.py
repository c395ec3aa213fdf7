"""Blurred placeholders: made by a maker, written into the table, carried by the snapshot."""

import base64
import contextlib
import io
import itertools
import json
import os
import re
import sqlite3
import time

import pytest
from PIL import Image

from handlers import html
from handlers.elected import write_state
from handlers.lookup import Lookup, Row, snapshot
from handlers.lookup import options as lookup_options
from handlers.lookup.refresh import Refresher
from handlers.lookup.row import LONGEST_PLACEHOLDER
from tests.support import run_command

_numbers = itertools.count()


class OnFile:
    """The table in an SQLite file."""

    def __init__(self, directory):
        self.path = directory / "images.db"
        self.url = f"sqlite:///{self.path}"
        self.run(
            "CREATE TABLE photo (id TEXT PRIMARY KEY, path TEXT, hidden INT, blur VARCHAR(300))"
        )

    def run(self, query):
        with contextlib.closing(sqlite3.connect(self.path)) as connection, connection:
            return connection.execute(query).fetchall()


class OnServer:
    """The table in MariaDB, whose column of the last change follows each UPDATE."""

    def __init__(self, server):
        self.server, self.name = server, f"blur{next(_numbers)}"
        server.execute(f"CREATE DATABASE {self.name}")
        self.url = server.url(self.name)
        self.run(
            "CREATE TABLE photo (id VARCHAR(40) PRIMARY KEY, path TEXT, hidden INT,"
            " blur VARCHAR(300))"
        )

    def run(self, query):
        query = re.sub(r"\bphoto\b", f"{self.name}.photo", query)
        return self.server.execute(query)


@pytest.fixture(params=["sqlite", pytest.param("mariadb", marks=pytest.mark.server)])
def place(request, public_dir):
    """Settings with a table of four pictures: two plain ones, a transparent and a private one."""
    root = public_dir / "pictures"
    root.mkdir()
    Image.linear_gradient("L").resize((640, 480)).convert("RGB").save(root / "a.jpg")
    Image.effect_noise((300, 300), 90).convert("RGB").save(root / "b.png")
    Image.new("RGBA", (300, 200), (9, 90, 200, 90)).save(root / "c.png")
    Image.new("RGB", (90, 90), "red").save(root / "d.jpg")
    table = OnFile(public_dir) if request.param == "sqlite" else None
    table = table or OnServer(request.getfixturevalue("mariadb"))
    rows = "('a', 'a.jpg', 0), ('b', 'b.png', 0), ('c', 'c.png', 0), ('d', 'd.jpg', 1)"
    table.run(f"INSERT INTO photo (id, path, hidden) VALUES {rows}")
    (public_dir / "cache").mkdir()
    settings = public_dir / "settings.ini"
    settings.write_text(
        f"[lookup]\ndatabase = {table.url}\ntable = photo\nprivate = hidden\nplaceholder = blur\n"
        f"snapshot = {public_dir}/snapshot\n"
        f"[images]\nroot = {root}\n[thumbnail]\ncache = {public_dir}/cache\nsizes = 200x200\n"
    )
    settings.chmod(0o600)
    table.settings = settings
    table.directory = public_dir
    return table


def warm(place, *arguments):
    return run_command(place.settings, "cache", "warm", *arguments, "--placeholders")


def blurs(place):
    return dict(place.run("SELECT id, blur FROM photo ORDER BY id"))


@pytest.mark.slow
def test_column_is_filled_once(place):
    done = warm(place, "--all")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("3 thumbnails made, 0 there already, 0 failed, 2 placeholders\n")
    found = blurs(place)
    # transparent: nothing may be seen behind it; private: left alone, as its thumbnails are
    assert (found["c"], found["d"]) == ("", None)
    for id, size in (("a", (20, 15)), ("b", (20, 20))):
        assert len(found[id]) <= LONGEST_PLACEHOLDER
        data = base64.b64decode(found[id], validate=True)
        picture = Image.open(io.BytesIO(data))
        assert (picture.format, picture.size, picture.mode) == ("WEBP", size, "RGB")
        assert b"EXIF" not in data and b"ICCP" not in data
    place.run("UPDATE photo SET blur = NULL WHERE id = 'a'")
    place.run("UPDATE photo SET blur = 'own' WHERE id = 'b'")
    again = json.loads(warm(place, "--all", "--json").stdout)
    assert (again["made"], again["present"], again["placeholders"]) == (0, 3, 1)
    assert blurs(place) == {**found, "b": "own"}


@pytest.mark.slow
def test_account_that_may_not_write_is_told_at_once(place, public_dir):
    if isinstance(place, OnFile):
        if os.geteuid() == 0:
            os.chown(public_dir / "cache", 33, 33)
        else:
            place.path.chmod(0o444)
        os.chmod(public_dir / "settings.ini", 0o644)
        wanted = "may not write to .*images.db"
    else:
        name = f"reader{next(_numbers)}"
        place.server.execute(
            f"CREATE USER {name}@'%' IDENTIFIED BY 'x'",
            f"GRANT SELECT ON {place.name}.* TO {name}@'%'",
        )
        text = place.settings.read_text()
        own = place.server.url(place.name, name, "x")
        place.settings.write_text(text.replace(place.url, own))
        wanted = "UPDATE command denied.*GRANT UPDATE ON `photo`"
    done = warm(place, "--all")
    assert done.returncode == 1 and re.search(wanted, done.stderr), done.stderr
    assert not list((public_dir / "cache").glob("thumbs/*/*"))


@pytest.mark.slow
def test_column_that_is_not_there(place):
    text = place.settings.read_text()
    place.settings.write_text(text.replace("placeholder = blur", "placeholder = none_such"))
    assert "none_such" in warm(place, "--all").stderr
    place.settings.write_text(text.replace("placeholder = blur\n", ""))
    assert "ALTER TABLE ... ADD COLUMN" in warm(place, "--all").stderr


def test_snapshot_carries_it_and_no_thumbnail_is_lost_by_it(place):
    """The rows change, and what was made of them does not."""
    options = {
        "lookup.database": place.url,
        "lookup.table": "photo",
        "lookup.placeholder": "blur",
        "lookup.snapshot": f"{place.directory}/own-snapshot",
        "lookup.refresh": "0",
    }
    told = []
    for value in (None, "UklGRgAA", "UklGRgAB", "<script>", "A" * 400):
        if value:
            place.run(f"UPDATE photo SET blur = '{value[:300]}' WHERE id = 'a'")
        refreshed(options, told)
        with contextlib.closing(Lookup.from_options(options)) as pictures:
            pictures.warm()
            row = pictures.get("a")
            assert row.path == "a.jpg"
            wanted = value if value and value.startswith("Ukl") else None
            wanted = "A" * 300 if value == "A" * 400 else wanted
            assert row.placeholder == wanted
    assert told == []
    place.run("UPDATE photo SET path = 'other.jpg' WHERE id = 'b'")
    refreshed(options, told)
    assert told == ["b"]


def refreshed(options, told):
    """Refresh the snapshot, as another process does."""
    refresher = Refresher(lookup_options.from_mapping(options))
    refresher.refresh(30, on_change=told.extend)


def test_img_has_a_picture_below_the_other_one(tmp_path, monkeypatch):
    path = tmp_path / "settings.ini"
    path.write_text("[thumbnail]\nsizes = 200x200\n")
    monkeypatch.setattr(html, "_file", None)
    html.configure(str(path))
    blurred = io.BytesIO()
    Image.new("RGB", (20, 15), "teal").save(blurred, "WEBP")
    text = base64.b64encode(blurred.getvalue()).decode()
    tag = html.img("7", "200x200", "A boat", placeholder=text)
    plain = html.img("7", "200x200", "A boat")
    assert tag == (
        f'<span class="thumbnail"><img class="placeholder" src="data:image/webp;base64,{text}" '
        f'alt="">{plain}</span>'
    )
    for wrong in (None, "", "x", f'{text}"><script>', "/9j/" + text, text + "A" * 400):
        assert html.img("7", "200x200", "A boat", placeholder=wrong) == plain


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 25_000])
def test_rows_that_say_that_they_have_changed(tmp_path, count):
    """Read by lookup.updated: into a new file, or into the layer of a large one."""
    now = int(time.time())
    with contextlib.closing(sqlite3.connect(tmp_path / "i.db")) as connection:

        def change(query):
            with connection:
                connection.execute(query)
            state = refresher._state()
            done = refresher._refresh(state, refresher._usable(), full=False)
            found = snapshot.Snapshot(refresher.path, refresher.fingerprint)
            state.told = found.serial
            write_state(refresher.state_path, state)
            return done.changed, found, list(found.changed())

        connection.execute("CREATE TABLE photo (id TEXT PRIMARY KEY, path TEXT, blur TEXT, up INT)")
        rows = ((f"i{number}", f"{number}.jpg", now - 86_400) for number in range(count))
        with connection:
            connection.executemany("INSERT INTO photo VALUES (?, ?, NULL, ?)", rows)
        options = {"database": f"sqlite:///{tmp_path}/i.db", "table": "photo", "updated": "up"}
        options |= {"placeholder": "blur", "snapshot": f"{tmp_path}/snapshot"}
        given = {f"lookup.{name}": value for name, value in options.items()}
        refresher = Refresher(lookup_options.from_mapping(given))
        refresher.refresh(5, on_change=list)
        update = f"UPDATE photo SET up = {now}"
        changed, found, told = change(f"{update}, blur = 'UklGRgAA' WHERE id = 'i1'")
        assert (changed, told, found.get("i1").placeholder) == (0, [], "UklGRgAA")
        changed, found, told = change(f"{update}, path = 'n.jpg' WHERE id = 'i2'")
        assert (changed, told, found.get("i2")) == (1, ["i2"], Row("n.jpg"))
        _, found, told = change(f"INSERT INTO photo VALUES ('new', 'x.jpg', 'UklGRgAC', {now})")
        assert (told, found.get("new").placeholder) == (["new"], "UklGRgAC")
        assert found.get("i1").placeholder == "UklGRgAA"
        assert (found.layer is not None) == (count > 20_000)
