"""``modpython-handlers check``: each thing that can be wrong is one line that says what to type."""

import contextlib
import importlib.metadata
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys

import pytest
from PIL import Image

from handlers import making
from handlers.cache.turns import Turns
from handlers.commands import check as checking
from handlers.commands import checks, line
from handlers.commands.apache import Apache
from handlers.image import thumbnail
from handlers.maker import roll
from handlers.quickstart import serving
from handlers.quickstart.work import Work
from handlers.settings import Settings, read
from tests.servers import modules
from tests.servers.httpd import make_images_table
from tests.support import command_line, run_command, until


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


@pytest.fixture
def check(place, monkeypatch, capsys):
    """Run the command in this process, and as its user; return what is wrong, by part."""
    monkeypatch.setattr(checking.owner, "become_user", lambda uid, gid: None)

    def run(*more):
        apache = str(place / "apache2")
        settings = str(place / "settings.ini")
        arguments = ["--settings", settings, "check", "--json", "--apache", apache, *more]
        return wrong(line.run(arguments), *capsys.readouterr())

    return run


def check_as_apache(place):
    """Run the command in a process of its own, which becomes Apache's user if it is root's."""
    apache = place / "apache2"
    done = run_command(place / "settings.ini", "check", "--json", "--apache", apache)
    return wrong(done.returncode, done.stdout, done.stderr)


def wrong(status, out, complaint):
    assert status in (0, 1), complaint
    # pytest shows it beside a failure
    print(complaint)
    found = {row["part"]: row["text"] for row in json.loads(out) if not row["is_well"]}
    assert status == bool(found)
    return found


def edit(place, file, old, new):
    path = place / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.slow
def test_maker_of_the_command_ends_with_it(place):
    """It holds the output open, which a reader of a pipe would wait for."""
    # it would stay for an hour
    code = (
        "import sys; from handlers.commands import line; from handlers.maker import client; "
        "client.IDLE = 3600; sys.exit(line.run(sys.argv[1:]))"
    )
    _, _, _, *arguments = command_line(
        place / "settings.ini", "check", "--apache", str(place / "apache2")
    )
    with open(place / "out", "w") as out:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], stdout=out, stderr=out, cwd="/", timeout=600
        )
    assert done.returncode == 0
    assert (place / "cache" / "handlers-state" / "roll").exists()
    until(lambda: not roll.read(str(place / "cache")))


def test_site_as_it_should_be(place):
    assert check_as_apache(place) == {}


@pytest.mark.slow
def test_cache_that_another_user_owns(place):
    os.chown(place / "cache", 1234, 1234)
    os.chmod(place / "cache", 0o700)
    if os.geteuid() == 0:
        assert str(place / "cache") in check_as_apache(place)["cache"]


@pytest.mark.root
@pytest.mark.parametrize("below", ["thumbs", "handlers-state"])
def test_part_of_the_cache_that_another_user_owns(place, below):
    (place / "cache" / below).mkdir(mode=0o755)
    text = check_as_apache(place)["cache"]
    assert f"{place}/cache/{below}" in text and "chown -R www-data: " in text


@pytest.mark.root
def test_state_that_others_may_enter(place):
    (place / "cache" / "handlers-state").mkdir(mode=0o755)
    shutil.chown(place / "cache" / "handlers-state", "www-data")
    assert "chmod 700 " in check_as_apache(place)["cache"]


@pytest.mark.root
def test_settings_that_apache_cannot_read(place):
    (place / "settings.ini").chmod(0o600)
    assert "chgrp www-data" in check_as_apache(place)["settings"]


@pytest.mark.slow
@pytest.mark.parametrize("path, is_well", [("cache", False), ("cache/thumbs", False), ("", True)])
def test_htaccess_that_rules_over_the_cache(place, check, path, is_well):
    own = (place / path).as_posix()
    with open(place / "apache2" / "apache2.conf", "a") as file:
        file.write(f'<Directory "{own}">\nAllowOverride All\n</Directory>\n')
    found = check()
    assert ("AllowOverride" not in found) == is_well
    if not is_well:
        assert f"apache2.conf:6 lets .htaccess files rule over {own}" in found["AllowOverride"]


@pytest.mark.slow
@pytest.mark.parametrize("text", [b"mod_wsgi/4.6.8", b"4.6.8\0mod_wsgi/%s"])
def test_mod_wsgi_that_is_too_old(place, check, text):
    module = place / "mod_wsgi.so"
    module.write_bytes(b"\0" + text + b"\0")
    old = "python_module /usr/lib/apache2/modules/mod_python.so"
    edit(place, "apache2/apache2.conf", old, f"wsgi_module {module}")
    assert "is mod_wsgi 4.6.8, and 4.9 is needed: apt install" in check()["mod_wsgi"]


