"""Thumbnails that cannot be made: what is remembered, what is shown, what it does to the rest."""

import concurrent.futures
import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest
from PIL import Image

from handlers import lookup, sending, thumbnail
from handlers.cache import keeper
from handlers.cache.store import purge
from handlers.settings import read
from tests.conftest import SERVERS, watched
from tests.servers.httpd import Httpd, at_work_on, make_images_table
from tests.support import until
from tests.wsgi import serve


@pytest.fixture(scope="module")
def grain(base):
    """A picture that keeps a maker busy for long enough to be found at it."""
    path = base / "faults.jpg"
    Image.effect_noise((6000, 4500), 60).save(path, quality=90, progressive=True)
    return path


@pytest.fixture(params=SERVERS)
def small_site(request, public_dir, pictures):
    """A site of the test's own, not started yet, whose pictures the test may change."""
    root = public_dir / "pictures"
    root.mkdir()
    (root / "broken.jpg").write_text("this is no picture")
    Image.new("RGB", (640, 480), "teal").save(root / "fine.jpg")
    rows = {"broken": "broken.jpg", "fine": "fine.jpg", "gone": "gone.jpg"}
    server = Httpd(
        public_dir / "site",
        request.param,
        make_images_table(public_dir / "images.db", rows),
        root,
    )
    server.pictures = root
    with server.stopped_at_the_end():
        yield from watched(server)


def test_failure_is_remembered_until_the_source_changes(small_site):
    small_site.expect("thumbnail 200x200/broken.jpg: not a picture")
    small_site.start()
    for _ in range(5):
        assert small_site.request("/thumbs/200x200/broken.jpg").status == 404
    assert small_site.log().count("not a picture") == 1
    Image.new("RGB", (640, 480), "navy").save(small_site.pictures / "broken.jpg")
    assert small_site.request("/thumbs/200x200/broken.jpg").status == 200
    assert os.listdir(os.path.join(small_site.work.cache, "handlers-state", "failures")) == []


def test_failure_is_believed_for_a_while_only(small_site):
    small_site.expect("thumbnail 200x200/broken.jpg: not a picture")
    small_site.settings("thumbnail.failure_ttl = 0")
    small_site.start()
    for _ in range(3):
        assert small_site.request("/thumbs/200x200/broken.jpg").status == 404
    assert small_site.log().count("not a picture") == 3


def test_child_that_dies_in_the_attempt_is_counted(small_site):
    """Three attempts that left nothing but their mark, as those of killed children do."""
    small_site.expect("given up after 3 attempts")
    small_site.start()
    assert small_site.request("/thumbs/200x200/fine.jpg").status == 200
    found = os.stat(small_site.pictures / "fine.jpg")
    record = [f"fine.jpg {found.st_mtime_ns} {found.st_size}", 3, 0.0, "its process died"]
    mark = pathlib.Path(small_site.work.cache, "handlers-state", "failures", "fine")
    mark.write_text(json.dumps(record))
    mark.chmod(0o666)
    for _ in range(3):
        assert small_site.request("/thumbs/400x400/fine.jpg").status == 404
    assert small_site.log().count("given up") == 1
    assert json.loads(mark.read_text())[2] > time.time() + 3000


def test_source_that_kills_its_maker_is_given_up_for_all_sizes_and_formats(small_site, grain):
    keep_a_maker_busy(small_site, grain)
    small_site.expect("its maker was killed|given up after 3 attempts")
    small_site.start()
    for name in ("200x200/fine.jpg", "400x400/fine.webp", "200x200-crop/fine.avif"):
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asking = pool.submit(small_site.request, f"/thumbs/{name}")
            os.kill(maker_of_fine(small_site), signal.SIGKILL)
            assert asking.result().status == 503
    for name in ("400x400-crop/fine.png", "200x200/fine.jpg", "400x400/fine.jpg"):
        assert small_site.request(f"/thumbs/{name}").status == 404
    assert small_site.log().count("its maker was killed") == 3


def test_one_maker_at_a_time_works_on_a_source(small_site, grain):
    keep_a_maker_busy(small_site, grain)
    small_site.settings("thumbnail.makers = 3\nthumbnail.waiters = 3")
    small_site.start()
    names = [f"{size}/fine.jpg" for size in ("200x200", "400x400", "200x200-crop")]
    most = 0
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(small_site.request, f"/thumbs/{name}") for name in names]
        while not all(answer.done() for answer in asking):
            at_work = at_work_on(small_site.maker_pids(), small_site.pictures / "fine.jpg")
            most = max(most, len(at_work))
    assert [answer.result().status for answer in asking] == [200, 200, 200]
    assert most == 1


