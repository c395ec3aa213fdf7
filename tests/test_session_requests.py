"""Sessions where browsers, clocks, other requests and admins do what nobody planned."""

import contextlib
import errno
import fcntl
import hmac
import os
import pickle
import shutil
import threading
import time

import pytest
from mod_python import Cookie, Session

from handlers import signing
from handlers.sessions import sid as sids
from handlers.sessions.dbm import DbmStore
from handlers.sessions.file import FileStore
from handlers.sessions.store import Record, StoreRefused
from handlers.sessions.sweep import Pace
from tests.session_client import (
    OWN,
    Client,
    OwnSession,
    count,
    locked,
    own_site,
    read,
    request,
    store_of,
)

TYPES = ("FileSession", "DbmSession", "MemorySession", "SqlSession")


@pytest.fixture
def client(tmp_path):
    tmp_path.chmod(0o700)
    return Client(**own_site(tmp_path))


@pytest.fixture(params=TYPES)
def any_client(request, client, tmp_path):
    """A client of each kind of session that this machine's files hold."""
    client.options |= {
        OWN + "session_type": request.param,
        OWN + "database": f"sqlite:///{tmp_path}/sessions.db",
    }
    yield client
    store_of(client).close()


def with_cookies(client, text):
    return client.visit(count, HTTP_COOKIE=text)


# --- which cookie


@pytest.mark.parametrize(
    "text",
    [
        "pysid={stale}; pysid={sid}",
        "pysid={sid}; pysid={stale}",
        "pysid={stale}; pysid=; pysid=x; pysid={sid}",
        "pysid={stale}; a=b, pysid={sid}",
        "pysid={stale}, pysid={sid}",
        'a="b; pysid={sid}',
        'a="b; pysid={sid}; c="',
        'a="b\\"; pysid={sid}; c=d',
        "a=b, c; pysid={sid}",
        "$Version=1; pysid={sid}; $Path=/",
        'pysid="{sid}"',
        "pysid = {sid} ; a=b",
        "a=\xff\xfe; pysid={sid}",
        "xpysid={stale};pysid={sid}",
        "PYSID={stale}; pysid={sid}",
        "pysid; pysid={sid}",
        "a=pysid; pysid={sid}",
    ],
)
def test_stored_session_is_found_among_other_cookies(client, text):
    client.visit(count)
    sid = client.cookies.pop("pysid")
    assert with_cookies(client, text.format(sid=sid, stale=sids.new())) == 2
    assert not client.sent


def test_first_of_two_stored_sessions_wins(client):
    client.visit(count)
    first = client.cookies.pop("pysid")
    client.visit(count)
    second = client.cookies.pop("pysid")
    assert with_cookies(client, f"pysid={first}; pysid={second}") == 2
    assert with_cookies(client, f"pysid={first}; pysid={second}") == 3
    assert with_cookies(client, f"pysid={second}") == 2


def test_number_of_cookies_looked_up_is_bounded_and_none_of_them_stays_locked(client):
    client.visit(count)
    store, sid = store_of(client), client.cookies.pop("pysid")
    stale = [sids.new() for _ in range(500)]
    text = "; ".join(f"pysid={one}" for one in stale)
    loads = []
    whole = type(store).load

    def load(*args):
        loads.append(args)
        return whole(store, *args)

    store.load = load
    try:
        assert with_cookies(client, f"{text}; pysid={sid}") == 1
    finally:
        del store.load
    assert len(loads) <= 10
    assert not any(locked(store, one) for one in stale[:10])


def test_signed_session_is_found_behind_a_stale_and_a_forged_one(client, tmp_path):
    secrets = tmp_path / "secrets"
    secrets.write_text("a secret of more than 16 bytes\n")
    secrets.chmod(0o600)
    client.options[OWN + "secret_file"] = secrets
    client.visit(count)
    signed = client.cookies.pop("pysid")
    forged = "0" * 64 + signed[64:]
    assert with_cookies(client, f"pysid={forged}; pysid={sids.new()}; pysid={signed}") == 2
    assert with_cookies(client, f"pysid={forged}") == 1


