"""apache_conf/quickstart, run by root, gives nobody root's rights."""

import os
import shutil
import stat
import subprocess
import sys

import pytest

from handlers.quickstart import rights
from tests.servers.quickstart import failure

WWW_DATA = 33


def owners(directory):
    return {path: (path.lstat().st_uid, path.lstat().st_mode) for path in directory.rglob("*")}


@pytest.fixture
def roots(public_dir):
    """A directory of root's with a file in it; nothing of it may change."""
    directory = public_dir / "roots"
    directory.mkdir()
    (directory / "file").write_text("x")
    before = owners(public_dir / "roots"), directory.stat().st_uid
    yield directory
    assert (owners(public_dir / "roots"), directory.stat().st_uid) == before


@pytest.mark.parametrize("place", ["cache/thumbs", "cache/handlers-state", "cache", "sessions"])
def test_link_to_a_directory_of_roots_is_not_followed(quickstart, pictures, roots, place):
    assert quickstart.start(pictures[0]).returncode == 0
    quickstart.run("--stop")
    at = quickstart.work / place
    if at.exists():
        shutil.rmtree(at)
    at.symlink_to(roots)
    os.chown(at, WWW_DATA, WWW_DATA, follow_symlinks=False)
    done = quickstart.start(pictures[0])
    # what is Apache's user's to exchange must not stop the start; the rest is refused
    assert (done.returncode == 0) == (place == "cache/thumbs"), done.stderr


def test_link_in_the_place_of_the_snapshot(quickstart, pictures, roots):
    assert quickstart.start(pictures[0]).returncode == 0
    quickstart.run("--stop")
    for name in ("lookup.snapshot", "lookup.snapshot.state"):
        path = quickstart.work / "cache" / "handlers-state" / name
        path.unlink(missing_ok=True)
        path.symlink_to(roots / "file")
        os.chown(path, WWW_DATA, WWW_DATA, follow_symlinks=False)
    done = quickstart.start(pictures[0])
    assert done.returncode == 1
    assert done.stderr.startswith("quickstart: ") and len(done.stderr.splitlines()) == 1
    assert (roots / "file").read_text() == "x"


def made(path, uid=0, mode=0o755):
    path.mkdir(parents=True, exist_ok=True)
    os.chown(path, uid, uid)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("name", "uid", "mode", "below", "said"),
    [
        ("theirs", WWW_DATA, 0o755, "", "belongs to www-data"),
        ("theirs", WWW_DATA, 0o755, "new/work", "belongs to www-data"),
        ("open", 0, 0o777, "work", "others can write to"),
        ("open", 0, 0o777, "new/work", "others can write to"),
        ("sticky", 0, 0o1777, "", "others can write to"),
        ("group", WWW_DATA, 0o2775, "work", "belongs to www-data"),
    ],
)
@pytest.mark.parametrize("option", ["--work", "--venv"])
def test_directory_that_another_user_could_change(
    quickstart, public_dir, pictures, option, name, uid, mode, below, said
):
    directory = made(public_dir / name, uid, mode) / below
    before = owners(public_dir)
    command = [quickstart.command()[0], str(pictures[0]), "--detach", option, str(directory)]
    command += ["--port", str(quickstart.port)]
    if option == "--venv":
        command += ["--work", str(quickstart.work)]
    line = failure(quickstart.execute(command))
    assert said in line and str(public_dir / name) in line
    assert owners(public_dir) == before


def test_group_with_other_members(public_dir):
    directory = made(public_dir / "group", 0, 0o2775)
    os.chown(directory, 0, WWW_DATA)
    assert not rights.is_owned(str(directory / "work"))
    os.chown(directory, 0, 0)
    directory.chmod(0o2775)
    assert rights.is_owned(str(directory / "work"))


def test_sticky_directory_is_fine_on_the_way(public_dir):
    assert rights.is_owned(str(made(public_dir / "sticky", 0, 0o1777) / "work"))


