"""``modpython-handlers lookup``: what the admin sees."""

import configparser
import contextlib
import itertools
import json
import os
import sqlite3
import sys

import pytest

from handlers import locks
from handlers.commands import line
from handlers.lookup import Lookup


@pytest.fixture
def options(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "images.db")) as connection, connection:
        connection.execute("CREATE TABLE images (id TEXT PRIMARY KEY, path TEXT, hidden INT)")
        connection.execute("INSERT INTO images VALUES ('a', 'x/a.jpg', 0), ('b', 'x/b.jpg', 1)")
    return {
        "lookup.database": f"sqlite:///{tmp_path}/images.db",
        "lookup.private": "hidden",
        "lookup.snapshot": f"{tmp_path}/snapshot",
        "thumbnail.sizes": "200x200",
    }


@pytest.fixture
def run(options, capsys, tmp_path):
    runs = itertools.count()

    def run_one(*arguments, **changes):
        given = {**options, **{f"lookup.{name}": value for name, value in changes.items()}}
        # a file is read once in a process
        path = tmp_path / f"settings-{next(runs)}.ini"
        write_settings(path, given)
        status = line.run(["--settings", str(path), "lookup", *arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run_one


def write_settings(path, options):
    parser = configparser.ConfigParser(interpolation=None)
    for name, value in options.items():
        section, _, key = name.partition(".")
        if value is not None:
            parser.read_dict({section: {key: value}})
    with open(path, "w") as file:
        parser.write(file)


def test_warm_writes_the_snapshot_that_children_use(run, options, tmp_path):
    status, said, _ = run("warm")
    assert status == 0
    assert said.startswith(f"2 rows from sqlite:///{tmp_path}/images.db in ")
    assert said.endswith("s: new snapshot, 0 changed or gone\n")
    with contextlib.closing(Lookup.from_options(options)) as pictures:
        assert pictures.warm() == 2
    with contextlib.closing(sqlite3.connect(tmp_path / "images.db")) as connection, connection:
        connection.execute("UPDATE images SET path = 'y' WHERE id = 'a'")
    assert run("warm")[1].endswith("s: new snapshot, 1 changed or gone\n")
    assert run("warm")[1].endswith("s: snapshot as before, 0 changed or gone\n")


def test_show_tells_both_sides(run, tmp_path):
    assert run("show", "a") == (0, "snapshot: there is none\ndatabase: 'x/a.jpg'\n", "")
    run("warm")
    os.unlink(tmp_path / "images.db")
    status, said, error = run("show", "b")
    assert (status, said) == (1, "snapshot: 'x/b.jpg', private\n")
    assert error.startswith("lookup.database sqlite:///") and error.count("\n") == 1


def test_results_in_json(run, tmp_path):
    assert json.loads(run("warm", "--json")[1]) | {"seconds": 0} == {
        "rows": 2,
        "database": f"sqlite:///{tmp_path}/images.db",
        "seconds": 0,
        "new": True,
        "changed": 0,
    }
    shown = json.loads(run("show", "b", "--json")[1])
    assert shown["snapshot"] == shown["database"]
    assert (shown["database"]["path"], shown["database"]["private"]) == ("x/b.jpg", True)
    told = json.loads(run("stats", "--json")[1])
    assert (told["rows"], told["public"], told["changes_told"]) == (2, 1, True)


@pytest.mark.parametrize("id", ["c", "no id", "\udcff"])
def test_show_of_what_is_not_there_is_status_1(run, id):
    run("warm")
    assert run("show", id) == (1, "snapshot: not there\ndatabase: not there\n", "")


def test_stats_tell_size_and_age(run, tmp_path):
    assert run("stats")[0] == 1
    run("warm")
    status, said, _ = run("stats")
    lines = dict(line.split(": ", 1) for line in said.splitlines())
    assert status == 0
    assert lines["database"] == f"sqlite:///{tmp_path}/images.db"
    assert (lines["rows"], lines["public"], lines["changes told"]) == ("2", "1", "yes")
    assert int(lines["bytes"]) == os.path.getsize(tmp_path / "snapshot")
    assert lines["refreshed"].endswith(" s ago")


def test_foreign_snapshot_is_told(run):
    run("warm")
    status, _, error = run("stats", private=None)
    assert status == 1
    assert error.endswith("snapshot: it is of another configuration\n")


def test_without_a_snapshot_there_is_nothing_to_warm(run):
    assert run("warm", snapshot=None)[::2] == (
        1,
        "modpython-handlers: lookup.snapshot is not set: there is nothing to write\n",
    )
    assert run("stats", snapshot=None)[0] == 0
    assert run("show", "a", snapshot=None) == (0, "database: 'x/a.jpg'\n", "")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"database": "oracle://x/y"}, "scheme 'oracle' is unknown"),
        ({"tabel": "t"}, "lookup.tabel is unknown"),
        ({"table": "nothing"}, "no such table: nothing"),
        ({"snapshot": "/nowhere/at/all/snapshot"}, "/nowhere/at/all"),
    ],
)
def test_fault_is_one_line_and_status_1(run, changes, says):
    status, said, error = run("warm", **changes)
    assert (status, said) == (1, "")
    assert error.startswith("modpython-handlers: ")
    assert error.count("\n") == 1
    assert says in error


def test_warm_waits_for_another_writer_only_so_long(run, options):
    with locks.held(options["lookup.snapshot"] + ".state"):
        status, _, error = run("warm", "--wait", "0.05")
    assert status == 75
    assert "not free within 0.05 s" in error


def test_root_goes_on_as_the_owner_of_the_directory(public_dir):
    directory = public_dir / "cache"
    directory.mkdir()
    with contextlib.closing(sqlite3.connect(public_dir / "i.db")) as connection, connection:
        connection.execute("CREATE TABLE images (id TEXT PRIMARY KEY, path TEXT)")
    os.chmod(public_dir / "i.db", 0o644)
    owner = 65534 if os.geteuid() == 0 else os.geteuid()
    os.chown(directory, owner, -1)
    child = os.fork()
    if child == 0:
        status = 2
        # no exception may leave the child
        try:
            path = public_dir / "settings.ini"
            write_settings(
                path,
                {
                    "lookup.database": f"sqlite:///{public_dir}/i.db",
                    "lookup.snapshot": f"{directory}/snapshot",
                },
            )
            status = line.run(["--settings", str(path), "lookup", "warm"])
            sys.stdout.flush()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    owners = {file.name: file.stat().st_uid for file in directory.iterdir()}
    assert owners == {"snapshot": owner, "snapshot.state": owner}
