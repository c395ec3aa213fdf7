"""``lookup.encode_ids``: pictures whose ids cannot stand in a URL as they are."""

import contextlib
import html
import os
import pathlib
import re
import sqlite3
from urllib.parse import quote

import pytest

from handlers import names
from handlers.lookup import Lookup, Row
from tests.conftest import SERVERS, watched
from tests.servers.httpd import Httpd
from tests.support import run_command, until

IDS = (
    "plain",
    "foo.bar",
    "a/b",
    "../../etc/passwd",
    "..",
    "with blank",
    "Ærø-Fähre",
    "京都 🏯",
    "50%",
    "%2E",
    "q\"'<&>?#;",
    "12.0",
)
# what Apache takes for something else if it is encoded once only
NEVER_ONCE = {"plain", "../../etc/passwd", ".."}
BINARY = b"\x00\xff\xfe12 \xc3"


def text_of(binary):
    return binary.decode("utf-8", "surrogateescape")


def url(id, ending=".jpg", size="200x200"):
    return f"/thumbs/{size}/{names.in_url(names.of(id))}{ending}"


def make_sqlite(path, kind="TEXT", ids=IDS):
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"CREATE TABLE images (id {kind} PRIMARY KEY, path TEXT, at INT)")
        rows = [(id, f"sub/p{n:03d}.jpg", 1) for n, id in enumerate(ids)]
        connection.executemany("INSERT INTO images VALUES (?, ?, ?)", rows)
    os.chmod(path, 0o644)
    return f"sqlite:///{path}"


def make_mariadb(mariadb, name, kind, ids):
    mariadb.execute(
        f"DROP DATABASE IF EXISTS {name}",
        f"CREATE DATABASE {name} CHARACTER SET utf8mb4",
        f"CREATE TABLE {name}.images (id {kind} PRIMARY KEY, path VARCHAR(255), at INT)",
    )
    mariadb.fill(
        f"{name}.images", "id, path", [(i, f"sub/p{n:03d}.jpg") for n, i in enumerate(ids)]
    )
    return mariadb.url(name)


@pytest.fixture(params=[(server, snapshot) for server in SERVERS for snapshot in (False, True)])
def site(request, public_dir, pictures):
    """A running site with such ids, on each server, with a snapshot and without."""
    server, snapshot = request.param
    address = make_sqlite(public_dir / "images.db")
    site = Httpd(public_dir / "site", server, address, pictures[0], snapshot=snapshot)
    site.settings(
        "lookup.encode_ids = on\nlookup.refresh = 1\nthumbnail.keys = a-key-of-24-characters-."
    )
    site.database = public_dir / "images.db"
    with site:
        yield from watched(site)


def test_every_id_is_served_under_its_name(site):
    for id in IDS:
        first = site.request(url(id))
        again = site.request(url(id))
        assert (first.status, again.status) == (200, 200), id
        assert (first.headers["ETag"], first.body) == (again.headers["ETag"], again.body)
        assert site.request(url(id, "")).status == 200
        original = site.request(f"/images/{names.in_url(names.of(id))}")
        assert (original.status, original.headers["Content-Type"]) == (200, "image/jpeg")
    below = pathlib.Path(site.work.cache, "thumbs")
    made = {path.relative_to(below).as_posix() for path in below.rglob("*.jpg")}
    assert made >= {f"200x200/{names.of(id)}.jpg" for id in IDS}
    assert all(re.fullmatch(r"200x200/[A-Za-z0-9_%-]+\.jpg", name) for name in made)