def test_links_on_the_way_count(public_dir):
    made(public_dir / "theirs", WWW_DATA)
    (public_dir / "link").symlink_to(public_dir / "theirs")
    assert not rights.is_owned(str(public_dir / "link" / "work"))
    (public_dir / "of-www-data").symlink_to("/var/lib")
    os.chown(public_dir / "of-www-data", WWW_DATA, WWW_DATA, follow_symlinks=False)
    assert not rights.is_owned(str(public_dir / "of-www-data" / "work"))
    (public_dir / "loop").symlink_to("loop")
    assert not rights.is_owned(str(public_dir / "loop" / "work"))


@pytest.mark.parametrize("name", ["bin/python", "lib/x.py", "pyvenv.cfg"])
def test_environment_with_a_file_of_another_user(quickstart, public_dir, pictures, name):
    venv = public_dir / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "lib").mkdir()
    (venv / "pyvenv.cfg").write_text("")
    path = venv / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    os.chown(path, WWW_DATA, WWW_DATA)
    command = [quickstart.command()[0], str(pictures[0]), "--work", str(quickstart.work)]
    command += ["--port", str(quickstart.port)]
    line = failure(quickstart.execute([*command, "--venv", str(venv)]))
    assert f"{path} belongs to www-data" in line
    os.chown(path, 0, 0)
    path.chmod(0o777)
    line = failure(quickstart.execute([*command, "--venv", str(venv)]))
    assert f"others can write to {path}" in line


def test_nothing_is_writable_by_others_whatever_the_umask(quickstart, pictures):
    done = quickstart.start(pictures[0], umask=0)
    assert done.returncode == 0, done.stderr
    # the server at work makes and removes some
    quickstart.run("--stop")
    for path in (quickstart.work, *quickstart.work.rglob("*")):
        found = path.lstat()
        assert not found.st_mode & stat.S_IWOTH, path
        if found.st_uid == 0:
            assert not found.st_mode & stat.S_IWGRP, path


def test_apache_cannot_change_what_it_is_told(quickstart, pictures):
    assert quickstart.start(pictures[0]).returncode == 0
    for name in ("settings.ini", "htpasswd", "handlers.wsgi"):
        path = quickstart.work / "etc" / name
        check = ["setpriv", "--reuid=33", "--regid=33", "--clear-groups", "test"]
        assert subprocess.run([*check, "-r", path]).returncode == 0
        assert subprocess.run([*check, "-w", path]).returncode == 1
    assert subprocess.run([*check, "-r", quickstart.work / "etc" / "password"]).returncode == 1


def test_runs_without_root(quickstart, pictures, public_dir):
    home = made(public_dir / "home", WWW_DATA)
    quickstart.work = home / "work"
    quickstart.copy_into(public_dir)
    own = ["setpriv", "--reuid=33", "--regid=33", "--clear-groups", "env", f"HOME={home}"]
    start = quickstart.command(pictures[0], "--detach", "--port", quickstart.port)
    done = quickstart.execute([*own, *start])
    assert done.returncode == 0, done.stderr
    assert quickstart.get("/thumbs/200x200/sub-p001.jpg")[0] == 200
    done = quickstart.execute([*own, *quickstart.command("--stop")])
    assert done.returncode == 0, done.stderr


def test_other_user_cannot_stop_it(quickstart, pictures, public_dir):
    quickstart.copy_into(public_dir)
    assert quickstart.start(pictures[0]).returncode == 0
    own = ["setpriv", "--reuid=33", "--regid=33", "--clear-groups"]
    line = failure(quickstart.execute([*own, *quickstart.command("--stop")]))
    assert "another user's" in line
    assert quickstart.get("/")[0] == 200


def test_run_as_hands_on_results_and_sentences():
    user = rights.pwd.getpwuid(WWW_DATA)
    assert rights.run_as(user, lambda: [os.getuid(), os.geteuid()]) == [WWW_DATA, WWW_DATA]

    def refuse():
        raise rights.Failed("no such thing")

    with pytest.raises(rights.Failed, match="no such thing"):
        rights.run_as(user, refuse)
    with pytest.raises(rights.Failed, match="without an answer"):
        rights.run_as(user, sys.exit)
