"""The status page alone says why pictures are missing, and what to do; each cause on a server."""

import contextlib
import html
import json
import os
import pathlib
import re
import sqlite3
import subprocess

import pytest
from PIL import Image

from handlers import locks
from tests.conftest import watched
from tests.servers.httpd import Httpd, make_images_table
from tests.support import until


@pytest.fixture(scope="module")
def grain(base):
    """A picture that takes a maker far more than a fifth of a second."""
    path = base / "grain.jpg"
    Image.effect_noise((6000, 4500), 60).save(path, quality=80, progressive=True)
    return path


@pytest.fixture
def site(public_dir, grain):
    """A site with pictures that the test may change, not started yet."""
    root = public_dir / "pictures"
    root.mkdir()
    Image.new("RGB", (640, 480), "teal").save(root / "fine.jpg")
    os.link(grain, root / "grain.jpg")
    rows = {"fine": "fine.jpg", "grain": "grain.jpg"}
    url = make_images_table(public_dir / "images.db", rows)
    server = Httpd(public_dir / "site", "mod_wsgi", url, root, snapshot=True)
    server.pictures, server.table = root, public_dir / "images.db"
    with server.stopped_at_the_end():
        for started in watched(server):
            started.expect(".")
            yield started


#: The gallery waits for the first snapshot that long.
IMPATIENT = "lookup.connect_timeout = 0.2\nlookup.timeout = 0.2\n"


def health(site):
    return json.loads(site.request("/handlers-health").body)


def told(site, name):
    """Ask for a thumbnail in vain; return what the page says, by part, and its title."""
    assert site.request(f"/thumbs/200x200/{name}.jpg").status == 503, site.log()
    page = site.request("/handlers-status")
    assert page.status == 200
    text = page.body.decode()
    found = re.findall(r'<li class="(\w+)"><b>(\w+)</b> (.*?)</li>', text)
    parts = {part: html.unescape(said) for state, part, said in found if state != "well"}
    probe = site.request("/handlers-health")
    is_unwell = any(state == "unwell" for state, _, _ in found)
    assert probe.status == (503 if is_unwell else 200)
    # a child that has opened a snapshot before does not miss its file
    said = json.loads(probe.body)
    assert all(said[part] == parts[part] for part in parts if part != "snapshot")
    return parts, re.search("<h1>(.*?)</h1>", text)[1]


def test_database_away(site):
    site.settings(f"{IMPATIENT}lookup.database = mysql://a@127.0.0.1:1/b")
    site.start(warm=False)
    parts, title = told(site, "fine")
    assert "mysql://a@127.0.0.1:1/b is away (" in parts["database"]
    assert "start it, or correct lookup.database" in parts["database"]
    assert "lookup warm" in parts["snapshot"]
    assert title == "2 of 5 unwell"


def test_database_that_is_back(site):
    site.settings("lookup.refresh = 0.2\nlookup.longest_pause = 0.2")
    site.start()
    away = site.table.with_name("away.db")
    site.table.rename(away)

    def page_shows(what):
        return re.search(what, site.request("/handlers-status").body.decode())

    until(lambda: "images.db" in health(site).get("database", ""))
    until(lambda: page_shows(r"<td>away since \d{4}-"))
    away.rename(site.table)
    until(lambda: health(site)["database"] == "well")
    until(lambda: page_shows(r"<td>back \d{4}-"))


def test_table_with_wrong_columns(site):
    with contextlib.closing(sqlite3.connect(site.table)) as connection:
        connection.execute("ALTER TABLE images RENAME COLUMN path TO file")
    site.settings(IMPATIENT)
    site.start(warm=False)
    parts, _ = told(site, "fine")
    assert re.search("no such column: path.*correct lookup.path", parts["database"])


def test_pictures_that_are_not_mounted(site):
    site.start()
    site.pictures.rename(site.pictures.with_name("elsewhere"))
    site.pictures.mkdir()
    parts, title = told(site, "fine")
    assert parts["pictures"] == f"images.root {site.pictures} is empty: mount its file system"
    assert title == "1 of 5 unwell"
    site.pictures.rmdir()
    assert (
        "no such directory: mount it, or correct images.root" in told(site, "fine")[0]["pictures"]
    )