def test_cookies_and_sessions_that_an_older_version_signed_still_verify(client, tmp_path):
    client.visit(count)
    sid = client.cookies.pop("pysid")
    secret = b"a secret of more than 16 bytes"
    path = tmp_path / "secrets"
    path.write_bytes(b"a newer secret of 25 bytes\n" + secret)
    path.chmod(0o600)
    content = b"p" + pickle.dumps({"n": 1}, 5)
    mac = hmac.digest(secret, sid.encode() + b"\0P" + content[1:], "sha256")
    store = store_of(client)
    store.save(sid, store.load(sid)._replace(data=b"P" + mac + content[1:]))
    client.options[OWN + "secret_file"] = path
    old = hmac.digest(secret, f"pysid={sid}".encode(), "sha256").hex()
    assert with_cookies(client, f"pysid={old}{sid}") == 2
    stored = store.load(sid).data
    assert stored[1:33] != mac
    assert with_cookies(client, f"pysid={old}{sid}") == 3


def test_one_secret_signs_with_another_key_for_each_purpose(client, tmp_path):
    secret = b"a secret of more than 16 bytes"
    path = tmp_path / "secrets"
    path.write_bytes(secret)
    path.chmod(0o600)
    client.options[OWN + "secret_file"] = path
    client.visit(count)
    signed = client.cookies["pysid"]
    signature, sid = signed[:64], signed[64:]
    stored = store_of(client).load(sid).data
    plain = hmac.digest(secret, f"pysid={sid}".encode(), "sha256").hex()
    assert signature != plain
    assert stored[1:33] != hmac.digest(secret, sid.encode() + b"\0P" + stored[33:], "sha256")
    # the other purpose's key signs neither
    for purpose in (b"session cookie", b"stored session"):
        key = signing.keys_for(purpose, [secret])[0]
        right = hmac.digest(key, f"pysid={sid}".encode(), "sha256").hex() == signature
        assert right == (purpose == b"session cookie")


def test_open_quote_ends_before_a_semicolon():
    found = Cookie.Cookie.parse('a="open; b=1; c="whole" ; d="with \\" in it"; e="')
    values = {name: cookie.value for name, cookie in found.items()}
    assert values == {"a": '"open', "b": "1", "c": '"whole"', "d": '"with \\" in it"', "e": '"'}


# --- what another request does meanwhile


def sign_out(req):
    Session.Session(req).invalidate()


@pytest.mark.parametrize("loads", [False, True])
def test_session_ended_while_unlocked_does_not_come_back(any_client, loads):
    any_client.visit(count)
    req = request(any_client)
    session = Session.Session(req)
    session.unlock()
    any_client.again().visit(sign_out)
    session.lock()
    if loads:
        assert session.load() == 0
        assert session == {}
    session["n"] = 5
    session.save()
    session["n"] = 6
    session.save()
    req.run_cleanups()
    assert any_client.again().visit(read) == (True, {})


def test_new_session_ended_while_unlocked_does_not_come_back(any_client):
    session = any_client.visit(lambda req: Session.Session(req), HTTP_COOKIE="")
    session["n"] = 1
    session.save()
    session.unlock()
    other = any_client.again()
    other.cookies["pysid"] = session.id()
    other.visit(sign_out)
    session.lock()
    session["n"] = 2
    session.save()
    session.unlock()
    other.cookies["pysid"] = session.id()
    assert other.visit(read) == (True, {})


def test_session_purged_while_a_request_holds_it_does_not_come_back(any_client):
    any_client.visit(count)
    store = store_of(any_client)

    def purged(req):
        session = Session.Session(req)
        store.delete(session.id())
        session["n"] = 5
        session.save()

    any_client.visit(purged)
    assert any_client.visit(read) == (True, {})


def test_second_session_object_of_a_request_does_not_bring_back_an_ended_one(any_client):
    any_client.visit(count)
    again = any_client.again()

    def end(req):
        first, second = Session.Session(req), Session.Session(req)
        second.invalidate()
        first["n"] = 5
        first.save()

    any_client.visit(end)
    assert again.visit(read) == (True, {})


