"""Many clients at once: what is made once, who waits, who is turned away, and what survives."""

import concurrent.futures
import contextlib
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest
from PIL import Image

from handlers import locks
from handlers.quickstart import httpd
from tests.conftest import SERVERS, watched
from tests.servers.httpd import Httpd, make_images_table
from tests.support import until

CLIENTS = 24


def site_of(request, public_dir, pictures, settings, children):
    root, rows = pictures
    url = make_images_table(public_dir / "images.db", rows)
    server = Httpd(public_dir / "site", request.param, url, root, children=children)
    server.settings(settings)
    return server


@pytest.fixture(params=SERVERS)
def wide_site(request, public_dir, pictures):
    """Children for all clients at once; everybody may wait."""
    settings = "thumbnail.waiters = 64"
    with site_of(request, public_dir, pictures, settings, CLIENTS) as server:
        yield from watched(server)


@pytest.fixture(params=SERVERS)
def narrow_site(request, public_dir, pictures):
    """Two makers, four that wait, and children for all clients."""
    settings = "thumbnail.makers = 2\nthumbnail.waiters = 4\nthumbnail.wait = 120"
    with site_of(request, public_dir, pictures, settings, CLIENTS + 8) as server:
        yield from watched(server)


def ask_all(site, paths):
    barrier = threading.Barrier(len(paths))

    def ask(path):
        barrier.wait()
        return site.request(path)

    with concurrent.futures.ThreadPoolExecutor(len(paths)) as pool:
        return list(pool.map(ask, paths))


def test_many_clients_of_one_cold_thumbnail_cost_one_decode(wide_site):
    answers = ask_all(wide_site, ["/thumbs/400x400-crop/large.jpg"] * CLIENTS)
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert wide_site.log().count("400x400-crop/large.jpg made") == 1


@pytest.fixture(params=[("mod_wsgi", 4), ("mod_wsgi", 8), ("mod_python", 4)], ids=str)
def usual_site(request, public_dir, pictures):
    """A site with few children."""
    root, rows = pictures
    url = make_images_table(public_dir / "images.db", rows)
    server, children = request.param
    site = Httpd(public_dir / "site", server, url, root, children=children)
    with site:
        yield from watched(site)


def test_nobody_is_turned_away_while_turns_come_soon(usual_site):
    """By a cold thumbnail that all ask for, by many cold ones, by a gallery of a new visitor."""
    answers = ask_all(usual_site, ["/thumbs/200x200/p000.jpg"] * CLIENTS)
    assert {answer.status for answer in answers} == {200}
    assert usual_site.log().count("200x200/p000.jpg made") == 1
    answers = ask_all(usual_site, [f"/thumbs/200x200/p{n:03d}.jpg" for n in range(CLIENTS)])
    assert {answer.status for answer in answers} == {200}
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        page = pool.map(usual_site.request, [f"/thumbs/400x400/p{n:03d}.webp" for n in range(60)])
        assert {answer.status for answer in page} == {200}
    assert len(usual_site.maker_pids()) <= (os.cpu_count() or 1)


def test_cold_thumbnails_do_not_occupy_every_child(narrow_site):
    """Hot ones are answered while two are made, four wait, and the rest is turned away."""
    narrow_site.expect("thumbnails turned away: 4 requests wait already")
    assert narrow_site.request("/thumbs/200x200/p000.jpg").status == 200
    # whoever would make one finds both makers at work for as long as this test wants
    path = os.path.join(narrow_site.work.cache, "handlers-state", "makers")
    with contextlib.ExitStack() as stack:
        for offset in range(2):
            stack.enter_context(locks.held(path, offset, 60))
        cold = [f"/thumbs/200x200-crop/p{number:03d}.jpg" for number in range(CLIENTS)]
        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
            asked = [pool.submit(narrow_site.request, path) for path in cold]
            done = concurrent.futures.as_completed(asked)
            turned_away = [next(done).result() for _ in range(CLIENTS - 4)]
            assert {answer.status for answer in turned_away} == {503}
            assert {answer.headers["Retry-After"] for answer in turned_away} == {"3"}
            for _ in range(20):
                assert narrow_site.request("/thumbs/200x200/p000.jpg", timeout=60).status == 200
            stack.close()
        waited = [future.result().status for future in asked]
    assert waited.count(200) == 4
    assert narrow_site.log().count("turned away") < CLIENTS


