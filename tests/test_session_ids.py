"""Ids of sessions that are replaced while other requests end, replace or save the same session."""

import pytest
from mod_python import Session

from handlers.sessions import sid as sids
from handlers.sessions.serial import SerialError
from tests.session_client import OWN, Client, OwnSession, count, in_thread, own_site, read, store_of

TYPES = ("FileSession", "DbmSession", "MemorySession", "SqlSession")


@pytest.fixture(params=TYPES)
def client(request, tmp_path):
    tmp_path.chmod(0o700)
    client = Client(
        **{
            **own_site(tmp_path),
            OWN + "session_type": request.param,
            OWN + "database": f"sqlite:///{tmp_path}/sessions.db",
        }
    )
    yield client
    store_of(client).close()


def of(client, sid):
    """Return what a browser gets that comes with the id *sid*, and whether it gets a cookie."""
    other = Client(**client.options)
    other.cookies["pysid"] = sid
    return other.visit(read), "pysid" in other.sent


ENDED = (True, {})


@pytest.mark.parametrize("opened", [Session.Session, OwnSession])
@pytest.mark.parametrize("lock", [0, 1])
def test_new_id_does_not_bring_back_a_session_that_was_ended(client, opened, lock):
    """Somebody signs out while a request replaces the id: the content must not live on."""

    def make(req):
        session = opened(req)
        session["user"] = "ann"
        session.save()

    client.visit(make)

    def sign_out():
        client.again().visit(lambda req: opened(req).invalidate())

    def replace(req):
        session = opened(req, lock=lock)
        session.unlock()
        in_thread(sign_out)
        session.lock()
        session["role"] = "admin"
        session.regenerate_id()
        session.save()
        return session.id()

    old = client.cookies["pysid"]
    assert client.visit(replace) == old
    assert client.sent == {}

    def look(req):
        session = opened(req)
        return session.is_new(), dict(session)

    assert client.visit(look) == ENDED


def test_two_requests_that_replace_one_id_leave_one_session(client):
    client.visit(count)
    others = []

    def replace(req):
        session = Session.Session(req, lock=0)
        other = client.again()
        other.visit(lambda req: Session.Session(req).regenerate_id())
        others.append(other.cookies["pysid"])
        return session.regenerate_id()

    old = client.cookies["pysid"]
    assert client.visit(replace) == old
    assert client.sent == {}
    assert of(client, old) == (ENDED, False)
    assert of(client, others[0]) == ((False, {"n": 1}), False)


@pytest.mark.parametrize("opened", [Session.Session, OwnSession])
def test_second_session_object_after_a_new_id_is_the_same_session(client, opened):
    """Such as that of a PSP page which shows the visitor who has just signed in."""

    def make(req):
        session = opened(req)
        session["n"] = 1
        session.save()

    def replace(req):
        session = opened(req)
        ids = [session.id(), session.regenerate_id(), session.regenerate_id()]
        second = opened(req)
        return second.is_new(), dict(second), second.id() == ids[2] != ids[0]

    client.visit(make)
    assert client.visit(replace) == (False, {"n": 1}, True)
    assert client.visit(lambda req: dict(opened(req))) == {"n": 1}


def test_new_id_that_cannot_be_stored_leaves_the_old_one(client):
    client.visit(count)

    def replace(req):
        session = Session.Session(req)
        session["bad"] = lambda: None
        with pytest.raises(SerialError):
            session.regenerate_id()
        del session["bad"]
        session["m"] = 2
        session.save()

    client.visit(replace)
    assert client.sent == {}
    assert client.visit(read) == (False, {"n": 1, "m": 2})


def test_id_that_is_replaced_twice_and_then_invalidated(client):
    client.visit(count)
    ids = [client.cookies["pysid"]]

    def replace(req):
        session = Session.Session(req)
        ids.append(session.regenerate_id())
        ids.append(session.regenerate_id())
        session["m"] = 1
        session.save()

    client.visit(replace)
    assert client.cookies["pysid"] == ids[2]
    assert [of(client, sid) for sid in ids] == [
        (ENDED, False),
        (ENDED, False),
        ((False, {"n": 1, "m": 1}), False),
    ]

    def end(req):
        session = Session.Session(req)
        ids.append(session.regenerate_id())
        session.invalidate()
        session["m"] = 2
        session.save()

    client.visit(end)
    assert client.cookies == {}
    assert [of(client, sid)[0] for sid in ids] == [ENDED] * 4


def test_id_behind_one_that_was_replaced_is_replaced_in_its_turn(client):
    """A browser keeps the old cookie on a longer path, and sends it first."""
    client.visit(count)
    old = client.cookies["pysid"]
    client.visit(lambda req: Session.Session(req).regenerate_id())
    new = client.cookies["pysid"]

    def replace(req):
        session = Session.Session(req)
        session["m"] = 1
        return session.regenerate_id()

    newest = client.visit(replace, HTTP_COOKIE=f"pysid={old}; pysid={new}")
    assert newest == client.cookies["pysid"] not in (old, new)
    assert of(client, new) == (ENDED, False)
    assert client.visit(read) == (False, {"n": 1, "m": 1})


def test_save_that_waits_for_the_end_of_the_response_goes_before_the_new_id(client):
    client.options[OWN + "save_after_response"] = "on"
    client.visit(count)
    old = client.cookies["pysid"]

    def replace(req):
        session = Session.Session(req)
        session["m"] = 1
        session.save()
        session.regenerate_id()
        session["m"] += 1
        session.save()

    client.visit(replace)
    assert of(client, old) == (ENDED, False)
    assert client.visit(read) == (False, {"n": 1, "m": 2})


def test_late_save_after_the_grace_does_not_bring_back_the_old_id(client):
    client.visit(count)
    old, store = client.cookies["pysid"], store_of(client)

    def late(req):
        session = Session.Session(req)
        session.unlock()
        in_thread(lambda: client.again().visit(lambda req: Session.Session(req).regenerate_id()))
        store.delete(old)
        session.lock()
        session["late"] = True
        session.save()

    client.visit(late)
    assert of(client, old)[0] == ENDED


@pytest.mark.parametrize("signed", [False, True])
def test_cookies_that_cannot_be_ours_take_no_place_from_those_that_can(client, tmp_path, signed):
    """Such as those that a former secret has signed, or one that the client sends twenty times."""
    if signed:
        secrets = tmp_path / "secrets"
        secrets.write_text("a secret of more than 16 bytes\n")
        secrets.chmod(0o600)
        client.options[OWN + "secret_file"] = secrets
    client.visit(count)
    stale = ["0" * 64 + sids.new() for _ in range(50)] if signed else ["f" * 32] * 50
    sent = "; ".join(f"pysid={value}" for value in (*stale, client.cookies["pysid"]))
    assert client.visit(read, HTTP_COOKIE=sent) == (False, {"n": 1})