def test_load_replaces_the_content(any_client):
    any_client.visit(count)
    req = request(any_client)
    session = Session.Session(req)
    session["mine"] = 1
    session.unlock()
    any_client.again().visit(count)
    session.lock()
    assert session.load() == 1
    assert session == {"n": 2}
    session["n"] += 1
    session.save()
    req.run_cleanups()
    assert any_client.visit(read) == (False, {"n": 3})


def test_load_of_a_new_session_does_not_end_it(client):
    def start(req):
        session = Session.Session(req)
        session["n"] = 1
        assert session.load() == 0
        session.save()

    client.visit(start)
    assert client.visit(read) == (False, {"n": 1})


def test_session_of_peoples_own_ended_while_unlocked_does_not_come_back(client):
    session = client.visit(lambda req: OwnSession(req))
    session["n"] = 1
    session.save()
    session.unlock()
    OwnSession.stored.clear()
    session.lock()
    session["n"] = 2
    session.save()
    session.unlock()
    assert OwnSession.stored == {}


# --- a new id


def test_late_request_with_the_old_id_does_not_sign_the_user_out(any_client):
    any_client.visit(count)
    late = any_client.again()

    def sign_in(req):
        session = Session.Session(req)
        session["user"] = "ann"
        session.regenerate_id()
        session.save()

    any_client.visit(sign_in)
    for _ in range(2):
        assert late.visit(count) == 1
        assert not late.sent
    assert late.visit(read) == (True, {})
    assert any_client.visit(read) == (False, {"n": 1, "user": "ann"})


def test_late_save_with_the_old_id_changes_nothing(any_client):
    any_client.visit(count)
    req = request(any_client)
    late = Session.Session(req, lock=0)
    old = any_client.again()
    any_client.visit(lambda req: Session.Session(req).regenerate_id())
    late["n"] = 9
    late.save()
    assert old.visit(read) == (True, {})
    assert any_client.visit(read) == (False, {"n": 1})


def test_second_sign_in_with_the_old_id_gets_a_session_of_its_own(client):
    client.visit(count)
    twice = client.again()

    def sign_in(req):
        session = Session.Session(req)
        session.regenerate_id()
        session["user"] = "ann"
        session.save()

    client.visit(sign_in)
    old = dict(twice.cookies)
    twice.visit(sign_in)
    assert twice.cookies != old
    assert twice.visit(read) == (False, {"user": "ann"})


def test_old_id_is_new_again_after_the_grace_and_is_never_listed(any_client):
    any_client.visit(count)
    store, old = store_of(any_client), any_client.again()
    any_client.visit(lambda req: Session.Session(req).regenerate_id())
    assert len(list(store.entries())) == 1
    store.clock = lambda: time.time() + 61
    try:
        assert store.load(old.cookies["pysid"]) is None
    finally:
        store.clock = time.time


@pytest.mark.parametrize("when", ["before", "after"])
def test_cache_control_of_a_handler_keeps_the_cookie_out_of_caches(client, when):
    def handler(req):
        if when == "before":
            req.headers_out["Cache-Control"] = "max-age=60"
        count(req)
        if when == "after":
            req.headers_out["Cache-Control"] = "max-age=60"

    client.visit(handler)
    fields = [value for name, value in client.answer.headers if name == "Cache-Control"]
    assert fields == ['max-age=60, no-cache="set-cookie"']


def replace_all(req):
    count(req)
    req.err_headers_out["cache-control"] = "public"


def replace_and_end(req):
    replace_all(req)
    Session.Session(req).invalidate()


def add_several(req):
    count(req)
    req.headers_out["Cache-Control"] = "public"
    req.headers_out.add("Cache-Control", "max-age=60")
    req.err_headers_out["Cache-Control"] = "s-maxage=60"


def remove_all(req):
    count(req)
    del req.headers_out["Cache-Control"], req.err_headers_out["Cache-Control"]


@pytest.mark.parametrize(
    "handler, wanted",
    [
        (replace_all, ["public"]),
        (replace_and_end, ["public"]),
        (add_several, ["max-age=60", "public", "s-maxage=60"]),
        (remove_all, []),
    ],
)
def test_no_field_that_a_handler_replaces_lets_the_cookie_into_caches(client, handler, wanted):
    client.visit(handler)
    (field,) = (value for name, value in client.answer.headers if name.lower() == "cache-control")
    assert client.sent and set(field.split(", ")) == {*wanted, 'no-cache="set-cookie"'}