@pytest.mark.server
@pytest.mark.parametrize("name", modules.NAMES)
def test_version_of_mod_wsgi(name):
    found = ".".join(map(str, checks.version_of(modules.mod_wsgi(name))))
    wanted = {"debian": "", "installed": importlib.metadata.version("mod_wsgi")}.get(name, name)
    assert found.startswith(wanted) and int(found.split(".")[0]) >= 4


@pytest.mark.slow
def test_cache_that_is_not_there(place, check):
    (place / "cache").rmdir()
    assert "cache" in check()["cache"]


def test_pictures_that_are_not_mounted(place, check):
    edit(place, "settings.ini", "pictures", "nowhere")
    assert "no such directory" in check()["pictures"]


def test_table_with_other_columns(place, check):
    with sqlite3.connect(place / "images.db") as connection:
        connection.execute("ALTER TABLE images RENAME COLUMN path TO file")
    connection.close()
    assert "path" in check()["database"]


def test_table_without_rows(place, check):
    with sqlite3.connect(place / "images.db") as connection:
        connection.execute("DELETE FROM images")
    connection.close()
    assert "no rows" in check()["database"]


def test_database_that_is_away(place, check):
    edit(place, "settings.ini", f"sqlite:///{place}/images.db", "mysql://a@127.0.0.1:1/b")
    assert "127.0.0.1:1" in check()["database"]


@pytest.mark.slow
def test_files_that_are_missing_or_no_pictures(place, check):
    (place / "pictures" / "1.jpg").write_text("no picture")
    assert check()["sample"].startswith("1: ")
    (place / "pictures" / "1.jpg").unlink()
    assert "no such file" in check()["sample"]


def test_files_of_which_none_is_there_are_one_line(place, check):
    for id in ("1", "2"):
        (place / "pictures" / f"{id}.jpg").rename(place / "pictures" / f"{id}.old")
    text = check()["sample"]
    assert text.startswith("none of 2 files is there, as 1: '1.jpg': no such file: is images.root ")


@pytest.mark.slow
def test_pictures_that_are_not_mounted_are_one_line(place):
    edit(place, "settings.ini", "pictures", "nowhere")
    assert list(check_as_apache(place)) == ["pictures"]


@pytest.mark.slow
def test_pictures_that_are_gone_are_one_line(place):
    for id in ("1", "2"):
        (place / "pictures" / f"{id}.jpg").unlink()
    found = check_as_apache(place)
    assert list(found) == ["pictures"] and "is it mounted" in found["pictures"]


@pytest.mark.slow
def test_sample_is_decoded_in_other_processes(place, check, monkeypatch):
    monkeypatch.setattr(thumbnail, "make", None)
    assert check() == {}


@pytest.mark.slow
def test_sample_is_decoded_in_other_processes_without_a_cache(place, check, monkeypatch):
    (place / "pictures" / "1.jpg").write_text("no picture")
    (place / "cache").rmdir()
    found = check()
    assert list(found) == ["cache", "sample"] and found["sample"].startswith("1: ")
    # a fork of this process has it, too
    monkeypatch.setattr(thumbnail, "make", None)
    assert "'NoneType' object is not callable" in check()["sample"]


@pytest.mark.slow
def test_busy_makers_are_no_fault_of_the_pictures(place, check, monkeypatch):
    monkeypatch.setattr(checking, "_BUSY_TIME", 0.1)
    with contextlib.ExitStack() as busy:
        turns = Turns(str(place / "cache"), os.cpu_count(), None, None)
        for _ in range(os.cpu_count()):
            busy.enter_context(turns.maker())
        assert check() == {}


@pytest.mark.slow
def test_picture_that_takes_too_long_is_one_line(place, check, monkeypatch):
    # on a busy machine the clock would be first, for the other picture, too
    monkeypatch.setattr(making, "_PATIENCE", 600)
    edit(place, "settings.ini", "sizes = 200x200", "sizes = 200x200\ncpu = 0.1")
    grain = Image.effect_noise((6000, 6000), 60)
    Image.merge("RGB", (grain,) * 3).save(place / "pictures" / "1.jpg", progressive=True)
    found = check()
    assert found.pop("sample").startswith("1: over 0.1 s")
    assert found == {}


@pytest.mark.slow
def test_drop_in_that_means_another_cache(place, check):
    edit(
        place, "apache2/apache2.conf", f"HANDLERS_CACHE {place}/cache", "HANDLERS_CACHE /srv/other"
    )
    wrong = check()["drop-in"]
    assert "HANDLERS_CACHE is /srv/other" in wrong and "thumbnail.cache" in wrong


@pytest.mark.slow
def test_drop_in_that_is_not_enabled(place, check):
    edit(place, "apache2/apache2.conf", "Include /opt/share/handlers-site.conf\n", "")
    assert "a2enconf handlers-site" in check()["drop-in"]