@pytest.fixture(params=SERVERS)
def hasty_site(request, public_dir, pictures):
    """Two makers, and nobody waits for long."""
    settings = "thumbnail.makers = 2\nthumbnail.wait = 0.2"
    with site_of(request, public_dir, pictures, settings, 4) as server:
        yield from watched(server)


def test_wait_ends_in_503(hasty_site):
    hasty_site.expect("turned away: makers not free within 0.2 s")
    # the lock files are to be the server's
    assert hasty_site.request("/thumbs/200x200/p000.jpg").status == 200
    path = os.path.join(hasty_site.work.cache, "handlers-state", "makers")
    with locks.held(path, 0, 60), locks.held(path, 1, 60):
        answer = hasty_site.request("/thumbs/200x200/p001.jpg")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "3")
    assert hasty_site.request("/thumbs/200x200/p001.jpg").status == 200


@pytest.fixture(params=SERVERS)
def killed_site(request, public_dir, pictures):
    settings = "cache.bytes = 1M\ncache.interval = 0.5"
    with site_of(request, public_dir, pictures, settings, 6) as server:
        yield from watched(server)


@pytest.mark.parametrize("seconds", [0, pytest.param(60, marks=pytest.mark.stress)])
def test_killed_children_and_makers_leave_nothing_behind(killed_site, seconds):
    """Mixed load with a sweep at work, while children and makers are killed at random."""
    killed_site.expect(r"exit signal Killed|AH00052")
    killed_site.expect("no maker can be started")
    killed_site.expect("(thumbnail|picture) .*(its maker was killed|given up)|turned away")
    chance = random.Random(5)
    stop = threading.Event()
    sizes = ("200x200", "400x400", "200x200-crop")
    statuses, kills, until_then = [], 0, time.monotonic() + seconds

    def load(seed):
        own = random.Random(seed)
        while not stop.is_set():
            name = f"{own.choice(sizes)}/p{own.randrange(130):03d}.{own.choice(['jpg', 'webp'])}"
            with contextlib.suppress(OSError):
                statuses.append(killed_site.request(f"/thumbs/{name}").status)

    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        running = [pool.submit(load, seed) for seed in range(5)]
        try:
            while kills < 30 or time.monotonic() < until_then:
                kills += 1
                answered = statuses.count(200)
                pids = killed_site.child_pids() + killed_site.maker_pids()
                with contextlib.suppress(ProcessLookupError):
                    os.kill(chance.choice(pids), signal.SIGKILL)
                until(lambda answered=answered: statuses.count(200) > answered + 1)
        finally:
            stop.set()
        for future in running:
            future.result()
    assert set(statuses) <= {200, 503, 404}
    cache = pathlib.Path(killed_site.work.cache)
    whole = 0
    for path in cache.glob("thumbs/*/*.*"):
        # the sweep, which is still at work, may remove it first
        with contextlib.suppress(FileNotFoundError), Image.open(path) as picture:
            picture.load()
            whole += 1
    assert whole
    # the sweep is at work in it, too
    shutil.rmtree(cache / "thumbs" / "200x200", ignore_errors=True)
    for number in range(30):
        assert killed_site.request(f"/thumbs/200x200/p{number:03d}.png").status in (200, 404)
    for name in ("lock", "waiters"):
        # whatever the sweep or a child that ends holds for a moment
        until(lambda name=name: not held_bytes(cache / "handlers-state" / name))


@pytest.fixture(params=SERVERS)
def restless_site(request, public_dir, pictures):
    """A site whose children serve one connection each."""
    root, rows = pictures
    url = make_images_table(public_dir / "images.db", rows)
    site = Httpd(public_dir / "site", request.param, url, root, children=4)
    site.extra = "MaxConnectionsPerChild 1"
    with site.stopped_at_the_end():
        yield from watched(site)


