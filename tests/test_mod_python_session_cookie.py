"""What a client gets of its session: the cookie, when it is sent, and the id that it names."""

import pytest
from mod_python import Session

from handlers.sessions import sid as sids
from tests.session_client import OWN, Client, count, locked, own_site, read, request, store_of


@pytest.fixture
def client(tmp_path):
    return Client(**own_site(tmp_path))


def test_cookie_is_safe_by_default(client):
    client.visit(count)
    cookie = client.sent["pysid"]
    assert sids.valid(cookie.value)
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
    assert (cookie["secure"], cookie["domain"], cookie["expires"]) == ("", "", "")
    assert client.answer["Cache-Control"] == 'no-cache="set-cookie"'


def test_cookie_is_secure_over_https(client):
    client.visit(count, **{"wsgi.url_scheme": "https"})
    assert client.sent["pysid"]["secure"]
    behind_proxy = Client(**client.options)
    behind_proxy.visit(count, HTTPS="on")
    assert behind_proxy.sent["pysid"]["secure"]


def test_cookie_options(client):
    client.options |= {
        OWN + "cookie_name": "visit",
        OWN + "cookie_samesite": "strict",
        OWN + "cookie_httponly": "off",
        OWN + "cookie_secure": "on",
        OWN + "application_domain": "example.org",
        OWN + "application_path": "/shop",
    }
    client.visit(count)
    cookie = client.sent["visit"]
    assert (cookie["samesite"], cookie["httponly"], cookie["secure"]) == ("Strict", "", True)
    assert (cookie["domain"], cookie["path"]) == ("example.org", "/shop")


def test_options_of_mod_python_before_3_3(client, tmp_path):
    directory = tmp_path / "old"
    client.options = {
        "session": "DbmSession",
        "session_cookie_name": "old",
        "ApplicationPath": "/old",
        "session_directory": directory,
        OWN + "sweep": "off",
    }
    client.visit(count)
    assert client.sent["old"]["path"] == "/old"
    assert (directory / "mp_sessions").is_dir()


def test_cookie_without_samesite_and_with_samesite_none(client):
    client.options[OWN + "cookie_samesite"] = "off"
    client.visit(count)
    assert client.sent["pysid"]["samesite"] == ""
    other = Client(**client.options | {OWN + "cookie_samesite": "None"})
    other.visit(count)
    assert (other.sent["pysid"]["samesite"], other.sent["pysid"]["secure"]) == ("None", True)


def test_host_prefix(client):
    client.options[OWN + "cookie_host_prefix"] = "on"
    client.visit(count)
    cookie = client.sent["__Host-pysid"]
    assert (cookie["secure"], cookie["path"], cookie["domain"]) == (True, "/", "")
    assert client.visit(count) == 2
    client.options[OWN + "application_domain"] = "example.org"
    with pytest.raises(ValueError, match="cookie_host_prefix"):
        Session.Session(request(client))


@pytest.mark.parametrize(
    "name, value",
    [
        ("session_type", "BananaSession"),
        ("cookie_samesite", "maybe"),
        ("cookie_httponly", "maybe"),
        ("serializer", "xml"),
        ("lock_timeout", "-1"),
        ("lock_timeout", "long"),
    ],
)
def test_option_that_makes_no_sense_is_an_error(client, name, value):
    client.options[OWN + name] = value
    with pytest.raises(ValueError, match=value):
        Session.Session(request(client))


def test_session_without_a_key_is_neither_stored_nor_announced(client):
    def look(req):
        session = Session.Session(req)
        session.save()
        return session.is_new(), sids.valid(session.id())

    assert client.visit(look) == (True, True)
    assert not client.sent and "Cache-Control" not in dict(client.answer.headers)
    assert not list(store_of(client).entries())


@pytest.mark.parametrize(
    "give",
    [
        lambda session: session.setdefault("key", 1),
        lambda session: session.update(key=1),
        lambda session: session.update([("key", 1)]),
        lambda session: session.__ior__({"key": 1}),
        lambda session: session.__setitem__("key", 1),
    ],
)
def test_every_way_to_give_a_key_announces_the_session(client, give):
    def change(req):
        session = Session.Session(req)
        give(session)
        session.save()

    client.visit(change)
    assert client.visit(read) == (False, {"key": 1})


