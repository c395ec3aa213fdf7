"""Sessions through the runtime: what a handler gets, what is stored, what requests wait for."""

import pickle
import signal
import subprocess
import sys
import threading
import time

import pytest
from mod_python import Session, apache

from handlers.sessions import options as session_options
from handlers.sessions import sid as sids
from handlers.sessions.serial import SerialError
from handlers.sessions.store import Record
from tests.session_client import (
    OWN,
    Client,
    OwnSession,
    count,
    in_thread,
    locked,
    own_site,
    read,
    request,
    store_of,
)
from tests.support import until
from tests.wsgi import serve

TYPES = ("FileSession", "DbmSession", "MemorySession", "SqlSession")


@pytest.fixture
def site(tmp_path):
    return own_site(tmp_path)


@pytest.fixture
def client(site):
    return Client(**site)


@pytest.mark.parametrize("kind", TYPES)
def test_session_lives_from_request_to_request(client, tmp_path, kind):
    client.options |= {
        OWN + "session_type": kind,
        OWN + "database": f"sqlite:///{tmp_path}/sessions.db",
    }
    if kind == "SqlSession":
        store_of(client).create()
    before = time.time()
    assert client.visit(count) == 1
    assert client.visit(count) == 2

    def look(req):
        session = Session.Session(req)
        assert type(session) is getattr(Session, kind)
        assert session.is_new() is False
        assert session.id() == client.cookies["pysid"]
        assert before <= session.created() <= session.last_accessed() <= time.time()
        assert session.timeout() == 1800
        return dict(session)

    assert client.visit(look) == {"n": 2}
    # a child keeps it until it ends
    store_of(client).close()


def test_delete_forgets_the_values_and_a_save_stores_again(client):
    client.visit(count)

    def start_over(req):
        session = Session.Session(req)
        session.delete()
        assert session == {}
        session["fresh"] = 1
        session.save()

    client.visit(start_over)
    assert client.visit(read) == (False, {"fresh": 1})


def test_two_sessions_in_one_request_share_the_lock(client):
    client.visit(count)
    store = store_of(client)

    def twice(req):
        first = Session.Session(req)
        second = Session.Session(req)
        sid = first.id()
        assert locked(store, sid)
        first.unlock()
        assert locked(store, sid)
        second.unlock()
        assert not locked(store, sid)
        second.lock()
        assert locked(store, sid)
        return sid

    assert not locked(store, client.visit(twice))


def test_lock_is_given_back_when_the_handler_fails(client):
    client.visit(count)

    def fail(req):
        Session.Session(req)
        raise apache.SERVER_RETURN(apache.HTTP_FORBIDDEN)

    assert serve(fail, **client.variables()).status == "403 Forbidden"
    assert client.visit(count) == 2


def test_lock_wait_has_a_limit_and_lock_0_never_waits(client):
    client.visit(count)
    client.options[OWN + "lock_timeout"] = "0.05"
    seen = []

    def other():
        with pytest.raises(Session.SessionLocked, match=r"for 0\.05 s and more"):
            Session.Session(request(client))
        unlocked = Session.Session(request(client), lock=0)
        seen.append(dict(unlocked))

    def hold(req):
        Session.Session(req)
        in_thread(other)

    client.visit(hold)
    assert seen == [{"n": 1}]


def test_lock_of_a_killed_child_is_free(client):
    client.visit(count)
    store = store_of(client)
    code = (
        "import sys\nfrom handlers.sessions.file import FileStore\n"
        "held = FileStore(sys.argv[1]).lock(sys.argv[2])\nprint('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, store.path, client.cookies["pysid"]]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as child:
        assert child.stdout.readline() == b"held\n"
        client.options[OWN + "lock_timeout"] = "0"
        with pytest.raises(Session.SessionLocked):
            Session.Session(request(client))
        child.send_signal(signal.SIGKILL)
        child.wait()
    client.options[OWN + "lock_timeout"] = "30"
    assert client.visit(count) == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["FileSession", "MemorySession"])