def test_makers_stay_when_children_go_and_end_with_httpd(restless_site):
    restless_site.start(warm=False)
    names = [f"/thumbs/200x200/p{number:03d}.jpg" for number in range(20)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert {answer.status for answer in pool.map(restless_site.request, names)} == {200}
    makers = restless_site.maker_pids()
    assert 1 <= len(makers) <= (os.cpu_count() or 1)
    restless_site.stop()
    until(lambda: not restless_site.maker_pids())


def graceful_under_load(site, seconds):
    """Restart *site* over and over while it makes thumbnails; return all statuses."""
    stop, statuses = time.monotonic() + seconds, []

    def load(seed):
        own = random.Random(seed)
        while time.monotonic() < stop:
            name = f"{own.choice(('200x200', '400x400'))}/p{own.randrange(130):03d}.webp"
            # a child that ends closes the connections that wait for it
            with contextlib.suppress(OSError):
                statuses.append(site.request(f"/thumbs/{name}").status)

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        running = [pool.submit(load, seed) for seed in range(3)]
        while time.monotonic() < stop:
            httpd.graceful(site.work)
            time.sleep(0.7)
        for future in running:
            future.result()
    return statuses


@pytest.mark.parametrize("seconds", [3, pytest.param(60, marks=pytest.mark.stress)])
def test_graceful_restarts_leave_no_maker_behind(public_dir, pictures, seconds):
    root, rows = pictures
    url = make_images_table(public_dir / "images.db", rows)
    site = Httpd(public_dir / "site", "mod_wsgi", url, root, children=4)
    with site:
        site.begin_test()
        statuses = graceful_under_load(site, seconds)
        assert 200 in statuses and set(statuses) <= {200}
        until(lambda: len(site.maker_pids()) <= (os.cpu_count() or 1))
        assert "no maker can be started" not in site.log()
    until(lambda: not site.maker_pids())


def held_bytes(path):
    """Return the locks on a file that anybody holds."""
    inode = path.stat().st_ino
    locks_held = pathlib.Path("/proc/locks").read_text().splitlines()
    return [line for line in locks_held if f":{inode} " in line]


def used_bytes(directory):
    used = 0
    for path in directory.iterdir():
        # swept between the listing and the look at it
        with contextlib.suppress(FileNotFoundError):
            used += path.stat().st_blocks * 512
    return used


@pytest.fixture(params=SERVERS)
def swept_site(request, public_dir, pictures):
    settings = "cache.bytes = 200K\ncache.interval = 0.2"
    with site_of(request, public_dir, pictures, settings, 3) as server:
        yield from watched(server)


def test_one_child_keeps_the_cache_within_its_limit(swept_site):
    for number in range(120):
        assert swept_site.request(f"/thumbs/200x200/p{number:03d}.jpg").status == 200
    directory = pathlib.Path(swept_site.work.cache, "thumbs", "200x200")
    until(lambda: used_bytes(directory) <= 200 << 10)
    said = r"cache: \d+ thumbnails, 0\.\d MB; [1-9]\d* files deleted"
    until(lambda: re.search(said, swept_site.log()))
    # Apache may have looked for a file that is swept before it can be opened
    until(lambda: swept_site.request("/thumbs/200x200/p000.jpg").status == 200)


@pytest.fixture(params=SERVERS)
def small_disk_site(request, public_dir, pictures):
    """A site whose cache is a file system of one megabyte."""
    disk = public_dir / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], check=True)
    try:
        root, rows = pictures
        url = make_images_table(public_dir / "images.db", rows)
        server = Httpd(public_dir / "site", request.param, url, root)
        cache = pathlib.Path(server.work.cache)
        shutil.rmtree(cache)
        (disk / "cache" / "thumbs").mkdir(parents=True)
        for path in (disk / "cache", disk / "cache" / "thumbs"):
            shutil.chown(path, server.work.user.pw_name)
        server.work.cache = str(disk / "cache")
        server.settings(f"thumbnail.cache = {disk}/cache")
        with server:
            yield from watched(server)
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_full_disk_is_503_for_cold_and_nothing_for_hot(small_disk_site):
    small_disk_site.expect(r"thumbnail\.cache .* cannot be written: .*No space left")
    assert small_disk_site.request("/thumbs/200x200/p001.jpg").status == 200
    filler = pathlib.Path(small_disk_site.work.cache, "filler")
    with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    cold = [small_disk_site.request("/thumbs/400x400/large.png") for _ in range(5)]
    assert {answer.status for answer in cold} == {503}
    assert {answer.headers["Retry-After"] for answer in cold} == {"3"}
    assert small_disk_site.request("/thumbs/200x200/p001.jpg").status == 200
    told = re.findall(r"thumbnail\.cache .*No space left", small_disk_site.log())
    assert len(told) <= small_disk_site.children
    filler.unlink()
    assert small_disk_site.request("/thumbs/400x400/large.png").status == 200