@pytest.mark.slow
def test_apache_without_python(place, check):
    edit(place, "apache2/apache2.conf", "LoadModule python_module", "#LoadModule python_module")
    assert "a2enconf handlers" in check()["mod_wsgi"]


def test_secret_that_everybody_can_read(place, check):
    url = f"sqlite:///{place}/images.db"
    edit(place, "settings.ini", url, "mysql://a:secret@127.0.0.1:1/b")
    wrong = check()
    assert "chmod 640" in wrong["settings"]
    assert "secret" not in json.dumps(wrong)


def test_cache_in_a_tmp_that_only_apache_sees(tmp_path, monkeypatch):
    unit = tmp_path / "apache2.service"
    unit.write_text("[Service]\nPrivateTmp=true\n")
    monkeypatch.setattr(checking, "_UNITS", (str(tmp_path),))
    monkeypatch.setattr(checking, "SYSTEMD", str(tmp_path))
    monkeypatch.setattr(checking, "_PID_FILES", ())
    (tmp_path / "conf-available").mkdir()
    (tmp_path / "apache2.conf").write_text("")
    options = Settings({"thumbnail.cache": "/tmp/cache", "lookup.snapshot": "/var/lib/snapshot"})
    first, last = checking._private_tmp(Apache(str(tmp_path)), options)
    assert not first.is_well and "thumbnail.cache /tmp/cache: move it" in first.text
    assert last.is_well
    # one that was started by hand has the machine's /tmp
    pid_file = tmp_path / "httpd.pid"
    pid_file.write_text(f"{os.getpid()}\n")
    monkeypatch.setattr(checking, "_PID_FILES", (str(pid_file),))
    assert list(checking._private_tmp(Apache(str(tmp_path)), options)) == []
    monkeypatch.setattr(checking, "_PID_FILES", ())
    monkeypatch.setattr(checking, "SYSTEMD", str(tmp_path / "none"))
    assert list(checking._private_tmp(Apache(str(tmp_path)), options)) == []


@pytest.mark.slow
def test_quickstart_tells_what_is_to_be_done(place):
    work = Work(str(place))
    work.settings = str(place / "settings.ini")
    (line,) = serving._checked(work)
    assert re.fullmatch(r"Check:     all \d+ parts are well", line)
    (place / "pictures" / "1.jpg").unlink()
    assert serving._checked(work) == ["Check:     sample: 1: '1.jpg': no such file"]


@pytest.mark.slow
def test_site_that_does_not_answer(check):
    assert "refused" in check("--url", "http://127.0.0.1:1")["site"]
    assert "add it to /etc/hosts" in check("--url", "http://nobody.invalid")["site"]


def test_site_that_answers(own_site):
    with own_site:
        url = f"http://127.0.0.1:{own_site.port}"
        done = run_command(own_site.work.settings, "check", "--url", url)
    lines = done.stdout.splitlines()
    answers = [line for line in lines if "answers" in line]
    assert len(answers) == 2 and all(line.startswith("ok    site: http") for line in answers)


def test_configuration_that_apache_refuses_is_told(place, monkeypatch, capsys):
    """Even where nobody names it: it is not taken for an Apache that is absent."""
    edit(place, "apache2/apache2.conf", "Include /opt", "<Files x>\nInclude /opt")
    monkeypatch.setenv("APACHE_CONFDIR", str(place / "apache2"))
    assert line.run(["--settings", str(place / "settings.ini"), "check"]) == 1
    assert "apache2.conf:4: <Files> is not closed" in capsys.readouterr().err


def test_bad_row_is_one_line_with_a_site_too(own_site):
    path = read(own_site.work.settings)["lookup.database"].removeprefix("sqlite:///")
    with sqlite3.connect(path) as connection:
        (first,) = connection.execute("SELECT id FROM images ORDER BY rowid LIMIT 1").fetchone()
        connection.execute("UPDATE images SET path = 'none.jpg' WHERE id = ?", (first,))
    connection.close()
    with own_site:
        url = f"http://127.0.0.1:{own_site.port}"
        done = run_command(own_site.work.settings, "check", "--without-apache", "--url", url)
    wrong = [line for line in done.stdout.splitlines() if line.startswith("WRONG")]
    assert wrong == [f"WRONG sample: {first}: 'none.jpg': no such file"]


@pytest.mark.root
def test_cache_of_another_owner_is_one_line_with_a_site_too(own_site):
    own_site.expect("thumbnail.cache")
    with own_site:
        os.chown(own_site.work.cache, 1234, 1234)
        url = f"http://127.0.0.1:{own_site.port}"
        done = run_command(own_site.work.settings, "check", "--without-apache", "--url", url)
    wrong = [line for line in done.stdout.splitlines() if line.startswith("WRONG")]
    assert len(wrong) == 1 and wrong[0].startswith("WRONG cache: ")