# --- the clock


def test_session_from_a_clock_that_was_ahead_ends_when_it_is_only_read(any_client):
    store = store_of(any_client)
    any_client.visit(count)
    sid = any_client.cookies["pysid"]
    ahead = time.time() + 365 * 86400
    store.save(sid, store.load(sid)._replace(accessed=ahead))
    assert any_client.visit(read) == (False, {"n": 1})
    assert store.load(sid).accessed == pytest.approx(time.time(), abs=60)


def test_touch_of_a_session_from_the_future_is_now(any_client):
    store, sid, now = store_of(any_client), sids.new(), time.time()
    store.save(sid, Record(b"x", now, now + 90, 100))
    assert store.touch(sid, now)
    assert store.load(sid).accessed == pytest.approx(now, abs=0.01)
    store.save(sid, Record(b"x", now, now + 30, 100))
    assert store.touch(sid, now)
    assert store.load(sid).accessed == pytest.approx(now + 30, abs=0.01)


def test_touch_from_the_future_is_believed_by_a_clock_that_is_behind(any_client):
    """Another machine's, or this one's in the same moment."""
    store, sid, now = store_of(any_client), sids.new(), time.time()
    store.save(sid, Record(b"x", now, now + 365 * 86400, 100))
    assert store.touch(sid, now)
    store.clock = lambda: now - 2
    try:
        assert store.load(sid).accessed == pytest.approx(now, abs=0.01)
    finally:
        store.clock = time.time


def test_sweep_of_files_ends_what_a_clock_ahead_has_left(tmp_path):
    moved = [0.0]
    store = FileStore(tmp_path / "sessions", clock=lambda: time.time() + moved[0])
    sid, ahead = sids.new(), time.time() + 365 * 86400
    store.save(sid, Record(b"x", ahead, ahead, 100))
    assert store.sweep(Pace.flat_out()).deleted == 0
    moved[0] = 200
    assert store.sweep(Pace.flat_out()).deleted == 1


# --- the directory


@pytest.mark.parametrize("what", ["all", "content", "lock file"])
@pytest.mark.parametrize("kind", ["FileSession", "DbmSession", "SqlSession"])
def test_directory_that_was_removed_is_made_anew(client, tmp_path, kind, what, caplog):
    place = tmp_path / "mp_sessions"
    client.options |= {
        OWN + "session_type": kind,
        OWN + "database": f"sqlite:///{place}/sessions.db",
    }
    client.visit(count)
    assert client.visit(count) == 2
    if what == "lock file":
        for path in place.glob("*locks"):
            path.unlink()
        assert client.visit(count) == 3
    else:
        shutil.rmtree(place)
        if what == "content":
            place.mkdir(mode=0o700)
        assert client.visit(count) == 1
        assert client.visit(count) == 2
    assert place.stat().st_mode & 0o777 == 0o700
    assert (what == "all") == ("made anew" in caplog.text)
    assert caplog.text.count("made anew") <= 1
    store_of(client).close()


def test_directory_that_another_child_makes_first_is_its_line(tmp_path, monkeypatch, caplog):
    store, make = FileStore(tmp_path / "sessions"), os.mkdir
    shutil.rmtree(tmp_path / "sessions")

    def too_late(path, mode):
        make(path, mode)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)

    monkeypatch.setattr(os, "mkdir", too_late)
    store._directory.check()
    assert store.load(sids.new()) is None and not caplog.records


def test_directory_made_by_another_user_meanwhile_is_refused(tmp_path, monkeypatch):
    place = tmp_path / "sessions"
    store = FileStore(place)
    store.save(sids.new(), Record(b"x", 0, time.time(), 100))
    shutil.rmtree(place)
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    store.load(sids.new())
    with pytest.raises(StoreRefused, match="others can write"):
        store.save(sids.new(), Record(b"x", 0, time.time(), 100))