def test_attempt_that_is_killed_is_503_and_tried_again(small_site, grain):
    keep_a_maker_busy(small_site, grain)
    small_site.expect("thumbnail 200x200/fine.jpg: its maker was killed")
    small_site.start()
    before = set(small_site.child_pids())
    url = f"http://127.0.0.1:{small_site.port}/thumbs/200x200/fine.jpg"
    asking = subprocess.Popen(
        ["curl", "-s", "-o", os.devnull, "-w", "%{http_code} %header{retry-after}", url],
        stdout=subprocess.PIPE,
        text=True,
    )
    os.kill(maker_of_fine(small_site), signal.SIGKILL)
    assert asking.communicate()[0] == "503 3"
    assert small_site.request("/thumbs/200x200/fine.jpg").status == 200
    assert set(small_site.child_pids()) == before


def keep_a_maker_busy(site, grain):
    """Put *grain* in the place of the picture "fine"."""
    fine = site.pictures / "fine.jpg"
    fine.unlink()
    os.link(grain, fine)


def maker_of_fine(site):
    """Wait for the maker that is at work on the picture "fine"; return its process id."""
    return until(lambda: at_work_on(site.maker_pids(), site.pictures / "fine.jpg"))[0]


def test_error_picture_has_the_size_asked_for_and_the_right_status(small_site):
    small_site.expect("thumbnail ")
    Image.new("RGB", (800, 800), "red").save(small_site.pictures / "sorry.png")
    small_site.settings(f"thumbnail.error_picture = {small_site.pictures}/sorry.png")
    small_site.start()
    for id in ("broken", "gone", "nobody"):
        for name, size, kind in (
            (f"200x200-crop/{id}.jpg", (200, 200), "JPEG"),
            (f"400x400/{id}.webp", (400, 400), "WEBP"),
        ):
            answer = small_site.request(f"/thumbs/{name}")
            assert answer.status == 404
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            picture = Image.open(io.BytesIO(answer.body))
            assert (picture.size, picture.format) == (size, kind)
    assert small_site.request("/thumbs/200x200/nobody.jpg", "HEAD").body == b""
    assert small_site.request("/thumbs/9x9/fine.jpg").headers["Content-Type"] != "image/jpeg"


def test_error_picture_that_is_not_there_is_one_line(small_site):
    small_site.expect("error_picture /nowhere.png: ")
    small_site.settings("thumbnail.error_picture = /nowhere.png")
    small_site.children = 1
    small_site.start()
    for _ in range(3):
        assert small_site.request("/thumbs/200x200/nobody.jpg").status == 404
    assert small_site.log().count("error_picture") == 1


@pytest.mark.parametrize(
    "line",
    [
        "keys = short",
        "formats = JPG",
        "quality = 80",
        "animated = maybe",
        "cpu = -1",
        "memory = 1X",
    ],
)
def test_option_that_makes_no_sense_is_500_and_one_line(small_site, line):
    name = line.partition(" ")[0]
    small_site.expect(f"thumbnail.{name}")
    small_site.settings(f"thumbnail.{line}")
    small_site.children = 1
    small_site.start()
    asked = "/thumbs/9x9/fine.jpg?s=x" if name == "keys" else "/thumbs/200x200/fine.jpg"
    assert [small_site.request(asked).status for _ in range(2)] == [500, 500]
    assert small_site.log().count(f"thumbnail.{name}") == 1


def test_options_of_the_picture_are_kept(small_site):
    small_site.settings("thumbnail.quality = jpg:5\nthumbnail.formats = JPEG")
    small_site.expect("format PNG is not among JPEG")
    Image.new("RGB", (640, 480), "teal").save(small_site.pictures / "broken.jpg", "PNG")
    picture = Image.effect_noise((640, 480), 90)
    picture.save(small_site.pictures / "fine.jpg", quality=90)
    small_site.start()
    assert len(small_site.request("/thumbs/400x400/fine.jpg").body) < 9000
    assert small_site.request("/thumbs/400x400/broken.jpg").status == 404


def test_third_variant_leaves_a_copy_and_the_fourth_is_made_of_it(small_site):
    grain = Image.effect_noise((4000, 3000), 30).convert("RGB")
    grain.save(small_site.pictures / "fine.jpg", quality=90)
    os.utime(small_site.pictures / "fine.jpg", (1.7e9, 1.7e9))
    small_site.start()
    copy = pathlib.Path(small_site.work.cache, "handlers-state", "copies", "fine.jpg")
    for name in ("200x200/fine.jpg", "200x200/fine.webp"):
        assert small_site.request(f"/thumbs/{name}").status == 200
    assert not copy.exists()
    assert small_site.request("/thumbs/200x200-crop/fine.jpg").status == 200
    with Image.open(copy) as picture:
        assert picture.size == (1000, 750)
    assert small_site.request("/thumbs/400x400/fine.png").status == 200
    assert "400x400/fine.png made from 4000x3000 JPEG (its copy)" in small_site.log()
    grain.rotate(180).save(small_site.pictures / "fine.jpg", quality=90)
    os.utime(small_site.pictures / "fine.jpg", (1.6e9, 1.6e9))
    assert small_site.request("/thumbs/400x400/fine.webp").status == 200
    assert "400x400/fine.webp made from 4000x3000 JPEG in" in small_site.log()


