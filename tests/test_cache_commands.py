"""``modpython-handlers cache`` as an admin uses it, in processes of its own."""

import contextlib
import json
import logging
import os
import pathlib
import pty
import re
import shutil
import signal
import subprocess
import sys

import pytest

from handlers import lookup, making, settings, signing
from handlers.cache import stamp
from handlers.commands import warming
from tests.servers.httpd import make_images_table
from tests.support import command_line, run_command, until

pytestmark = pytest.mark.slow

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
    return run_command(site / "settings.ini", "cache", *arguments, **options)


def without_progress(said):
    """Return the lines of a command, but for those in which it tells how far it is.

    Only a slow machine has time for any.
    """
    return [line for line in said.splitlines() if not re.match(r"\d+( of \d+)? pictures: ", line)]


def stats(site):
    return json.loads(run(site, "stats", "--json").stdout)


@pytest.mark.slow
def test_warm_makes_all_and_goes_on_where_it_was(site):
    done = run(site, "warm", "--all", "--formats", "jpg webp")
    assert (done.returncode, without_progress(done.stderr)) == (0, [])
    assert done.stdout == "5 pictures: 20 thumbnails made, 0 there already, 0 failed\n"
    os.unlink(site / "cache" / "thumbs" / "200x200" / "p002.webp")
    again = run(site, "warm", "--all", "--formats", "jpg webp", "--json").stdout
    assert json.loads(again) == {"pictures": 5, "made": 1, "present": 19, "failed": 0}
    assert stats(site)["thumbs/200x200"]["formats"] == {"jpg": 5, "webp": 5}


def test_warm_decodes_once_for_all_sizes_of_a_format(site, caplog):
    caplog.set_level(logging.INFO, "handlers")
    options = settings.read(str(site / "settings.ini"))
    sizes, formats = ["400x400", "200x200", "100x100"], ["jpg", "webp"]
    plan = warming.Plan(f"{site}/cache", sizes, formats, making.recipe(options), 2, options)
    pictures = lookup.open(options)
    stamp.claim(f"{site}/cache", options)

    def are_made_of_what_is_kept():
        shutil.rmtree(site / "cache" / "thumbs", ignore_errors=True)
        caplog.clear()
        assert warming._warm(plan, "large", pictures["large"])[:3] == (6, 0, 0)
        sources = re.findall(r"made from (.*) in", caplog.text)
        return ["kept" in source for source in sources] == [False, True, True] * 2

    # a machine may take longer than what is kept is kept
    until(are_made_of_what_is_kept)
    # what is there already is not decoded for
    os.unlink(site / "cache" / "thumbs" / "200x200" / "large.jpg")
    assert warming._warm(plan, "large", pictures["large"])[:3] == (1, 5, 0)


def test_warm_takes_ids_and_names_what_fails(site):
    done = run(site, "warm", "--sizes", "50x50", "p001", "nobody")
    assert done.returncode == 1
    assert without_progress(done.stderr) == ["nobody: no such picture"]
    assert done.stdout == "2 pictures: 1 thumbnails made, 0 there already, 1 failed\n"
    piped = run(site, "warm", "--sizes", "50x50", "-", input="p002\np003\n")
    assert piped.returncode == 0 and "2 thumbnails made" in piped.stdout


def test_warm_without_ids_is_wrong_usage(site):
    done = run(site, "warm")
    assert (done.returncode, done.stdout) == (2, "")
    assert "ID --all is required" in done.stderr


def test_warm_of_all_makes_the_first_snapshot(site):
    settings = site / "settings.ini"
    text = settings.read_text().replace("[lookup]", f"[lookup]\nsnapshot = {site}/cache/snapshot")
    settings.write_text(text)
    done = run(site, "warm", "--all", "--json")
    assert (done.returncode, json.loads(done.stdout)["made"]) == (0, 10), done.stderr
    assert (site / "cache" / "snapshot").exists()


@pytest.mark.parametrize("snapshot", [False, True])
@pytest.mark.parametrize("arguments", [("--all",), ("p001",)])
def test_warm_with_the_database_away_is_one_sentence(site, arguments, snapshot):
    settings = site / "settings.ini"
    url = "mysql://site:secret@127.0.0.1:1/pictures"
    lines = f"database = {url}" + (f"\nsnapshot = {site}/cache/snapshot" if snapshot else "")
    settings.write_text(re.sub("database = .*", lines, settings.read_text()))
    done = run(site, "warm", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "modpython-handlers: lookup.database mysql://site@127.0.0.1:1/pictures: "
    )
    assert done.stderr.count("\n") == 1 and "Can't connect" in done.stderr