@pytest.mark.root
def test_full_disk(site):
    site.work.make()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m,mode=755,uid=33,gid=33", "none"]
    subprocess.run([*mount, site.work.cache], check=True)
    try:
        site.start()
        fill = pathlib.Path(site.work.cache) / "fill"
        with contextlib.suppress(OSError):
            fill.write_bytes(b"x" * (33 << 20))
        parts, _ = told(site, "fine")
        assert re.search("is full: make room, set cache.bytes.*cache sweep", parts["cache"])
        site.stop()
    finally:
        subprocess.run(["umount", "-l", site.work.cache], check=True)


@pytest.mark.root
@pytest.mark.parametrize("below", ["", "thumbs", "handlers-state"])
def test_cache_of_another_owner(site, below):
    site.start()
    place = os.path.join(site.work.cache, below).rstrip("/")
    # what a child makes or removes meanwhile is in its way
    until(lambda: subprocess.run(["chown", "-R", "root:root", place]).returncode == 0)
    parts, _ = told(site, "fine")
    assert re.search(
        f"belongs to root.*may not write there: chown -R www-data: {re.escape(place)}$",
        parts["cache"],
    )


@pytest.mark.root
def test_file_of_the_cache_that_a_command_of_root_has_made(site):
    site.start()
    lock = os.path.join(site.work.cache, "handlers-state", "makers")
    pathlib.Path(lock).touch(0o600)
    os.chown(lock, 0, 0)
    wanted = f"{lock} is not Apache's user www-data's: chown -R www-data: {lock}"
    assert told(site, "fine")[0]["cache"] == wanted


def test_makers_that_are_busy_all_the_time(site):
    site.settings("thumbnail.makers = 1\nthumbnail.wait = 0.2")
    site.start()
    lock = os.path.join(site.work.cache, "handlers-state", "makers")
    for number, ext in enumerate(("jpg", "webp", "png", "avif"), 1):
        assert site.request(f"/thumbs/400x400/fine.{ext}").status == 200
        # its turn is over a moment after the answer
        with locks.held(lock, 0, 60):
            parts, title = told(site, "fine")
            page = site.request("/handlers-status").body.decode()
        assert f"{number} requests were turned away in 5 minutes" in parts["makers"]
        assert "cache warm --all" in parts["makers"]
        # no load balancer shall send the others more
        assert title == "Worth a look"
        if "1 of 1 processes that make thumbnails are there, 1 of them busy" in page:
            break
    else:
        pytest.fail("the maker, which goes when it was idle for ten seconds, was never seen")


def test_source_that_kills_its_maker(site):
    site.settings("thumbnail.cpu = 0.2\nthumbnail.tries = 1000")
    site.start()
    parts, title = told(site, "grain")
    assert title == "Worth a look"
    assert re.search(
        r"1 makers were lost in 5 minutes: thumbnail 200x200/grain.jpg: "
        r"(over 0\.2 s of CPU time|not finished within 0\.8 s): "
        "replace 'grain.jpg'",
        parts["makers"],
    )
    # what other sources need is made meanwhile, if not at once on a busy machine
    until(lambda: site.request("/thumbs/200x200/fine.jpg").status == 200)


def test_makers_that_die_of_every_source(site):
    site.settings("thumbnail.cpu = 0.2\nthumbnail.tries = 1")
    rows = {f"g{number}": f"g{number}.jpg" for number in range(3)}
    for path in rows.values():
        os.link(site.pictures / "grain.jpg", site.pictures / path)
    with contextlib.closing(sqlite3.connect(site.table)) as connection, connection:
        connection.executemany("INSERT INTO images VALUES (?, ?, 0)", rows.items())
    site.start()
    for name in rows:
        site.request(f"/thumbs/200x200/{name}.jpg")
    parts, _ = told(site, "grain")
    assert "none of 4 thumbnails could be made in 5 minutes: thumbnail " in parts["makers"]