def test_copy_that_cannot_be_written_is_done_without(small_site):
    Image.new("RGB", (4000, 3000), "teal").save(small_site.pictures / "fine.jpg")
    small_site.start()
    pathlib.Path(small_site.work.cache, "handlers-state", "copies").mkdir(mode=0o555)
    for name in ("200x200/fine.jpg", "200x200/fine.webp", "400x400/fine.jpg", "400x400/fine.webp"):
        assert small_site.request(f"/thumbs/{name}").status == 200


def test_purge_reaches_every_size_and_format(small_site):
    small_site.start()
    names = [
        f"{size}/fine.{ext}" for size in ("200x200", "400x400-crop") for ext in ("jpg", "avif")
    ]
    first = [small_site.request(f"/thumbs/{name}").body for name in names]
    Image.new("RGB", (640, 480), "red").save(small_site.pictures / "fine.jpg")
    assert [small_site.request(f"/thumbs/{name}").body for name in names] == first
    assert purge(small_site.work.cache, ["fine", "unknown"]) == 4
    again = [small_site.request(f"/thumbs/{name}").body for name in names]
    assert all(a != b for a, b in zip(first, again, strict=True))


def test_emptied_cache_is_filled_again(small_site):
    small_site.start()
    cache = pathlib.Path(small_site.work.cache)
    first = small_site.request("/thumbs/200x200/fine").body

    def is_emptied():
        # a child may write to it meanwhile
        for path in cache.iterdir():
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
        return not os.listdir(cache)

    until(is_emptied)
    assert small_site.request("/thumbs/200x200/fine").body == first
    assert small_site.request("/thumbs/200x200/fine.jpg").headers["ETag"]
    assert (cache / "thumbs" / "200x200" / "fine.jpg").exists()


def test_nothing_but_thumbnails_has_a_url(small_site):
    """Wherever the cache lies: below the document root, say."""
    small_site.expect("client denied by server configuration")
    small_site.extra = f"Alias /all {small_site.work.cache}"
    small_site.start()
    assert small_site.request("/thumbs/200x200/fine.jpg").status == 200
    for path in ("/all/handlers-state/lock", "/all/handlers-state/", "/all/", "/all/nothing"):
        assert small_site.request(path).status == 403


def test_no_script_and_no_htaccess_in_the_cache(small_site):
    small_site.start()
    assert small_site.request("/thumbs/200x200/fine.jpg").status == 200
    directory = pathlib.Path(small_site.work.cache, "thumbs", "200x200")
    (directory / ".htaccess").write_text("Redirect 302 /thumbs/200x200/fine.jpg /elsewhere")
    script = directory / "script.cgi"
    script.write_text("#!/bin/sh\necho Content-Type: text/plain; echo; echo executed")
    script.chmod(0o755)
    assert small_site.request("/thumbs/200x200/fine.jpg").status == 200
    assert b"#!/bin/sh" in small_site.request("/thumbs/200x200/script.cgi").body


@pytest.mark.slow
@pytest.mark.parametrize(("times", "status"), [(1, "200 OK"), (9, "503 Service Unavailable")])
def test_thumbnail_that_is_swept_before_it_is_sent_is_made_again(
    cache, tmp_path, monkeypatch, times, status
):
    Image.new("RGB", (300, 200)).save(tmp_path / "fine.jpg")
    url = make_images_table(tmp_path / "images.db", {"fine": "fine.jpg"})
    settings = tmp_path / "settings.ini"
    settings.write_text(
        f"[lookup]\ndatabase = {url}\n[images]\nroot = {tmp_path}\n[mod_python.session]\n"
        f"database_directory = {tmp_path}\n[thumbnail]\ncache = {cache}\nsizes = 200x200\n"
    )
    swept, send_file = [], sending.send_file

    def send(req, path, content_type):
        if len(swept) < times:
            os.unlink(path)
            swept.append(path)
        return send_file(req, path, content_type)

    monkeypatch.setattr(sending, "send_file", send)
    monkeypatch.setattr(keeper, "start", lambda *_: None)
    answer = serve(
        thumbnail.handler,
        PythonOption__handlers__settings=str(settings),
        SCRIPT_FILENAME=f"{cache}/thumbs/200x200/fine.jpg",
    )
    lookup.open(read(str(settings))).close()
    assert answer.status == status
