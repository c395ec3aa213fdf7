"""``modpython-handlers sessions``, as cron and an admin run it."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import pytest

from handlers.sessions import open_store
from handlers.sessions.dbm import DbmStore
from handlers.sessions.file import FileStore
from handlers.sessions.sid import new
from handlers.sessions.sqlite import SqliteStore
from handlers.sessions.store import Record
from tests.support import run_command

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture
def run(tmp_path):
    """Run a command with the settings given; return its completed process."""
    settings = tmp_path / "settings.ini"

    def with_settings(text, *arguments):
        settings.write_text(f"[mod_python.session]\n{text}\n")
        settings.chmod(0o600)
        return run_command(settings, "sessions", *arguments)

    return with_settings


@pytest.fixture
def files(tmp_path):
    """A file store with three sessions of ann's, one of bob's, and two that ended long ago."""
    tmp_path.chmod(0o700)
    options = {"mod_python.session.database_directory": str(tmp_path)}
    store = open_store("file", options)
    now = time.time()
    for user, accessed in (*(("ann", now),) * 3, ("bob", now), *((None, now - 10_000),) * 2):
        store.save(new(), Record(b"x", accessed, accessed, 1800, user))
    return f"database_directory = {tmp_path}"


def test_stats_counts_live_and_expired(run, files):
    said = run(files, "stats").stdout
    assert [line.split()[:2] for line in said.splitlines()][:2] == [["live", "4"], ["expired", "2"]]


def test_list_shows_users_and_no_ids(run, files):
    lines = run(files, "list").stdout.splitlines()
    assert sorted(line.split()[-1] for line in lines) == ["ann", "ann", "ann", "bob"]
    assert len(run(files, "list", "--user", "bob").stdout.splitlines()) == 1


def test_list_shows_names_that_would_act_on_the_terminal_as_escapes(run, files, tmp_path):
    store = open_store("file", {"mod_python.session.database_directory": str(tmp_path)})
    now = time.time()
    for user in ("\x1b[2Jred", "two\nlines", "b\x9b31m", "right\u202eleft", "grüße"):
        store.save(new(), Record(b"x", now, now, 1800, user))
    said = run(files, "list").stdout
    assert all(line.isprintable() for line in said.splitlines())
    shown = {line.split(maxsplit=4)[-1] for line in said.splitlines()}
    assert shown == {
        *("ann", "bob", "grüße", r"'\x1b[2Jred'", r"'two\nlines'", r"'b\x9b31m'"),
        r"'right\u202eleft'",
    }


def test_purge_ends_the_sessions_of_one_user(run, files):
    assert run(files, "purge", "ann").stdout == "3 sessions ended.\n"
    assert len(run(files, "list").stdout.splitlines()) == 1


def test_sweep_deletes_what_has_expired_and_says_how_much(run, files):
    done = run(files, "sweep", "--fast")
    assert done.stdout.startswith("2 of 6 sessions deleted in ") and done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert run(files, "stats").stdout.splitlines()[1].split() == ["expired", "0"]


def test_create_makes_the_table(run, mariadb):
    mariadb.execute("DROP DATABASE IF EXISTS commands", "CREATE DATABASE commands")
    text = f"session_type = SqlSession\ndatabase = {mariadb.url('commands')}"
    assert run(text, "create").returncode == 0
    assert mariadb.execute("SHOW TABLES FROM commands") == [("sessions",)]
    assert run(text, "stats").stdout.splitlines()[0].split() == ["live", "0"]


def test_results_in_json(run, files):
    told = json.loads(run(files, "stats", "--json").stdout)
    assert (told["live"], told["expired"]) == (4, 2)
    listed = json.loads(run(files, "list", "--json").stdout)
    assert sorted(entry["user"] for entry in listed) == ["ann", "ann", "ann", "bob"]
    swept = json.loads(run(files, "sweep", "--fast", "--json").stdout)
    assert (swept["deleted"], swept["finished"]) == (2, True)
    assert json.loads(run(files, "purge", "bob", "--json").stdout) == {"ended": 1}
    assert json.loads(run(files, "list", "--user", "bob", "--json").stdout) == []
    assert json.loads(run(files, "create", "--json").stdout) == {"table": None}


def test_another_sweep_is_busy(run, files, tmp_path):
    options = {"mod_python.session.database_directory": str(tmp_path)}
    with open_store("file", options)._acquire("sweep", 0):
        done = run(files, "sweep")
    assert done.returncode == 75
    assert done.stderr == "modpython-handlers: another process is sweeping\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("kind", ["file", "dbm", "sqlite"])
def test_root_becomes_the_owner_of_the_sessions(run, public_dir, kind):
    """Also with secrets that only the owner can read; nothing there becomes root's."""
    place = public_dir / "mp_sessions"
    place.mkdir(mode=0o700)
    secrets = public_dir / "secrets"
    secrets.write_text("a secret of many letters\n")
    secrets.chmod(0o600)
    for path in (place, secrets):
        os.chown(path, 33, 33)
    text = {
        "file": f"database_directory = {public_dir}",
        "dbm": f"session_type = DbmSession\ndatabase_directory = {public_dir}",
        "sqlite": f"session_type = SqlSession\ndatabase = sqlite:///{place}/sessions.db",
    }[kind]
    text += f"\nsecret_file = {secrets}"
    pid = os.fork()
    if pid == 0:
        # a child of Apache's
        status = 1
        with contextlib.suppress(BaseException):
            os.setgid(33)
            os.setuid(33)
            store = {
                "file": lambda: FileStore(place),
                "dbm": lambda: DbmStore(place / "sessions.dbm"),
                "sqlite": lambda: SqliteStore(str(place / "sessions.db")),
            }[kind]()
            store.save(new(), Record(b"x", time.time(), time.time(), 1800))
            status = 0
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    for arguments in (("stats",), ("list",), ("sweep", "--fast"), ("purge", "ann")):
        done = run(text, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
    owners = {path.stat().st_uid for path in place.rglob("*")}
    assert owners <= {33}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_root_makes_no_sessions_of_its_own(run, public_dir):
    done = run(f"database_directory = {public_dir}", "stats")
    assert done.returncode == 1
    assert f"{public_dir}/mp_sessions" in done.stderr
    assert not (public_dir / "mp_sessions").exists()


@pytest.mark.parametrize("kind", ["file", "dbm", "sqlite"])
@pytest.mark.parametrize("arguments", [("stats",), ("list",), ("sweep",), ("purge", "ann")])
def test_command_makes_no_store_and_says_where_it_looked(run, tmp_path, kind, arguments):
    tmp_path.chmod(0o700)
    place = tmp_path / "sessions"
    text = {
        "file": f"database_directory = {place}",
        "dbm": f"session_type = DbmSession\ndatabase_directory = {place}",
        "sqlite": f"session_type = SqlSession\ndatabase = sqlite:///{place}/sessions.db",
    }[kind]
    for _ in range(2):
        done = run(text, *arguments)
        assert done.returncode == 1 and done.stdout == ""
        assert str(place) in done.stderr and done.stderr.count("\n") == 1
        assert ("PrivateTmp" in done.stderr) == str(tmp_path).startswith(("/tmp/", "/var/tmp/"))
        assert not list(tmp_path.glob("*session*/*"))
        # a directory without a file is no store either
        if kind != "file":
            place.mkdir(mode=0o700, exist_ok=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a /tmp of its own")
def test_sessions_in_another_tmp_are_an_error_and_not_none(run):
    """As with systemd's PrivateTmp: Apache's /tmp is another mount than the command's."""
    place = pathlib.Path(tempfile.mkdtemp(dir="/tmp"))
    store = (
        "import sys, time\nfrom handlers.sessions.file import FileStore\n"
        "from handlers.sessions.store import Record\n"
        "FileStore(sys.argv[1]).save('0' * 32, Record(b'x', 0, time.time(), 1800, 'ann'))\n"
        "print('saved')\n"
    )
    script = 'mount -t tmpfs -o mode=700 tmpfs "$0" && "$@"'
    command = [sys.executable, "-c", store, place / "mp_sessions"]
    try:
        apache = subprocess.run(
            ["unshare", "-m", "sh", "-c", script, place, *command],
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        if apache.stderr.startswith(("unshare:", "mount:")):
            pytest.skip(f"no mounts here: {apache.stderr}")
        assert apache.stdout == "saved\n", apache.stderr
        done = run(f"database_directory = {place}", "purge", "ann")
        assert done.returncode == 1
        assert f"{place}/mp_sessions" in done.stderr and "PrivateTmp" in done.stderr
        assert not list(place.iterdir())
    finally:
        place.rmdir()


@pytest.mark.parametrize("kind", ["File", "Dbm", "Memory"])
def test_create_makes_nothing_for_a_store_without_a_table(run, tmp_path, kind):
    """What another user than Apache's makes there would end every session."""
    tmp_path.chmod(0o700)
    text = f"session_type = {kind}Session\ndatabase_directory = {tmp_path}/sessions"
    done = run(text, "create")
    assert (done.returncode, done.stdout) == (0, "This store needs no table.\n")
    assert not (tmp_path / "sessions").exists()


def test_takeover_of_what_cannot_be_taken_over_makes_no_store(run, tmp_path):
    tmp_path.chmod(0o700)
    old = tmp_path / "mp_sess"
    old.mkdir()
    old.chmod(0o777)
    done = run(f"database_directory = {tmp_path}/sessions", "takeover", str(old))
    assert done.returncode == 1 and f"{old}: others can write to it" in done.stderr
    assert not (tmp_path / "sessions").exists()


@pytest.mark.parametrize("command", ["stats", "list", "sweep", "purge", "takeover"])
def test_sessions_in_the_memory_of_children_are_out_of_reach(run, tmp_path, command):
    """A takeover would end all sessions: they would be in the command's memory only."""
    tmp_path.chmod(0o700)
    (tmp_path / "mp_sess").mkdir(mode=0o700)
    given = {"purge": ["ann"], "takeover": [str(tmp_path / "mp_sess")]}.get(command, [])
    done = run("session_type = MemorySession", command, *given)
    assert (done.returncode, done.stdout) == (1, "")
    assert "MemorySession" in done.stderr


def test_create_makes_the_file_of_sqlite(run, tmp_path):
    tmp_path.chmod(0o700)
    text = f"session_type = SqlSession\ndatabase = sqlite:///{tmp_path}/sessions.db"
    assert run(text, "create").returncode == 0
    assert run(text, "stats").stdout.splitlines()[0].split() == ["live", "0"]


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("session_type = RedisSession", "session_type: 'RedisSession' is none of FileSession, "),
        ("session_type = SqlSession", "database is not set"),
        ("database_directory = /dev/null/sessions", "/dev/null/sessions"),
        (
            "session_type = SqlSession\ndatabase = mysql://a:secret@127.0.0.1:1/b\n"
            "serializer = json",
            "mysql://a@127.0.0.1:1/b: ",
        ),
        ("session_type = SqlSession\ndatabase = sqlite:////nowhere/s.db", "/nowhere"),
        ("session_type = MemcachedSession", "cannot tell which sessions it holds"),
    ],
)
def test_fault_is_one_sentence(run, text, complaint):
    done = run(text, "stats")
    assert done.returncode == 1
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1 and "secret" not in done.stderr


def test_settings_file_missing_is_one_sentence(tmp_path):
    done = run_command(tmp_path / "none.ini", "sessions", "stats")
    assert done.returncode == 1
    assert done.stderr.startswith("modpython-handlers: settings file")