def test_an_id_encoded_once_leads_to_its_url(site):
    for id in IDS:
        if id in NEVER_ONCE:
            continue
        # of %2E Apache makes what is the name of "."
        if id == "%2E":
            assert site.request(f"/thumbs/200x200/{quote(id)}.jpg").status == 404
            continue
        for once, canonical in (
            (f"/thumbs/200x200/{quote(id)}.jpg?a=%2E", f"{url(id)}?a=%2E"),
            (f"/images/{quote(id)}", f"/images/{names.in_url(names.of(id))}"),
        ):
            for method in ("GET", "HEAD"):
                answer = site.request(once, method)
                assert (answer.status, answer.headers["Location"]) == (301, canonical), once
            assert site.request(answer.headers["Location"]).status == 200
            assert site.request(once, "POST").status == 405
    # not for a size that does not exist, nor for what could not be an id
    for path in ("/thumbs/9x9/foo.bar.jpg", f"/thumbs/200x200/{'%20' * 90}.jpg", "/images/"):
        assert site.request(path).status == 404


def test_unknown_and_hostile_names_are_404(site):
    for path in (
        url("nobody.there"),
        url("plain."),
        "/thumbs/200x200/%252E%252E%252Fplain.jpg",
        "/thumbs/200x200/foo%252ebar.jpg",
        "/thumbs/200x200/%2541.jpg",
        "/thumbs/200x200/foo%25.jpg",
        "/thumbs/200x200/foo%2500.jpg",
        f"/thumbs/200x200/{'a' * 201}.jpg",
        f"/thumbs/200x200/{'%252E' * 67}.jpg",
    ):
        answer = site.request(path)
        if answer.status == 301:
            answer = site.request(answer.headers["Location"])
        assert answer.status == 404, path
    assert site.request("/thumbs/200x200/%00.jpg").status == 404
    assert site.request("/thumbs/200x200/a%2Fb.jpg").status == 404


def test_gallery_links_and_favourites(site):
    page = site.request("/").body.decode()
    links = re.findall(r'(?:href|src)="(/(?:thumbs/|[?]page=1&amp;picture=)[^"]+)"', page)
    assert len(links) == 2 * len(IDS)
    for link in links:
        assert site.request(html.unescape(link)).status == 200, link
    pages = [html.unescape(link) for link in links if "picture=" in link]
    originals = {
        re.search(r'href="(/images/[^"]+)"', site.request(page).body.decode())[1] for page in pages
    }
    assert originals == {f"/images/{names.in_url(names.of(id))}" for id in IDS}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = site.request("/favourites", "POST", form, f"id={quote(names.of('Ærø-Fähre'))}&back=/")
    assert answer.status == 303
    cookie = {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}
    page = site.request("/?show=favourites&page=1", headers=cookie).body.decode()
    assert page.count("<li>") == 1 and "picture=%25C3%2586r%25C3%25B8-F%25C3%25A4hre" in page
    assert site.request("/favourites", "POST", form, "id=a.b").status == 400
    assert site.request("/?page=1&picture=foo.bar").status == 404


def command(site, *arguments):
    return run_command(os.path.join(site.work.etc, "settings.ini"), *arguments)


def test_commands_take_ids_and_print_urls(site):
    signed = command(site, "cache", "url", "50x40", "Ærø-Fähre", "--format", "jpg").stdout.strip()
    assert signed.startswith("/thumbs/50x40/%25C3%2586r")
    assert site.request(signed).status == 200
    assert "'sub/p001.jpg'" in command(site, "lookup", "show", "foo.bar").stdout
    done = command(site, "cache", "warm", "--sizes", "200x200", "a/b", "..")
    assert done.returncode == 0, done.stderr
    assert re.search(r"\b2 thumbnails made", done.stderr + done.stdout)
    assert os.path.exists(os.path.join(site.work.cache, "thumbs", "200x200", "a%2Fb.jpg"))
    done = command(site, "cache", "purge", "a/b", "Ærø-Fähre")
    assert (done.returncode, re.search(r"\b2\b", done.stdout) is not None) == (0, True)
    assert not os.path.exists(os.path.join(site.work.cache, "thumbs", "200x200", "a%2Fb.jpg"))


@pytest.mark.parametrize("site", [(server, True) for server in SERVERS], indirect=True)
def test_thumbnail_of_a_changed_row_goes(site):
    first = site.request(url("foo.bar")).body
    with contextlib.closing(sqlite3.connect(site.database)) as connection, connection:
        connection.execute("UPDATE images SET path = 'large.jpg' WHERE id = 'foo.bar'")
    until(lambda: changed(site.request(url("foo.bar")), first))


