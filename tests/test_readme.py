"""README is true: its commands and options are those of the code, and no other."""

import pathlib
import re
import subprocess
import sys

import pytest

from handlers.lookup.options import _NAMES as LOOKUP_NAMES
from handlers.making import OWN_LIMITS
from handlers.mod_python import Session
from tests import bench
from tests.servers.httpd import Httpd, make_images_table

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SOURCES = "\n".join(path.read_text() for path in sorted((ROOT / "handlers").rglob("*.py")))

# Options of mod_python's that are taken and have nothing to do, in another table.
FROM_FILE_SESSION = {"enable_fast_cleanup", "verify_session_timeout"}

# What handlers ask of their options, by the literal in the code.
ASKED = set(
    re.findall(
        r'"((?:thumbnail|cache)\.[a-z_]+|images\.root|gallery\.users|handlers\.settings|images\.url)"', SOURCES
    )
) | {f"thumbnail.{name}" for name in OWN_LIMITS}


def options_of_readme():
    sections = "thumbnail|cache|images|gallery|handlers|lookup"
    return re.findall(rf"(?m)^\| `((?:{sections})\.[a-z_]+)` \|", README)


def test_every_option_is_described_once():
    described = options_of_readme()
    assert sorted(described) == sorted(set(described))
    assert set(described) == {f"lookup.{name}" for name in LOOKUP_NAMES} | ASKED


def test_every_option_of_sessions_is_described():
    table = Session.__doc__
    known = set(re.findall(r"(?m)^([a-z_]+) +\S", table[table.index("session_type") - 1 :]))
    section = README[README.index("## Sessions") : README.index("## Your own handlers")]
    described = set(re.findall(r"(?m)^\| `([a-z_]+)` \|", section))
    assert described == known - {"cleanup_grace_period", "cleanup_time_limit"} - FROM_FILE_SESSION
    for name in described:
        assert f'"{name}"' in SOURCES


def test_every_command_is_known():
    commands = re.findall(r"(?m)^    python -m handlers (\w+) (\w+)", README)
    assert commands
    for part, command in commands:
        done = subprocess.run([sys.executable, "-m", "handlers", part, command, "--help"], cwd=ROOT)
        assert done.returncode == 0


def test_quickstart_options_are_those_of_its_help():
    said = subprocess.run(
        [ROOT / "apache_conf" / "quickstart", "--help"], capture_output=True, text=True, check=True
    ).stdout
    section = README[README.index("## Try it") : README.index("## Drop it in")]
    in_readme = set(re.findall(r"(?m)^\| `(--[a-z]+)", section))
    assert in_readme == set(re.findall(r"(?m)^  (--[a-z]+)", said))


def test_quickstart_accepts_every_option_of_its_help():
    said = subprocess.run(
        [sys.executable, "-m", "handlers.quickstart", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout
    section = README[README.index("## Try it") : README.index("## Drop it in")]
    for option in re.findall(r"(?m)^\| `(--[a-z]+)", section):
        assert option in said


@pytest.mark.parametrize("path", sorted(set(re.findall(r"(?:apache_conf|tests)/[\w.-]+", README))))
def test_named_files_exist(path):
    assert (ROOT / path).exists()


def test_benchmarks_named_are_there():
    assert set(re.findall(r"tests/bench\.py ([a-z][a-z-]*)", README)) == set(bench.NAMES)


def test_log_lines_shown_are_those_of_a_server(public_dir, pictures):
    """All but the times, the counts and the paths."""
    shown = re.findall(r"(?m)^    \[wsgi:(info|warn)\] (.*)", README)
    assert len(shown) == 6
    root, rows = pictures
    url = make_images_table(public_dir / "images.db", rows)
    site = Httpd(public_dir / "site", "mod_wsgi", url, root, snapshot=True)
    away = Httpd(public_dir / "away", "mod_wsgi", "mysql://a@127.0.0.1:1/b", root)
    site.settings("cache.interval = 0.1")
    with site:
        for id in ("large", "gone"):
            site.request(f"/thumbs/200x200/{id}.jpg")
        log = site.log(0)
    with away:
        log += away.log(0)
    for level, line in shown:
        pattern = re.escape(line)
        for value, any_value in ((r"\w+:/\S+|/var/\S+", r"\\S+"), (r"[0-9]+", "[0-9]+")):
            pattern = re.sub(value, any_value, pattern)
        pattern = pattern.replace(re.escape("..."), ".*")
        assert re.search(rf"\[wsgi:{level}\].* {pattern}", log), (pattern, log)


def test_project_speaks_of_itself_alone():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    # ours to keep out: paths of one machine
    words = re.compile("/" + r"(?:work|root)" + "/")
    for name in tracked:
        path = ROOT / name
        if path.is_file():
            assert not words.search(path.read_text(errors="replace")), name
