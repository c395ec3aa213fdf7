"""The site while things go wrong: children are killed, the database goes away, the disk is full."""

import concurrent.futures
import contextlib
import os
import pathlib
import re
import signal
import sqlite3
import time

import pytest
from PIL import Image

from handlers.cache import sweep
from tests.conftest import SERVERS, watched
from tests.servers.httpd import Httpd
from tests.support import until


@pytest.fixture(params=SERVERS)
def mariadb_site(request, public_dir, pictures, mariadb):
    """A running site on MariaDB."""
    root, rows = pictures
    name = f"site_{request.param}"
    mariadb.make_images_table(name, rows)
    server = Httpd(public_dir / "site", request.param, mariadb.url(name), root)
    with server:
        yield from watched(server)


def test_database_away_while_it_runs(mariadb_site, mariadb):
    assert mariadb_site.request("/thumbs/200x200/p001.jpg").status == 200
    mariadb_site.expect("lookup")
    mariadb.kill()
    try:
        hot = mariadb_site.request("/thumbs/200x200/p001.jpg")
        warm = mariadb_site.request("/thumbs/200x200/p002.jpg")
        assert (hot.status, warm.status, mariadb_site.request("/").status) == (200, 200, 200)
        unknown = [mariadb_site.request("/thumbs/200x200/unknown.jpg") for _ in range(20)]
        assert {answer.status for answer in unknown} == {503}
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in unknown)
        complaints = [line for line in mariadb_site.log().splitlines() if "is away" in line]
        assert 1 <= len(complaints) <= mariadb_site.children
    finally:
        mariadb.start()
    until(lambda: mariadb_site.request("/thumbs/200x200/unknown.jpg").status == 404)


def test_database_away_at_child_start(mariadb_site, mariadb):
    mariadb_site.stop()
    mariadb_site.expect("lookup")
    mariadb.kill()
    try:
        mariadb_site.start()
        assert mariadb_site.request("/thumbs/200x200/p003.jpg").status == 503
    finally:
        mariadb.start()
    until(lambda: mariadb_site.request("/thumbs/200x200/p003.jpg").status == 200)


def test_known_ids_cost_no_query_but_to_keep_what_is_made(mariadb_site, mariadb):
    """Without a snapshot a thumbnail is kept only after another look at its row."""
    # the first round of the keeper looks at the rows of what is there
    until(lambda: sweep.counted(mariadb_site.work.cache).at)
    mariadb.forget_statements()
    for number in range(60):
        assert mariadb_site.request(f"/thumbs/200x200/p{number:03d}.jpg").status == 200
    assert len(mariadb.statements("images")) == 60
    mariadb.forget_statements()
    for number in range(60):
        assert mariadb_site.request(f"/thumbs/200x200/p{number:03d}.jpg").status == 200
        assert mariadb_site.request(f"/images/p{number:03d}").status == 200
    assert mariadb.statements("images") == []


def test_killed_children_leave_no_torn_thumbnail(own_site, pictures):
    own_site.expect(r"exit signal Killed|AH00052")
    # chance may have it that three attempts at one picture are killed in a row
    own_site.expect("picture .*: given up after 3 attempts")
    own_site.start()
    names = [f"{size}/p{n:03d}.jpg" for size in ("200x200", "400x400-crop") for n in range(60)]
    stop = time.monotonic() + 6
    statuses = []

    def ask(name):
        try:
            statuses.append(own_site.request(f"/thumbs/{name}").status)
        except OSError:
            statuses.append(None)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        while time.monotonic() < stop:
            asked = [pool.submit(ask, name) for name in [*names, "400x400/large.png"]]
            while not all(future.done() for future in asked):
                for pid in own_site.child_pids()[:1]:
                    # a child may end by itself between the two lines
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                time.sleep(0.1)
            for path in pathlib.Path(own_site.work.cache, "thumbs").rglob("*.*"):
                with Image.open(path) as picture:
                    picture.load()
                path.unlink()
    assert None in statuses and 200 in statuses
    for number in range(20):
        answer = own_site.request(f"/thumbs/200x200/p{number:03d}.jpg")
        # this request may be the one that gives it up
        is_given_up = f"picture p{number:03d}: given up" in own_site.log()
        assert answer.status == (404 if is_given_up else 200)


def test_cache_that_cannot_be_written_is_503_and_recovers(own_site):
    own_site.expect(r"thumbnail\.cache .* cannot be written")
    own_site.start()
    assert own_site.request("/thumbs/200x200/p001.jpg").status == 200
    temporary = os.path.join(own_site.work.cache, "handlers-state", "tmp")
    os.rename(temporary, temporary + ".away")
    pathlib.Path(temporary).touch()
    cold = own_site.request("/thumbs/200x200/p002.jpg")
    assert (cold.status, cold.headers["Retry-After"]) == (503, "3")
    assert own_site.request("/thumbs/200x200/p001.jpg").status == 200
    os.unlink(temporary)
    assert own_site.request("/thumbs/200x200/p002.jpg").status == 200


def test_missing_settings_are_an_error_that_says_what_to_do(own_site):
    own_site.expect(r"settings file .*/etc/settings\.ini: no such file")
    os.unlink(os.path.join(own_site.work.etc, "settings.ini"))
    own_site.start(warm=False)
    assert own_site.request("/thumbs/200x200/p001.jpg").status == 500
    assert own_site.request("/images/p001").status == 500
    assert "Traceback" not in own_site.log()


def test_flood_of_unknown_ids_makes_no_picture_404(own_site, public_dir):
    own_site.settings("lookup.queries = 2")
    own_site.start()
    with sqlite3.connect(public_dir / "images.db") as connection:
        connection.executemany(
            "INSERT INTO images (id, path) VALUES (?, 'sub/p001.jpg')",
            [(f"new{number}",) for number in range(30)],
        )
    connection.close()
    with concurrent.futures.ThreadPoolExecutor(4) as clients:
        flood = [
            clients.submit(own_site.request, f"/{part}/flood{number}{ext}")
            for number in range(100)
            for part, ext in (("thumbs/200x200", ".jpg"), ("images", ""))
        ]
        asked = [
            clients.submit(own_site.request, f"/{part}/new{number}{ext}")
            for number in range(30)
            for part, ext in (("thumbs/200x200", ".jpg"), ("images", ""))
        ]
    assert {answer.result().status for answer in flood} == {404, 503}
    answers = [answer.result() for answer in asked]
    assert 503 in {answer.status for answer in answers} <= {200, 503}
    assert all(
        int(answer.headers["Retry-After"]) >= 1 for answer in answers if answer.status == 503
    )
    lines = re.findall("lookup: more than 2 unknown ids in a second", own_site.log())
    assert 1 <= len(lines) <= own_site.children
    deadline = time.monotonic() + 90
    while own_site.request("/images/new29").status != 200:
        assert time.monotonic() < deadline
        time.sleep(1)
