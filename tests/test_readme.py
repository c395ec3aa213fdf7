"""README is true: its commands and options are those of the code, and no other."""

import argparse
import configparser
import pathlib
import re
import shlex
import subprocess
import sys
import textwrap

import django
import django.conf
import jinja2
import pytest
from django.template import Context, Engine, Library

from handlers import html
from handlers.commands import cache, convert, lookup, sessions, setup
from handlers.commands import line as command_line
from handlers.configuration.text import parse
from handlers.convert import rewrite as moving
from handlers.convert.loading import Load
from handlers.convert.scripts import Scripts
from handlers.lookup import Row
from handlers.options import OPTIONS
from tests import bench
from tests.servers.httpd import Httpd, make_images_table
from tests.support import until

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SESSIONS = "mod_python.session."


def table(first, prefix="", first_column="option"):
    """Return {option: (default, meaning, example)} of the table whose first option is *first*."""
    lines = README.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| `{first}` |"))
    assert lines[start - 2] == f"| {first_column} | default | meaning | example |"
    rows = {}
    for line in lines[start:]:
        if not line.startswith("| "):
            return rows
        name, default, meaning, example = line.removeprefix("| ").removesuffix(" |").split(" | ")
        name = prefix + name.strip("`")
        assert name not in rows
        rows[name] = default, meaning, example.strip("`")
    raise AssertionError("the table does not end")


def part(heading):
    """Return the text below *heading*, up to the next one."""
    return re.split(r"(?m)^##? ", README[README.index(heading) + 3 :])[0]


def declared(*sections):
    return {
        option.name: (option.default, option.meaning, option.example)
        for option in OPTIONS.values()
        if option.name.rpartition(".")[0] in sections
    }


def unquoted(rows):
    return {name: (default.strip("`"), *rest) for name, (default, *rest) in rows.items()}


def test_options_are_described_as_they_are_declared():
    own = ("thumbnail", "cache", "images", "gallery", "handlers", "lookup")
    described = table("thumbnail.cache")
    assert unquoted(described) == unquoted(declared(*own))
    assert list(described) == list(declared(*own))


def test_settings_that_most_sites_need_are_options():
    (block,) = [b for b in re.findall(r"(?m)(?:^(?: {4}.*)?\n)+", README) if "[gallery]" in b]
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(textwrap.dedent(block))
    names = [f"{section}.{key}" for section in parser.sections() for key in parser[section]]
    assert len(names) == 8
    for name in names:
        OPTIONS[name].kind.parse(parser.get(*name.split(".")))


def test_options_of_sessions_are_described_as_they_are_declared():
    described = table("session_type", SESSIONS)
    assert unquoted(described) == unquoted(declared(SESSIONS.rstrip(".")))


def test_python_options_of_requests_are_described_as_they_are_declared():
    described = table("mod_python.form.memory", first_column="PythonOption")
    assert unquoted(described) == unquoted(
        declared("mod_python.form", "mod_python", "mod_python.wsgi")
    )


def test_options_of_mod_python_that_are_kept_are_named():
    kept = [name for name in OPTIONS if re.match(r"mod_python\.(file|dbm)_session\.", name)]
    assert kept
    for name in kept:
        key = name.rpartition(".")[2]
        assert f"`{name}`" in README or f"`{key}`" in README


def commands(text):
    """Return the commands of the package that stand in *text*, without the program's name."""
    return re.findall(r"(?m)^ {4,}modpython-handlers (.+)$", text)


def test_every_command_is_known():
    """Parsed as they stand there; what they do has tests of its own."""
    assert "python -m handlers" not in README
    parser = command_line.parser()
    assert len(commands(README)) > 12
    for command in commands(README):
        assert callable(parser.parse_args(command.split()).run)


def test_every_command_is_described():
    said = subprocess.run(
        [sys.executable, "-m", "handlers", "--help"], capture_output=True, text=True, cwd=ROOT
    ).stdout
    parts = set(re.findall(r"(?m)^    ([a-z]+)  ", said))
    assert {command.split()[0] for command in commands(README)} == parts
    for module in (cache, lookup, sessions):
        parser = argparse.ArgumentParser()
        module.configure(parser)
        part = module.__name__.rpartition(".")[2]
        for name in re.search(r"\{([a-z,]+)\}", _choices(parser))[1].split(","):
            assert any(command.startswith(f"{part} {name}") for command in commands(README))


def _choices(parser):
    (action,) = [action for action in parser._actions if action.choices]
    return "{" + ",".join(action.choices) + "}"