def test_warm_whose_process_is_killed_says_how_to_go_on(site):
    """The kernel's out-of-memory killer takes one of the processes."""
    command = command_line(site / "settings.ini")
    with subprocess.Popen(
        [*command, "cache", "warm", "--processes", "1", "-"],
        cwd=site,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as warming:
        warming.stdin.write("p001\np002\n")
        warming.stdin.flush()
        children = pathlib.Path(f"/proc/{warming.pid}/task/{warming.pid}/children")
        until(lambda: children.read_text().split() and len(thumbnails(site)) >= 2)
        for pid in children.read_text().split():
            os.kill(int(pid), signal.SIGKILL)
        said = warming.communicate("".join(f"p{number:03d}\n" for number in range(20)))[1]
    assert warming.returncode == 1
    (line,) = without_progress(said)
    assert line.endswith("run the command again, and it goes on where it stopped")


def thumbnails(site):
    return list((site / "cache").glob("thumbs/*/*.jpg"))


def test_bar_is_not_broken_by_warnings(site):
    """On a terminal: a warning stands in a line of its own, above the bar."""
    parent, child = pty.openpty()
    ids = [id for number in range(40) for id in (f"p00{1 + number % 3}", f"nobody{number}")]
    command = command_line(site / "settings.ini")
    with open(child, "w") as terminal:
        done = subprocess.run(
            [*command, "cache", "warm", *ids],
            cwd=site,
            stdout=subprocess.DEVNULL,
            stderr=terminal,
        )
    with open(parent, "rb", buffering=0) as file:
        said = read_all(file).replace("\r\n", "\n")
    assert done.returncode == 1
    assert re.search(r"\[[#.]{40}\] \d+ of 80 pictures: \d+ made \(\d+/s\)", said), said
    lines = [line.rpartition("\r\x1b[K")[2] for line in said.split("\n")]
    assert sorted(lines[:-1]) == sorted(f"nobody{number}: no such picture" for number in range(40))
    assert lines[-1] == ""


def read_all(file):
    pieces = []
    # the end of a pseudoterminal is an error
    with contextlib.suppress(OSError):
        while piece := file.read(4096):
            pieces.append(piece)
    return b"".join(pieces).decode()


def test_warm_is_interrupted_without_a_traceback(site):
    command = command_line(site / "settings.ini")
    with subprocess.Popen(
        [*command, "cache", "warm", "-"],
        cwd=site,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as warming:
        warming.stdin.write("p001\n")
        warming.stdin.flush()
        until(lambda: thumbnails(site))
        # as Ctrl-C does, to all processes of the terminal
        os.killpg(warming.pid, signal.SIGINT)
        said = warming.stdout.read()
    assert (warming.returncode, said) == (130, "")


def test_interrupt_that_comes_before_a_process_is_ready_is_no_traceback_either(site):
    code = (
        "import os, signal, sys\n"
        "from handlers.commands import line, warming\n"
        "begin = warming._begin\n"
        "def interrupted():\n"
        "    for pid in (os.getppid(), os.getpid()):\n"
        "        os.kill(pid, signal.SIGINT)\n"
        "    begin()\n"
        "warming._begin = interrupted\n"
        "sys.exit(line.run(sys.argv[1:]))\n"
    )
    _, _, _, *arguments = command_line(site / "settings.ini", "cache", "warm", "--processes", "1")
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, "p001", "p002"],
        cwd=pathlib.Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert (done.returncode, done.stdout) == (130, ""), done.stdout


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
    listed = run(site, "url", "300x200", "p001", "p002", "--json").stdout
    assert json.loads(listed) == [signing.url(f"300x200/{id}", KEY) for id in ("p001", "p002")]


def test_url_of_a_listed_size_is_not_signed(site):
    done = run(site, "url", "200x200", "p001", "--format", "jpg")
    assert (done.returncode, done.stdout) == (0, "/thumbs/200x200/p001.jpg\n")
    assert done.stderr == "200x200 is in thumbnail.sizes: its URLs need no signature\n"


def test_output_that_nobody_reads_is_no_traceback(site):
    """As in ``modpython-handlers cache url ... | head``."""
    command = command_line(site / "settings.ini")
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as gone:
        done = subprocess.run(
            [*command, "cache", "url", "300x200", "p001"],
            cwd=site,
            stdout=gone,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (done.returncode, done.stderr) == (141, "")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*command, "cache", "url", "300x200", "p001"],
            cwd=site,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr == "modpython-handlers: [Errno 28] No space left on device\n"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("url", "0x10", "p001"), "not a size: '0x10'"),
        (("url", "10x10", "p001", "--format", "gif"), "'gif' is not among"),
        (("warm", "--sizes", "1x", "p001"), "not a size: '1x'"),
        (("--cache", "/nowhere", "stats"), "/nowhere: no such directory"),
        (("url", "3000x3000", "p001"), "3000x3000 would be answered 404"),
        (("url", "2001x10", "p001"), "2001x10 would be answered 404"),
        (("url", "300x200", "foo.bar"), "'foo.bar' cannot stand in a URL"),
    ],
)
def test_what_cannot_be_done_is_one_line(site, arguments, why):
    done = run(site, *arguments)
    assert done.returncode == 1
    assert why in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.root
def test_cache_stays_the_servers(site):
    """Run as root it leaves no file that the owner of the cache could not use."""
    os.chown(site / "cache", 33, 33)
    os.chown(site / "settings.ini", 0, 33)
    assert run(site, "warm", "p001").returncode == 0
    for path in (site / "cache").rglob("*"):
        assert path.stat().st_uid == 33, path