def test_two_stores_exclude_each_other_after_the_directory_was_made_anew(tmp_path):
    stores = [FileStore(tmp_path / "sessions") for _ in range(2)]
    sid = sids.new()
    for store in stores:
        store.lock(sid, 0).release()
    shutil.rmtree(tmp_path / "sessions")
    for store in stores:
        assert store.load(sid) is None
    with stores[0].lock(sid, 0):
        assert locked(stores[1], sid)


def test_dbm_store_says_where_it_lies_if_the_directory_cannot_be_made(tmp_path):
    store = DbmStore(tmp_path / "above" / "sessions" / "all.dbm")
    shutil.rmtree(tmp_path / "above")
    (tmp_path / "above").write_text("")
    with pytest.raises(Exception, match="above"):
        store.load(sids.new())


# --- what a request costs


def test_request_makes_seven_system_calls_for_its_session(client, monkeypatch):
    for _ in range(3):
        client.visit(count)
    calls = []

    def counted(module, name):
        call = getattr(module, name)

        def counting(*args, **kw):
            calls.append(name)
            return call(*args, **kw)

        monkeypatch.setattr(module, name, counting)

    for name in ("open", "close", "fstat", "getpid", "lstat", "pread", "pwrite", "stat", "utime"):
        counted(os, name)
    counted(fcntl, "fcntl")
    # a second is over now and then, after which the lock file is looked at
    while True:
        calls.clear()
        client.visit(count)
        if "stat" not in calls:
            break
    assert calls == ["fcntl", "open", "pread", "pwrite", "utime", "close", "fcntl"]


# --- locks that are lent


def test_threads_that_hold_different_sessions_do_not_give_back_each_others_locks(tmp_path):
    store = FileStore(tmp_path / "sessions")
    ids = [sids.new() for _ in range(4)]
    with contextlib.ExitStack() as held:
        locks = [held.enter_context(store.lock(sid, 0)) for sid in ids]
        locks[0].release()
        assert [locked(store, sid) for sid in ids] == [False, True, True, True]
    assert not any(locked(store, sid) for sid in ids)


def test_child_that_is_forked_while_a_lock_is_held_does_not_give_it_back(tmp_path):
    store = FileStore(tmp_path / "sessions")
    sid = sids.new()
    held = store.lock(sid, 0)
    pid = os.fork()
    if pid == 0:
        try:
            held.release()
            os._exit(0 if locked(store, sid) else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert locked(FileStore(tmp_path / "sessions"), sid)
    held.release()
    assert not locked(store, sid)


def test_no_unlocked_save_hides_a_later_one_under_the_lock(tmp_path):
    """A save under the lock does not read the file again: it must notice what came in between."""
    store = FileStore(tmp_path / "sessions")
    now = time.time()

    def record(number, size=10):
        return Record(b"%d" % number + b" " * size, now, now, 100)

    for between in (1, 2, 3):
        for size in (10, 10_000):
            sid = sids.new()
            store.save(sid, record(0))
            with store.lock(sid, 0) as held:
                version = store.load(sid, held).version
                for number in range(between):
                    store.save(sid, record(100 + number, size))
                store.save(sid, record(7), held=held)
                assert store.load(sid, held).data.split() == [b"7"]
                assert store.load(sid).version > version


@pytest.mark.slow
def test_saves_with_and_without_the_lock_lose_nothing_that_came_last(tmp_path):
    """The holder's last save is what is left, however many others came in between."""
    store = FileStore(tmp_path / "sessions")
    sid, now, stop = sids.new(), time.time(), threading.Event()
    store.save(sid, Record(b"0", now, now, 100))

    def others():
        while not stop.is_set():
            store.save(sid, Record(b"x" * 3000, now, now, 100))
            store.save(sid, Record(b"x", now, now, 100))

    thread = threading.Thread(target=others)
    thread.start()
    try:
        for number in range(300):
            with store.lock(sid, 10) as held:
                store.load(sid, held)
                store.save(sid, Record(b"mine %d" % number, now, now, 100), held=held)
    finally:
        stop.set()
        thread.join()
    with store.lock(sid, 1) as held:
        store.load(sid, held)
        store.save(sid, Record(b"last", now, now, 100), held=held)
    assert store.load(sid).data == b"last"
