"""``modpython-handlers check``: each thing that can be wrong is one line that says what to type."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys

import pytest
from PIL import Image

from handlers.commands import check as checking
from handlers.commands.apache import Apache
from handlers.settings import Settings
from tests.servers.httpd import make_images_table


@pytest.fixture
def place(public_dir):
    """A site as it should be: settings, cache, pictures, table and Apache's configuration."""
    pictures, cache, apache = (public_dir / n for n in ("pictures", "cache", "apache2"))
    for directory in (pictures, cache, apache / "conf-available"):
        directory.mkdir(parents=True)
    if os.geteuid() == 0:
        shutil.chown(cache, "www-data")
    for id in ("1", "2"):
        Image.new("RGB", (300, 200)).save(pictures / f"{id}.jpg")
    url = make_images_table(public_dir / "images.db", {"1": "1.jpg", "2": "2.jpg"})
    (public_dir / "settings.ini").write_text(
        f"[lookup]\ndatabase = {url}\nprivate = private\n[images]\nroot = {pictures}\n"
        f"[thumbnail]\ncache = {cache}\nsizes = 200x200\n[cache]\nbytes = 1G\n"
    )
    (apache / "apache2.conf").write_text(
        f"Define HANDLERS_SETTINGS {public_dir}/settings.ini\n"
        f"Define HANDLERS_CACHE {cache}\n"
        "LoadModule python_module /usr/lib/apache2/modules/mod_python.so\n"
        "Include /opt/share/handlers-site.conf\n"
    )
    return public_dir


def check(place, *more):
    """Run the command; return its exit status and what is wrong, by part."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "handlers", "check", "--json"),
            *("--settings", place / "settings.ini", "--apache", place / "apache2", *more),
        ],
        capture_output=True,
        text=True,
        # the owner of the cache need not be able to read the checkout
        cwd="/",
    )
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout)
    wrong = {row["part"]: row["text"] for row in found if not row["is_well"]}
    assert done.returncode == bool(wrong)
    return done.returncode, wrong


def edit(place, file, old, new):
    path = place / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_site_as_it_should_be(place):
    assert check(place) == (0, {})


def test_cache_that_another_user_owns(place):
    os.chown(place / "cache", 1234, 1234)
    os.chmod(place / "cache", 0o700)
    if os.geteuid() == 0:
        assert str(place / "cache") in check(place)[1]["cache"]


def test_cache_that_is_not_there(place):
    (place / "cache").rmdir()
    assert "cache" in check(place)[1]["cache"]


def test_pictures_that_are_not_mounted(place):
    edit(place, "settings.ini", "pictures", "nowhere")
    assert "no such directory" in check(place)[1]["pictures"]


def test_table_with_other_columns(place):
    with sqlite3.connect(place / "images.db") as connection:
        connection.execute("ALTER TABLE images RENAME COLUMN path TO file")
    connection.close()
    assert "path" in check(place)[1]["database"]


def test_table_without_rows(place):
    with sqlite3.connect(place / "images.db") as connection:
        connection.execute("DELETE FROM images")
    connection.close()
    assert "no rows" in check(place)[1]["database"]


def test_database_that_is_away(place):
    edit(place, "settings.ini", f"sqlite:///{place}/images.db", "mysql://a@127.0.0.1:1/b")
    assert "127.0.0.1:1" in check(place)[1]["database"]


def test_files_that_are_missing_or_no_pictures(place):
    (place / "pictures" / "1.jpg").write_text("no picture")
    assert check(place)[1]["sample"].startswith("1: ")
    (place / "pictures" / "1.jpg").unlink()
    assert "no such file" in check(place)[1]["sample"]


def test_drop_in_that_means_another_cache(place):
    edit(
        place, "apache2/apache2.conf", f"HANDLERS_CACHE {place}/cache", "HANDLERS_CACHE /srv/other"
    )
    wrong = check(place)[1]["drop-in"]
    assert "HANDLERS_CACHE is /srv/other" in wrong and "thumbnail.cache" in wrong


def test_drop_in_that_is_not_enabled(place):
    edit(place, "apache2/apache2.conf", "Include /opt/share/handlers-site.conf\n", "")
    assert "a2enconf handlers-site" in check(place)[1]["drop-in"]


def test_apache_without_python(place):
    edit(place, "apache2/apache2.conf", "LoadModule python_module", "#LoadModule python_module")
    assert "a2enconf handlers" in check(place)[1]["mod_wsgi"]


def test_secret_that_everybody_can_read(place):
    url = f"sqlite:///{place}/images.db"
    edit(place, "settings.ini", url, "mysql://a:secret@127.0.0.1:1/b")
    wrong = check(place)[1]
    assert "chmod 640" in wrong["settings"]
    assert "secret" not in json.dumps(wrong)


def test_cache_in_a_tmp_that_only_apache_sees(tmp_path, monkeypatch):
    unit = tmp_path / "apache2.service"
    unit.write_text("[Service]\nPrivateTmp=true\n")
    monkeypatch.setattr(checking, "_UNITS", (str(tmp_path),))
    (tmp_path / "conf-available").mkdir()
    (tmp_path / "apache2.conf").write_text("")
    options = Settings({"thumbnail.cache": "/tmp/cache", "lookup.snapshot": "/var/lib/snapshot"})
    first, last = checking._private_tmp(Apache(str(tmp_path)), options)
    assert not first.is_well and "thumbnail.cache /tmp/cache: move it" in first.text
    assert last.is_well


def test_site_that_does_not_answer(place):
    assert "refused" in check(place, "--url", "http://127.0.0.1:1")[1]["site"]


def test_site_that_answers(own_site):
    with own_site:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "handlers", "check", "--settings", own_site.work.settings),
                *("--url", f"http://127.0.0.1:{own_site.port}"),
            ],
            capture_output=True,
            text=True,
            cwd="/",
        )
    lines = done.stdout.splitlines()
    answers = [line for line in lines if "answers" in line]
    assert len(answers) == 2 and all(line.startswith("ok    site: http") for line in answers)
