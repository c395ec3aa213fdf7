"""``python -m handlers cache`` as an admin uses it, in processes of its own."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from handlers import signing
from tests.servers.httpd import make_images_table

CHECKOUT = pathlib.Path(__file__).parent.parent
KEY = "a-key-of-some-letters"


@pytest.fixture
def site(public_dir, pictures):
    """A settings file and a cache, without a server."""
    root, rows = pictures
    few = {id: rows[id] for id in ("p001", "p002", "p003", "alpha", "large")}
    url = make_images_table(public_dir / "images.db", few)
    (public_dir / "cache").mkdir()
    (public_dir / "settings.ini").write_text(
        f"[lookup]\ndatabase = {url}\n[images]\nroot = {root}\n"
        f"[thumbnail]\ncache = {public_dir}/cache\nsizes = 200x200 100x100-crop\nkeys = {KEY}\n"
        "[cache]\nbytes = 40K\n"
    )
    (public_dir / "settings.ini").chmod(0o600)
    return public_dir


def run(site, *arguments, **options):
    command = [sys.executable, "-m", "handlers", "--settings", str(site / "settings.ini")]
    return subprocess.run(
        [*command, "cache", *arguments], cwd=CHECKOUT, capture_output=True, text=True, **options
    )


def stats(site):
    return json.loads(run(site, "stats", "--json").stdout)


def test_warm_makes_all_and_goes_on_where_it_was(site):
    done = run(site, "warm", "--all", "--formats", "jpg webp")
    assert (done.returncode, done.stdout) == (0, "")
    assert re.search(r"5 of 5 pictures: 20 made \(\d+/s\), 0 there already, 0 failed", done.stderr)
    os.unlink(site / "cache" / "thumbs" / "200x200" / "p002.webp")
    again = run(site, "warm", "--all", "--formats", "jpg webp").stderr
    assert "1 made" in again and "19 there already" in again
    assert stats(site)["thumbs/200x200"]["formats"] == {"jpg": 5, "webp": 5}


def test_warm_takes_ids_and_names_what_fails(site):
    done = run(site, "warm", "--sizes", "50x50", "p001", "nobody")
    assert done.returncode == 1
    assert "nobody: no such picture" in done.stderr and "1 made" in done.stderr
    piped = run(site, "warm", "--sizes", "50x50", "-", input="p002\np003\n")
    assert piped.returncode == 0 and "2 made" in piped.stderr


def test_purge_and_stats(site):
    run(site, "warm", "p001", "p002")
    assert run(site, "purge", "p001", "p003").stdout == "2 thumbnails deleted.\n"
    found = stats(site)
    assert found["thumbs/200x200"]["files"] == found["thumbs/100x100-crop"]["files"] == 1
    text = run(site, "stats").stdout
    assert re.search(r"thumbs/200x200 +1 files +0\.0 MB  1 jpg", text)


def test_sweep_keeps_the_limit(site):
    run(site, "warm", "--all", "--formats", "png")
    assert sum(part["bytes"] for part in stats(site).values()) > 40 << 10
    done = run(site, "sweep")
    assert re.search(r"\d+ files, 0\.0 MB; [1-9]\d* deleted", done.stdout)
    assert sum(part["bytes"] for part in stats(site).values()) <= 40 << 10


def test_url_is_signed(site):
    said = run(site, "url", "300x200", "p001", "--format", "jpg").stdout.strip()
    assert said == signing.url("300x200/p001.jpg", KEY)
    path, _, signature = said.partition("?s=")
    assert signing.is_signed(path.removeprefix("/thumbs/"), signature, [KEY])
    assert run(site, "url", "300x200", "p001").stdout.strip() == signing.url("300x200/p001", KEY)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("url", "0x10", "p001"), "not a size: '0x10'"),
        (("url", "10x10", "p001", "--format", "gif"), "'gif' is not among"),
        (("warm", "--sizes", "1x", "p001"), "not a size: '1x'"),
        (("--cache", "/nowhere", "stats"), "No such file or directory"),
    ],
)
def test_what_cannot_be_done_is_one_line(site, arguments, why):
    done = run(site, *arguments)
    assert done.returncode == 1
    assert why in done.stderr and done.stderr.count("\n") == 1


def test_cache_stays_the_servers(site):
    """Run as root it leaves no file that the owner of the cache could not use."""
    os.chown(site / "cache", 33, 33)
    os.chown(site / "settings.ini", 0, 33)
    assert run(site, "warm", "p001").returncode == 0
    for path in (site / "cache").rglob("*"):
        assert path.stat().st_uid == 33, path
