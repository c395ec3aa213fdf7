"""Rows that become private, go away or change their path: what was made of them is not served.

On real Apache, on both servers, in all the ways in which a change can escape a comparison of two
snapshots.
"""

import contextlib
import io
import itertools
import os
import pathlib
import sqlite3
import threading

import pytest
from PIL import Image

from handlers import locks, state_directory
from handlers.cache.sweep import Round
from handlers.elected import read_state
from handlers.lookup.state import State
from tests.conftest import SERVERS, watched
from tests.servers.httpd import Httpd, make_images_table
from tests.support import run_command, until

THUMBNAIL = "/thumbs/200x200/new.jpg"
ORIGINAL = "/images/new"
CHANGES = {
    "private": "UPDATE images SET private = 1, changed = datetime('now', 'localtime')",
    "deleted": "DELETE FROM images",
    "another path": "UPDATE images SET path = 'blue.jpg', changed = datetime('now', 'localtime')",
}


class Site(Httpd):
    """A site on SQLite whose rows the test changes; ``red.jpg`` and ``blue.jpg`` are there."""

    def __init__(self, public_dir, server):
        root = public_dir / "pictures"
        root.mkdir()
        for colour in ("red", "blue"):
            Image.new("RGB", (640, 480), colour).save(root / f"{colour}.jpg")
            # sources of the same time tell nothing about which one a thumbnail is of
            os.utime(root / f"{colour}.jpg", (1.7e9, 1.7e9))
        self.database = public_dir / "images.db"
        url = make_images_table(self.database, {"old": "red.jpg"})
        self.change("ALTER TABLE images ADD changed TEXT")
        super().__init__(public_dir / "site", server, url, root)

    def configure(self, *, snapshot, **options):
        root = os.path.dirname(self.database) + "/pictures"
        self.write_settings(f"sqlite:///{self.database}", root, "private", snapshot=snapshot)
        lines = {"cache.interval": "3600", "lookup.refresh": "0.5", **options}
        self.settings("\n".join(f"{name} = {value}" for name, value in lines.items()))

    def change(self, *statements):
        with contextlib.closing(sqlite3.connect(self.database)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    def insert(self):
        self.change("INSERT INTO images VALUES ('new', 'red.jpg', 0, datetime('now', 'localtime'))")

    def refreshing(self):
        """Keep the children from refreshing the snapshot for the length of a with block."""
        return locks.held(self.work.snapshot + ".state", timeout=30)

    def answers_as_after(self, change):
        if change == "another path":
            answer = self.request(THUMBNAIL)
            # Apache may have looked for a file that is removed before it can be opened
            return answer.status == 200 and colour(answer) == "blue"
        return self.request(THUMBNAIL).status == 404 and self.request(ORIGINAL).status == 404


def cached(site):
    """Return the files in the cache that were made of the picture ``new``."""
    return sorted(str(path) for path in pathlib.Path(site.work.cache).rglob("new.*"))


def is_as_after(site, change):
    """Tell whether the site answers so, and has nothing else in its cache.

    A thumbnail that is made anew may be removed with the old ones; the next request makes it again.
    """
    return site.answers_as_after(change) and len(cached(site)) == (change == "another path")


def colour(answer):
    assert answer.status == 200
    with Image.open(io.BytesIO(answer.body)) as picture:
        red, _, blue = picture.convert("RGB").getpixel((10, 10))
    return "red" if red > blue else "blue"


@pytest.fixture(params=SERVERS)
def site(request, public_dir):
    site = Site(public_dir, request.param)
    with site.stopped_at_the_end():
        yield from watched(site)


def look_at(site):
    for path in (THUMBNAIL, "/thumbs/400x400/new.jpg", "/thumbs/200x200-crop/new.webp"):
        assert colour(site.request(path)) == "red"
    assert len(cached(site)) >= 3


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("updated", [False, True], ids=["all rows", "lookup.updated"])
def test_row_that_no_snapshot_held(site, change, updated):
    site.configure(snapshot=True, **({"lookup.updated": "changed"} if updated else {}))
    site.start()
    until(lambda: os.path.exists(site.work.snapshot))
    with site.refreshing():
        site.insert()
        look_at(site)
        site.change(f"{CHANGES[change]} WHERE id = 'new'")
    until(lambda: is_as_after(site, change))


@pytest.mark.parametrize("change", CHANGES)
def test_snapshot_that_somebody_deletes(site, change):
    """The next one has nothing to be compared with."""
    site.configure(snapshot=True)
    site.insert()
    site.start()
    until(lambda: os.path.exists(site.work.snapshot))
    look_at(site)
    with site.refreshing():
        os.unlink(site.work.snapshot)
        site.change(f"{CHANGES[change]} WHERE id = 'new'")
    until(lambda: is_as_after(site, change))


@pytest.mark.parametrize("change", CHANGES)
def test_without_any_snapshot(site, change):
    site.configure(snapshot=False, **{"cache.interval": "0.5"})
    site.insert()
    site.start()
    look_at(site)
    assert colour(site.request(ORIGINAL)) == "red"
    site.change(f"{CHANGES[change]} WHERE id = 'new'")
    until(lambda: is_as_after(site, change))


def test_rows_without_a_snapshot_are_read_again(site):
    """Nothing in the cache tells of a picture of which only the original was looked at."""
    site.configure(snapshot=False)
    site.insert()
    site.start()
    assert colour(site.request(ORIGINAL)) == "red"
    site.change("UPDATE images SET private = 1 WHERE id = 'new'")
    until(lambda: all(site.request(ORIGINAL).status == 404 for _ in range(9)))


def test_column_that_is_named_later(site):
    site.expect(f"cache {site.work.cache} emptied")
    site.insert()
    site.change("UPDATE images SET private = 1 WHERE id = 'new'")
    site.start()
    look_at(site)
    site.stop()
    site.configure(snapshot=False)
    site.start()
    assert site.request(THUMBNAIL).status == site.request(ORIGINAL).status == 404


@pytest.mark.parametrize("snapshot", [True, False], ids=["snapshot", "no snapshot"])
@pytest.mark.parametrize("change", CHANGES)
def test_request_that_read_the_row_before(site, change, snapshot):
    """It makes the thumbnail when the change was told, and the old one removed, long ago."""
    site.configure(
        snapshot=snapshot,
        **{"thumbnail.makers": "1", "thumbnail.wait": "60", "cache.interval": "0.5"},
    )
    site.insert()
    site.start()
    until(lambda: not snapshot or os.path.exists(site.work.snapshot))
    look_at(site)
    answers = []
    slow = threading.Thread(
        target=lambda: answers.append(site.request("/thumbs/400x400-crop/new.png"))
    )
    with locks.held(state_directory.path(site.work.cache, "makers")):
        slow.start()
        waiters = state_directory.path(site.work.cache, "waiters")
        until(lambda: os.path.exists(waiters) and is_held(waiters))
        site.change(f"{CHANGES[change]} WHERE id = 'new'")
        # all that was made before is removed, so the change is known everywhere
        until(lambda: not cached(site))
    slow.join()
    if change == "another path":
        assert colour(answers[0]) == "blue"
    else:
        assert answers[0].status == 404
        assert cached(site) == []


def is_keeper_at_rest(site):
    """Tell whether a round is over that began after the snapshot was compared with the table."""
    found = read_state(state_directory.path(site.work.cache, "round"), Round)
    compared = read_state(f"{site.work.snapshot}.state", State) or State()
    return found is not None and found.finished and found.started > compared.refreshed


def is_held(path):
    return f":{os.stat(path).st_ino} " in pathlib.Path("/proc/locks").read_text()


@pytest.mark.parametrize("snapshot", [True, False], ids=["snapshot", "no snapshot"])
@pytest.mark.parametrize("change", CHANGES)
def test_command_hides_at_once(site, change, snapshot):
    """Long before the next refresh, in all children, the original as well."""
    site.configure(snapshot=snapshot, **{"lookup.refresh": "3600"})
    site.insert()
    site.start()
    until(lambda: not snapshot or os.path.exists(site.work.snapshot))
    look_at(site)
    for _ in range(9):
        assert colour(site.request(ORIGINAL)) == "red"
    # a late one would find the change before the command does
    until(lambda: is_keeper_at_rest(site))
    site.change(f"{CHANGES[change]} WHERE id = 'new'")
    done = run_command(site.work.settings, "cache", "purge", "new")
    assert (done.returncode, done.stdout) == (0, "3 thumbnails deleted.\n"), done.stderr
    assert cached(site) == []
    page = site.request("/").body
    for _ in range(9):
        if change == "another path":
            assert colour(site.request(THUMBNAIL)) == colour(site.request(ORIGINAL)) == "blue"
        else:
            assert site.request(THUMBNAIL).status == site.request(ORIGINAL).status == 404
            assert site.request("/thumbs/400x400-crop/new.avif").status == 404
    assert (b"/new." in page or b'"/images/new"' in page) == (change == "another path")
    # what was purged only, as its file was replaced, is there as before
    assert colour(site.request("/thumbs/200x200/old.jpg")) == "red"


@pytest.fixture(params=SERVERS)
def mariadb_site(request, public_dir, mariadb):
    """A site on MariaDB with a private picture, whose sessions lie there, too."""
    root = public_dir / "pictures"
    root.mkdir()
    Image.new("RGB", (640, 480), "red").save(root / "red.jpg")
    name = f"hidden_{request.param}"
    mariadb.execute(
        f"DROP DATABASE IF EXISTS {name}",
        f"CREATE DATABASE {name}",
        f"CREATE TABLE {name}.images (id VARCHAR(128) PRIMARY KEY, path VARCHAR(255) NOT NULL,"
        " private INT NOT NULL DEFAULT 0)",
        f"INSERT INTO {name}.images VALUES ('new', 'red.jpg', 0), ('secret', 'red.jpg', 1),"
        " ('secret2', 'red.jpg', 1)",
    )
    site = Httpd(public_dir / "site", request.param, mariadb.url(name), root, children=1)
    site.database = name
    with site.stopped_at_the_end():
        yield from watched(site)


@pytest.mark.parametrize("snapshot", [True, False], ids=["snapshot", "no snapshot"])
def test_outage_removes_nothing(mariadb_site, mariadb, snapshot):
    site = mariadb_site
    site.write_settings(
        mariadb.url(site.database),
        str(pathlib.Path(site.work.directory).parent / "pictures"),
        snapshot=snapshot,
    )
    site.settings("cache.interval = 0.3\nlookup.refresh = 0.5\nlookup.longest_pause = 0.5")
    site.start()
    until(lambda: not snapshot or os.path.exists(site.work.snapshot))
    look_at(site)
    before = cached(site)
    site.expect("is away|is back")
    mariadb.kill()
    try:
        until(lambda: "is away" in site.log())
        rounds = site.log().count("cache: ")
        until(lambda: site.log().count("cache: ") > rounds + 3)
        assert cached(site) == before
        assert colour(site.request("/thumbs/400x400/new.webp")) == "red"
    finally:
        mariadb.start()
    mariadb.execute(f"DELETE FROM {site.database}.images WHERE id = 'new'")
    until(lambda: cached(site) == [])
    assert site.request(THUMBNAIL).status == 404


@pytest.mark.parametrize("snapshot", [True, False], ids=["snapshot", "no snapshot"])
def test_private_and_unknown_are_one(mariadb_site, mariadb, snapshot):
    """The same answer after the same work, with a large cookie, and while the database is away."""
    site = mariadb_site
    url = mariadb.url(site.database)
    root = str(pathlib.Path(site.work.directory).parent / "pictures")
    site.write_settings(url, root, "private", snapshot=snapshot)
    site.settings(
        f"mod_python.session.session_type = SqlSession\nmod_python.session.database = {url}\n"
        "mod_python.session.serializer = json\nmod_python.session.sweep = off\n"
        "lookup.refresh = 3600\nlookup.longest_pause = 0.5\nlookup.missing_ttl = 3600"
    )
    run_command(site.work.settings, "sessions", "create", check=True)
    pathlib.Path(site.work.users).write_text("")
    os.chmod(site.work.users, 0o644)
    site.start()
    until(lambda: not snapshot or os.path.exists(site.work.snapshot))
    sid = "0123456789abcdef" * 2
    cookie = {"Cookie": f"pysid={sid}; filler={'x' * 7900}"}
    urls = ("/thumbs/200x200/%s.jpg", "/images/%s", "/?picture=%s")
    for number, (headers, url) in enumerate(itertools.product(({}, cookie), urls)):
        private, unknown = (work(site, mariadb, url % id, headers) for id in ("secret", "nobody"))
        assert private == unknown
        status, _, _, rows, sessions = private
        # one question, then both answers are remembered
        assert (status, rows, sessions > 0) == (404, number == 0, headers == cookie)
    site.expect("is away|is back|sessions")
    mariadb.kill()
    try:
        for path in ("/thumbs/200x200/%s.jpg", "/images/%s"):
            answers = [without_date(site.request(path % id)) for id in ("secret2", "nobody2")]
            assert answers[0] == answers[1] and answers[0][0] == 503
    finally:
        mariadb.start()


def work(site, mariadb, path, headers):
    """Ask for *path*; return the answer, and the questions that the databases were asked."""
    mariadb.forget_statements()
    answer = without_date(site.request(path, headers=headers))
    asked = [len(mariadb.statements(table)) for table in ("`images`", "sessions")]
    return (*answer, *asked)


def without_date(answer):
    names = [name for name in answer.headers if name not in ("Date", "Content-Length")]
    return answer.status, [(name, answer.headers[name]) for name in names], len(answer.body) > 0