def test_options_of_setup_are_those_of_its_help():
    said = subprocess.run(
        [sys.executable, "-m", "handlers", "setup", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout
    section = part("## Options of setup")
    described = set(re.findall(r"(?m)^\| `(--[a-z-]+)", section))
    assert described == set(re.findall(r"(?m)^  (--[a-z-]+)", said)) - {"--json", "--help"}


def test_options_of_convert_are_those_of_its_help():
    parser = argparse.ArgumentParser()
    convert.configure(parser)
    section = part("## One site before and after")
    described = set(re.findall(r"(?m)^\| `(--[a-z-]+)", section))
    assert described == set(re.findall(r"(?m)^  (--[a-z-]+)", parser.format_help())) - {"--help"}


def test_site_shown_before_is_converted_to_the_one_shown_after():
    shown = re.findall(r"(?:Before|After):\n\n((?: {4}.*\n)+)", README)
    before, after = ("".join(re.findall(r"(?m)^ {4}(.*\n)", text)) for text in shown)
    load = Load("/usr/lib/apache2/modules/mod_wsgi.so")
    (text,) = moving.convert([parse(before)], Scripts(setup.ETC, sys.prefix), load).texts
    assert re.sub("front-[0-9a-f]+", "front-FINGERPRINT", text) == after


def test_packages_of_the_install_without_a_compiler_are_those_of_setup_cfg():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    needed = set(parser["options"]["install_requires"].split())
    line = re.search(r"bin/pip install ('.*>=.*')", README)[1]
    # mod_wsgi is the system's there
    assert set(shlex.split(line)) == {name for name in needed if not name.startswith("mod_wsgi")}


def test_quickstart_options_are_those_of_its_help():
    said = subprocess.run(
        [ROOT / "apache_conf" / "quickstart", "--help"], capture_output=True, text=True, check=True
    ).stdout
    section = part("## Options of the quickstart")
    in_readme = set(re.findall(r"(?m)^\| `(--[a-z-]+)", section))
    assert in_readme == set(re.findall(r"(?m)^  (--[a-z-]+)", said))


@pytest.mark.parametrize("path", sorted(set(re.findall(r"(?:apache_conf|tests)/[\w.-]+", README))))
def test_named_files_exist(path):
    assert (ROOT / path).exists()


def test_benchmarks_named_are_there():
    assert set(re.findall(r"tests/bench\.py ([a-z][a-z-]*)", README)) == set(bench.NAMES)


def test_places_are_those_of_setup():
    section = part("## Drop it in")
    assert f"`{setup.ETC}`" in section
    for directory in re.findall(r"/var/cache/[\w-]+", README):
        assert directory in ("/var/cache/modpython-handlers", "/var/cache/x")


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
        with away:
            for level, line in shown:
                pattern = re.escape(line)
                for value, any_value in ((r"\w+:/\S+|/var/\S+", r"\\S+"), (r"[0-9]+", "[0-9]+")):
                    pattern = re.sub(value, any_value, pattern)
                pattern = rf"\[wsgi:{level}\].* " + pattern.replace(re.escape("..."), ".*")
                # a sweep, say, comes when it comes
                until(lambda pattern=pattern: re.search(pattern, site.log(0) + away.log(0)))


def test_project_speaks_of_itself_alone():
    # ours to keep out: paths of one machine
    words = re.compile("/" + r"(?:work|root)" + "/")
    folders = ("handlers", "apache_conf", "tests", ".ci")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    for path in (*files, *ROOT.glob("*")):
        if path.is_file() and path.suffix != ".pyc" and path.name != ".git":
            assert not words.search(path.read_text(errors="replace")), path


def test_lines_of_a_site_s_own_pages(tmp_path, monkeypatch):
    """They run as they are written, but for the place of the settings file."""
    (tmp_path / "settings.ini").write_text("[thumbnail]\nsizes = 200x200 400x400-crop\n")
    text = README[README.index("    from handlers import html\n") :]
    lines = textwrap.dedent(re.match(r"(?:(?:    .*)?\n)*", text)[0])
    environment, register = jinja2.Environment(autoescape=True), Library()
    monkeypatch.setattr(html, "_file", None)
    exec(
        lines.replace("/etc/modpython-handlers", str(tmp_path)),
        {"environment": environment, "register": register, "row": Row("a.jpg")},
    )
    wanted = html.img("7", "200x200", "A boat")
    template = re.search(r"# Jinja2: (.*)", lines)[1]
    assert environment.from_string(template).render(id="7") == wanted
    if not django.conf.settings.configured:
        django.conf.settings.configure()
        django.setup()
    engine = Engine()
    engine.template_builtins.append(register)
    template = re.search(r"# Django: (.*)", lines)[1]
    assert engine.from_string(template).render(Context({"id": "7"})) == wanted
