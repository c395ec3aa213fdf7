"""What a child does at its start, and what it leaves for later."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from handlers import child, receipt
from handlers.cache import stamp
from handlers.settings import read
from tests.servers.httpd import Httpd, make_images_table
from tests.support import until

# beside what Python itself has imported; each name more is time and memory of every child
ALLOWED = {
    "_queue",
    "_weakrefset",
    "atexit",
    "fcntl",
    # Python 3.13 has it in the interpreter
    "warnings",
    "handlers",
    "handlers.child",
    "handlers.receipt",
    "handlers.stop",
    "itertools",
    "threading",
}


@pytest.fixture
def etc(tmp_path):
    """A directory with a settings file, for a cache that is bound to it and a shared snapshot."""
    directory = tmp_path / "etc"
    directory.mkdir()
    (tmp_path / "images").mkdir()
    url = make_images_table(tmp_path / "images.db", {"p1": "a.jpg"})
    (directory / "settings.ini").write_text(
        f"[thumbnail]\ncache = {tmp_path}/cache\n"
        f"[lookup]\ndatabase = {url}\nsnapshot = {tmp_path}/cache/handlers-state/snapshot\n"
        f"[images]\nroot = {tmp_path}/images\n"
    )
    return directory


def start(etc, then=""):
    """Start a child in a process of its own; return what the code *then* prints as JSON."""
    code = (
        "import sys, json\nbefore = set(sys.modules)\nimport handlers.child\n"
        f"handlers.child._FIRST_ELECTION = 600\nhandlers.child.start({str(etc)!r})\n"
        "imported = sorted(set(sys.modules) - before)\n"
        f"{then}"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600
    )
    return json.loads(process.stdout) if process.stdout else process.stderr


def claim(etc, tmp_path):
    path, cache = str(etc / "settings.ini"), str(tmp_path / "cache")
    seen = receipt.look(path)
    stamp.claim(cache, read(path))
    receipt.write(path, cache, seen)
    return path, cache


def test_child_imports_next_to_nothing_before_its_first_request(etc, tmp_path):
    claim(etc, tmp_path)
    imported = start(etc, "print(json.dumps(imported))")
    assert set(imported) <= ALLOWED


def test_first_request_imports_what_answers_it_and_no_pillow(etc, tmp_path):
    claim(etc, tmp_path)
    imported = start(
        etc,
        "handle = handlers.child.ready()\n"
        "from handlers import settings\n"
        "print(json.dumps([settings.file_of({}), sorted(sys.modules)]))",
    )
    assert imported[0] == str(etc / "settings.ini")
    assert {"handlers.runtime.entry", "mod_python"} <= set(imported[1])
    assert not {"PIL", "pymysql", "sqlite3", "ssl", "handlers.duties"} & set(imported[1])


@pytest.mark.parametrize("handler", ["thumbnail", "original", "gallery"])
def test_child_that_answers_has_nothing_of_what_makes_thumbnails(etc, tmp_path, handler):
    """Makers have Pillow and what decodes and scales beside it; each child would hold 4 MB."""
    claim(etc, tmp_path)
    then = f"handlers.child.ready()\nimport handlers.{handler}\n"
    imported = start(etc, f"{then}print(json.dumps(sorted(sys.modules)))")
    assert f"handlers.{handler}" in imported
    heavy = {"PIL.Image", "cykooz_resizer", "pyvips", "handlers.image.thumbnail", "subprocess"}
    assert not (heavy | {"pdb", "uuid", "pymysql", "ssl"}) & set(imported)


def test_child_claims_a_cache_that_is_not_bound_to_its_settings(etc, tmp_path):
    path, cache = str(etc / "settings.ini"), str(tmp_path / "cache")
    assert not receipt.is_claimed(path, cache)
    start(etc)
    assert receipt.is_claimed(path, cache)
    assert stamp.holds(cache, read(path))


def edit(etc, tmp_path):
    with open(etc / "settings.ini", "a", encoding="utf-8") as file:
        file.write("url = /originals\n")


def replace(etc, tmp_path):
    text = (etc / "settings.ini").read_text()
    (etc / "new").write_text(text)
    os.utime(etc / "new", ns=(0, os.stat(etc / "settings.ini").st_mtime_ns))
    os.rename(etc / "new", etc / "settings.ini")


def empty(etc, tmp_path):
    (tmp_path / "cache" / "handlers-state" / "stamp").unlink()


def bind_to_another(etc, tmp_path):
    state = tmp_path / "cache" / "handlers-state"
    (state / "new").write_text((state / "stamp").read_text().replace("settings.ini", "other.ini"))
    os.rename(state / "new", state / "stamp")


def tear(etc, tmp_path):
    path = tmp_path / "cache" / "handlers-state" / "claimed"
    path.write_bytes(path.read_bytes()[:-3])


@pytest.mark.parametrize("change", [edit, replace, empty, bind_to_another, tear])
def test_receipt_does_not_outlive_a_change(etc, tmp_path, change):
    path, cache = claim(etc, tmp_path)
    assert receipt.is_claimed(path, cache)
    change(etc, tmp_path)
    assert not receipt.is_claimed(path, cache)


def test_peek_sees_what_the_settings_say(etc, tmp_path):
    path = etc / "settings.ini"
    options = read(str(path))
    wanted = ("thumbnail.cache", "lookup.database", "lookup.snapshot")
    assert child.peek(str(path)) == {name: options[name] for name in wanted}
    path.write_text(
        "\ufeff# cache = no\n[thumbnail]\n; cache = no\nCache=/a = b\n[other]\ncache = x\n"
    )
    assert child.peek(str(path)) == {"thumbnail.cache": "/a = b"}
    path.write_bytes(b"\xff\xfe\0")
    assert "" in child.peek(str(path))
    assert "" in child.peek(str(etc / "none.ini"))


def test_fault_of_the_settings_is_told_at_the_start(etc):
    with open(etc / "settings.ini", "a", encoding="utf-8") as file:
        file.write("rooot = /x\n")
    assert "images.rooot is unknown: did you mean images.root" in start(etc)


@pytest.fixture(scope="module")
def site(base):
    url = make_images_table(base / "child.db", {"p1": "a.jpg"})
    (base / "child-pictures").mkdir()
    with Httpd(
        base / "child", "mod_wsgi", url, base / "child-pictures", children=4, snapshot=True
    ) as server:
        yield server


def on_duty(site):
    """The children that hold the lock of those on duty, as proc(5) lists it."""
    try:
        status = os.stat(pathlib.Path(site.work.cache, "handlers-state", "duties"))
    except FileNotFoundError:
        # no child has stood for election yet
        return []
    found = []
    for line in pathlib.Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(status.st_ino):
            found.append(int(fields[4]))
    return [pid for pid in found if pid in site.child_pids()]


def test_one_child_has_the_duties_and_another_takes_them_when_it_is_killed(site):
    until(lambda: len(on_duty(site)) == 1)
    (first,) = on_duty(site)
    site.begin_test()
    os.kill(first, signal.SIGKILL)
    until(lambda: on_duty(site) not in ([], [first]))


def test_process_that_an_application_forks_does_not_keep_the_duties(tmp_path, monkeypatch):
    """Where it outlives its child, nobody else would have them."""
    monkeypatch.setattr(child, "_won", [])
    path = str(tmp_path / "settings.ini")
    lock = str(tmp_path / "duties")
    assert child._is_elected(path, lock)
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    try:
        assert not child._is_elected(path, lock)
        os.close(child._won.pop())
        until(lambda: child._is_elected(path, lock))
        os.close(child._won.pop())
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