def test_store_empty_does_as_mod_python(client):
    client.options[OWN + "store_empty"] = "on"

    def save(req):
        Session.Session(req).save()

    client.visit(save)
    assert client.sent
    assert client.visit(read) == (False, {})


def test_key_after_the_first_output_is_told_in_the_log(client, caplog):
    def late(req):
        session = Session.Session(req)
        req.write("text")
        session["key"] = 1

    client.visit(late)
    assert "after the first output" in caplog.text
    assert not client.sent


@pytest.mark.parametrize("planted", ["0" * 32, "0" * 32 + "\n", "../../etc/passwd", "A" * 32, ""])
def test_unknown_id_of_a_client_is_never_adopted(client, planted):
    client.cookies["pysid"] = planted
    client.visit(count)
    assert client.cookies["pysid"] != planted
    assert client.visit(count) == 2


def test_id_given_by_the_caller(client):
    client.visit(count)
    sid = client.cookies.pop("pysid")
    assert client.visit(lambda req: dict(Session.Session(req, sid=sid))) == {"n": 1}
    with pytest.raises(ValueError, match="not a session id"):
        Session.Session(request(client), sid=sid + "\n")
    assert client.visit(lambda req: Session.Session(req, sid="0" * 32).id()) != "0" * 32


def test_regenerate_id_ends_the_old_id(client):
    client.visit(count)
    planted = client.again()

    def sign_in(req):
        session = Session.Session(req)
        session["user"] = "ann"
        assert session.regenerate_id() == session.id() != client.cookies["pysid"]
        session["more"] = 1
        session.save()

    client.visit(sign_in)
    assert client.visit(read) == (False, {"n": 1, "user": "ann", "more": 1})
    assert planted.visit(read) == (True, {})


def test_regenerate_id_of_a_new_session_sends_one_cookie(client):
    def sign_in(req):
        session = Session.Session(req)
        session["user"] = "ann"
        session.regenerate_id()

    client.visit(sign_in)
    assert [name for name, _ in client.answer.headers].count("Set-Cookie") == 1
    assert client.visit(read) == (False, {"user": "ann"})


def test_regenerate_id_moves_the_lock(client):
    client.visit(count)
    store = store_of(client)
    req = request(client)
    session = Session.Session(req)
    old = session.id()
    new = session.regenerate_id()
    assert not locked(store, old) and locked(store, new)
    req.run_cleanups()
    assert not locked(store, new)


def test_invalidate_deletes_session_and_cookie(client):
    client.visit(count)
    thief = client.again()

    def sign_out(req):
        session = Session.Session(req)
        session.invalidate()
        session["n"] = 5
        session.save()

    client.visit(sign_out)
    assert client.cookies == {}
    assert thief.visit(read) == (True, {})


def test_signed_cookie_and_replaced_secret(client):
    client.visit(lambda req: Session.Session(req, secret="old").update(n=1) or None)

    def counted(*secrets):
        def visit(req):
            session = Session.Session(req, secret=secrets)
            session["n"] = session.get("n", 0) + 1
            session.save()
            return session["n"]

        return visit

    client.cookies = {}
    assert client.visit(counted("old")) == 1
    unsigned = client.again()
    unsigned.cookies["pysid"] = client.cookies["pysid"][64:]
    assert unsigned.visit(counted("old")) == 1
    assert client.visit(counted("new", b"old")) == 2
    assert client.visit(counted("new")) == 1


def test_secret_file_signs_cookies_and_stored_sessions(client, tmp_path):
    path = tmp_path / "secrets"
    path.write_text("a secret of more than 16 bytes\n")
    path.chmod(0o600)
    client.visit(count)
    client.options[OWN + "secret_file"] = path
    assert client.visit(count) == 1, "an unsigned cookie must not be taken"
    assert client.visit(count) == 2
    assert len(client.cookies["pysid"]) == 64 + 32
    record = store_of(client).load(client.cookies["pysid"][64:])
    assert record.data[:1] == b"P"