def changed(answer, first):
    """Tell whether a thumbnail has come that is another one than the *first*."""
    return answer.status == 200 and answer.body != first


@pytest.mark.parametrize("snapshot", [False, True])
@pytest.mark.parametrize(
    ("kind", "ids"),
    [
        ("VARCHAR(200)", IDS),
        ("VARBINARY(200)", [*(id.encode() for id in IDS), BINARY, b"\x80"]),
        ("INT", [1, 12, 50]),
        ("VARCHAR(200) CHARACTER SET latin1", ["foo.bar", "Ærø-Fähre"]),
    ],
)
def test_columns_of_mariadb(public_dir, pictures, mariadb, kind, ids, snapshot):
    address = make_mariadb(mariadb, "encoded", kind, ids)
    expected = {
        text_of(id) if isinstance(id, bytes) else str(id): Row(f"sub/p{n:03d}.jpg")
        for n, id in enumerate(ids)
    }
    looked_up(public_dir, address, expected, snapshot)


@pytest.mark.parametrize("snapshot", [False, True])
@pytest.mark.parametrize(
    ("kind", "ids"),
    [
        ("TEXT", IDS),
        ("BLOB", [*(id.encode() for id in IDS), BINARY]),
        ("INTEGER", [1, 12, 50]),
    ],
)
def test_columns_of_sqlite(public_dir, kind, ids, snapshot):
    address = make_sqlite(public_dir / "columns.db", kind, ids)
    expected = {
        text_of(id) if isinstance(id, bytes) else str(id): Row(f"sub/p{n:03d}.jpg")
        for n, id in enumerate(ids)
    }
    looked_up(public_dir, address, expected, snapshot)


def looked_up(directory, address, expected, snapshot):
    options = {"lookup.database": address, "lookup.encode_ids": "yes"}
    # a busy server is not away
    options |= {"lookup.timeout": "30", "lookup.connect_timeout": "30"}
    if snapshot:
        options["lookup.snapshot"] = str(directory / "snapshot")
    with contextlib.closing(Lookup.from_options(options)) as cold:
        # one by one, from the database
        for id, row in expected.items():
            assert cold[id] == row, id
        for id in ("1.0", "12 ", "FOO.BAR", "no.such", "🏯", text_of(b"\xff"), "x\0", "'", "\\"):
            assert cold.get(id) is None, id
        assert cold.stats()["away"] is False
    with contextlib.closing(Lookup.from_options(options)) as warm:
        until(lambda: warm.warm() == len(expected))
        assert {id: warm[id] for id in warm} == expected
        page, total = warm.page(0, 100)
        assert (sorted(page), total) == (sorted(expected), len(expected))
        assert warm.page(1, 2)[0] == page[1:3]
    plain = {name: text for name, text in options.items() if name != "lookup.encode_ids"}
    with contextlib.closing(Lookup.from_options(plain)) as off:
        assert off.get("foo.bar") is None


def test_a_snapshot_without_the_option_is_another_configuration(public_dir):
    address = make_sqlite(public_dir / "images.db")
    options = {"lookup.database": address, "lookup.snapshot": str(public_dir / "snapshot")}
    for more, count in (({}, 1), ({"lookup.encode_ids": "on"}, len(IDS)), ({}, 1)):
        with contextlib.closing(Lookup.from_options({**options, **more})) as pictures:
            until(lambda pictures=pictures, count=count: pictures.warm() == count)


def test_ids_that_are_too_long_are_counted(public_dir, caplog):
    address = make_sqlite(public_dir / "images.db", ids=["a.b", "." * 67, "ok"])
    options = {"lookup.database": address, "lookup.encode_ids": "on"}
    with contextlib.closing(Lookup.from_options(options)) as pictures:
        assert pictures.warm() == 2
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert re.search(r"1 of 3 ids cannot stand in a URL, .*: names are 200 characters at", line)