def test_threads_lose_no_increment(client, kind):
    client.options[OWN + "session_type"] = kind
    client.visit(count)
    browsers = [client.again() for _ in range(8)]
    threads = [
        threading.Thread(target=lambda b=browser: [b.visit(count) for _ in range(25)])
        for browser in browsers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.visit(count) == 1 + 8 * 25 + 1


def test_nothing_is_written_when_nothing_has_changed(client):
    client.visit(count)
    store = store_of(client)
    sid = client.cookies["pysid"]
    before = store.load(sid)

    def save(req):
        session = Session.Session(req)
        session["n"] = session["n"]
        session.save()

    client.visit(save)
    assert store.load(sid) == before


def test_time_of_the_access_is_touched_after_a_20th_of_the_timeout(client):
    client.visit(count)
    store = store_of(client)
    sid = client.cookies["pysid"]
    stored = store.load(sid)
    for age, touched in ((60, False), (120, True)):
        accessed = time.time() - age
        version = store.save(sid, stored._replace(accessed=accessed))
        client.visit(lambda req: Session.Session(req).save())
        found = store.load(sid)
        assert (found.accessed - accessed > 100) is touched
        assert found.version == version


def test_new_timeout_is_stored_and_a_session_ends_by_it(client):
    client.visit(count)

    def shorten(req):
        session = Session.Session(req)
        session.set_timeout(7)
        session.save()

    client.visit(shorten)
    store = store_of(client)
    sid = client.cookies["pysid"]
    record = store.load(sid)
    assert record.timeout == 7
    store.save(sid, record._replace(accessed=time.time() - 8))
    assert client.visit(read) == (True, {})


def test_timeout_argument_holds_for_new_sessions(client):
    def open_it(req):
        session = Session.Session(req, timeout=60)
        session["n"] = 1
        session.save()
        return session.timeout()

    assert client.visit(open_it) == 60
    assert client.visit(lambda req: Session.Session(req, timeout=99).timeout()) == 60


def test_value_that_cannot_be_stored_raises_and_the_old_version_stays(client):
    client.visit(count)

    def spoil(req):
        session = Session.Session(req)
        session["bad"] = lambda: None
        with pytest.raises(SerialError):
            session.save()

    client.visit(spoil)
    assert client.visit(read) == (False, {"n": 1})


def test_save_after_response(client):
    client.options[OWN + "save_after_response"] = "on"
    client.visit(count)
    store = store_of(client)
    sid = client.cookies["pysid"]

    def change(req):
        session = Session.Session(req)
        stored = store.load(sid)
        session["n"] = 10
        session.save()
        session["n"] = 11
        session.save()
        session["n"] = 12
        assert store.load(sid) != stored
        session.save()
        assert locked(store, sid)
        return store.load(sid)

    during = client.visit(change)
    assert store.load(sid).version != during.version
    assert not locked(store, sid)
    assert client.visit(read) == (False, {"n": 12})


def test_postponed_save_is_seen_in_its_own_request_and_before_the_unlock(client):
    client.options[OWN + "save_after_response"] = "on"
    client.visit(count)
    store = store_of(client)

    def change(req):
        first = Session.Session(req)
        first["n"] = 10
        first.save()
        assert Session.Session(req)["n"] == 10
        first["n"] = 20
        first.save()
        before = store.load(first.id())
        first.unlock()
        assert store.load(first.id()) != before

    client.visit(change)
    assert client.visit(read) == (False, {"n": 20})


def test_json_reads_no_pickle(client):
    client.visit(count)
    client.options[OWN + "serializer"] = "json"
    assert client.visit(read) == (True, {})
    assert client.visit(count) == 1
    assert store_of(client).load(client.cookies["pysid"]).data == b'j{"n":1}'


def test_user_key_is_told_to_the_store(client):
    client.options[OWN + "user_key"] = "login"

    def sign_in(req):
        session = Session.Session(req)
        session["login"] = "ann"
        session.save()

    client.visit(sign_in)
    store = store_of(client)
    assert [entry.user for entry in store.entries("ann")] == ["ann"]
    assert store.purge("ann") == 1
    assert client.visit(read) == (True, {})


def test_unlocked_save_does_not_bring_back_an_ended_session(client, caplog):
    client.visit(count)
    req = request(client)
    reader = Session.Session(req, lock=0)
    reader["n"] = 5
    client.again().visit(lambda req: Session.Session(req).invalidate())
    reader.save()
    assert not list(store_of(client).entries())


def test_unlocked_save_wins_over_an_earlier_one(client):
    client.visit(count)
    session = Session.Session(request(client), lock=0)
    client.visit(count)
    session["n"] = 50
    session.save()
    assert client.visit(read) == (False, {"n": 50})


def test_sessions_of_mod_python_are_taken_over(client, tmp_path):
    sid = sids.new()
    now = time.time()
    directory = tmp_path / "mp_sess" / sid[:2]
    directory.mkdir(parents=True, mode=0o700)
    directory.parent.chmod(0o700)
    stored = {"_data": {"n": 41}, "_created": now - 9, "_accessed": now - 5, "_timeout": 77}
    (directory / sid).write_bytes(pickle.dumps(stored, 2))
    (directory / sid).chmod(0o600)
    client.options[OWN + "takeover"] = directory.parent
    client.cookies["pysid"] = sid
    assert client.visit(lambda req: Session.Session(req).timeout()) == 77
    assert not (directory / sid).exists()
    assert client.visit(count) == 42
    assert client.cookies["pysid"] == sid


@pytest.mark.parametrize("end", ["invalidate", "regenerate_id"])
def test_session_taken_over_by_a_child_that_was_killed_ends_for_good(client, tmp_path, end):
    """It is stored here, and its file has not been removed yet."""
    client.visit(count)
    sid, now = client.cookies["pysid"], time.time()
    directory = tmp_path / "mp_sess" / sid[:2]
    directory.mkdir(parents=True, mode=0o700)
    directory.parent.chmod(0o700)
    stored = {"_data": {"n": 41}, "_created": now, "_accessed": now, "_timeout": 1800}
    (directory / sid).write_bytes(pickle.dumps(stored, 2))
    (directory / sid).chmod(0o600)
    client.options[OWN + "takeover"] = directory.parent
    client.visit(lambda req: getattr(Session.Session(req), end)())
    store_of(client).delete(sid)
    client.cookies["pysid"] = sid
    assert client.visit(read) == (True, {})


def test_backend_of_peoples_own(client):
    def counted(req):
        session = OwnSession(req, timeout=60)
        session["n"] = session.get("n", 0) + 1
        session.save()
        session.cleanup()
        return session["n"]

    assert client.visit(counted) == 1
    stored = OwnSession.stored[client.cookies["pysid"]]
    assert sorted(stored) == ["_accessed", "_created", "_data", "_timeout"]
    assert (stored["_data"], stored["_timeout"]) == ({"n": 1}, 60)
    assert type(stored["_data"]) is dict
    assert client.visit(counted) == 2
    assert OwnSession.cleanups >= 2
    OwnSession.stored[client.cookies["pysid"]]["_accessed"] -= 61
    assert client.visit(counted) == 1
    client.visit(lambda req: OwnSession(req).regenerate_id())
    assert client.visit(counted) == 2
    client.visit(lambda req: OwnSession(req).invalidate())
    assert client.cookies == {}


def test_defaults_that_an_application_sets_hold(client, monkeypatch):
    monkeypatch.setattr(Session, "DFT_TIMEOUT", 7)
    monkeypatch.setattr(Session, "CLEANUP_CHANCE", 1)
    assert client.visit(lambda req: Session.Session(req).timeout()) == 7
    before = OwnSession.cleanups
    assert client.visit(lambda req: OwnSession(req).timeout()) == 7
    assert OwnSession.cleanups == before + 1


def test_backend_of_peoples_own_stores_and_announces_empty_sessions(client):
    client.visit(lambda req: OwnSession(req).save())
    assert OwnSession.stored[client.cookies["pysid"]]["_data"] == {}


def test_backend_of_peoples_own_has_locks(client):
    client.visit(lambda req: OwnSession(req).save())
    client.options[OWN + "lock_timeout"] = "0"

    def other():
        with pytest.raises(Session.SessionLocked):
            OwnSession(request(client))

    def hold(req):
        OwnSession(req)
        in_thread(other)

    client.visit(hold)


def test_subclass_of_file_session_may_wrap_what_is_stored(client):
    class Stamped(Session.FileSession):
        def do_save(self, dict):
            dict["_data"]["stamp"] = 1
            Session.FileSession.do_save(self, dict)

        def do_load(self):
            found = Session.FileSession.do_load(self)
            if found:
                found["_data"]["stamp"] += 1
            return found

    def save(req):
        session = Stamped(req, fast_cleanup=1, verify_cleanup=0)
        session.setdefault("n", 1)
        session.save()
        return dict(session)

    assert client.visit(save) == {"n": 1}
    assert client.visit(save) == {"n": 1, "stamp": 2}


def test_dbm_session_in_a_file_that_the_handler_names(client, tmp_path):
    (tmp_path / "own").mkdir(mode=0o700)

    def save(req):
        session = Session.DbmSession(req, dbm=str(tmp_path / "own" / "sessions"))
        session["n"] = session.get("n", 0) + 1
        session.save()
        return session["n"]

    assert [client.visit(save), client.visit(save)] == [1, 2]
    assert list((tmp_path / "own").glob("sessions*"))


def test_sweep_runs_in_no_request(site, tmp_path):
    site = {name: str(value) for name, value in site.items()} | {
        OWN + "sweep": "on",
        OWN + "sweep_interval": "0.05",
        "mod_python.file_session.cleanup_grace_period": "0",
    }
    client = Client(**site)
    client.visit(count)
    session = client.visit(lambda req: Session.Session(req, lock=0))
    store = session._backing.store
    try:
        store.save("0" * 32, Record(b"x", 0, time.time() - 60, 1))
        until(lambda: not store.stats().expired)
        assert client.visit(count) == 2
    finally:
        session._backing.sweeper.stop()


def test_start_sweep_sets_the_options_of_the_process(site, caplog):
    try:
        Session.start_sweep({name: str(value) for name, value in site.items()} | {"x.y": "z"})
        client = Client()
        client.visit(count)
        other = {"PythonOption." + OWN + "cookie_name": "own"}
        client.visit(count, **other)
        assert sorted(client.cookies) == ["own", "pysid"]
        assert store_of(client).path.startswith(str(site[OWN + "database_directory"]))
        assert not caplog.records
        Session.start_sweep({OWN + "session_type": "BananaSession"})
        assert "BananaSession" in caplog.text
    finally:
        session_options._defaults.clear()
        session_options._of_file.cache_clear()


def test_start_sweep_without_options_of_sessions_starts_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    Session.start_sweep({"lookup.database": "sqlite:////x"})
    assert not list(tmp_path.iterdir())


def test_same_modules_under_both_names():
    import handlers.mod_python.Session

    Session.install()
    assert handlers.mod_python.Session is Session
