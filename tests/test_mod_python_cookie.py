"""Cookies: what is read, what is sent, and what is refused."""

import base64
import hashlib
import hmac
import marshal
import time

import pytest
from mod_python import Cookie, apache

from tests.wsgi import serve

BIG = {"list": [1, 2.5, None], "text": "é" * 300, b"bytes": b"\0"}


def test_cookie_with_all_attributes():
    cookie = Cookie.Cookie(
        "name",
        "value",
        path="/x",
        secure=True,
        max_age=5,
        expires=0,
        SameSite="Lax",
        commentURL="/why",
        httponly=1,
    )
    assert str(cookie) == (
        "name=value; path=/x; secure; expires=Thu, 01-Jan-1970 00:00:00 GMT; max-age=5;"
        " samesite=Lax; commentURL=/why; httponly"
    )
    assert repr(cookie) == f"<Cookie: {cookie}>"


def test_attribute_that_is_not_set_is_not_there_and_not_sent():
    cookie = Cookie.Cookie("a", "b", secure=0, samesite=None)
    assert str(cookie) == "a=b"
    for name in ("path", "expires", "max_age"):
        assert not hasattr(cookie, name)
    with pytest.raises(AttributeError):
        Cookie.Cookie("a", "b", bogus=1)
    with pytest.raises(AttributeError):
        cookie.bogus = 1


@pytest.mark.parametrize("text", ["Thu, 01-Jan-1970 00:00:00 GMT", "Sun, 06 Nov 1994 08:49:37 GMT"])
def test_expires_takes_a_date(text):
    assert Cookie.Cookie("a", "b", expires=text).expires == text


@pytest.mark.parametrize("text", ["tomorrow", "Thu, 01-Jan-1970 00:00:00 GMT\r\nX: y", ""])
def test_expires_refuses_what_is_no_date(text):
    with pytest.raises(ValueError, match="expires"):
        Cookie.Cookie("a", "b", expires=text)


@pytest.mark.parametrize(
    "header, expected",
    [
        ("a=1; b=2;c=3", {"a": "1", "b": "2", "c": "3"}),
        ("a=1 ; b = 2", {"a": "1", "b": "2"}),
        ("$Version=1; a=1; $Path=/", {"a": "1"}),
        ('a="x,y\\"z"; b=2', {"a": '"x,y\\"z"', "b": "2"}),
        ('a="x;y"; b=2', {"a": '"x', 'y"': "", "b": "2"}),
        ("a; b=", {"a": "", "b": ""}),
        ("a=1; a=2", {"a": "2"}),
        ("a=b=c", {"a": "b=c"}),
        ("a=1, b=2; c=3", {"a": "1, b=2", "c": "3"}),
        ("", {}),
        (";;; =", {}),
    ],
)
def test_parse(header, expected):
    cookies = Cookie.Cookie.parse(header)
    assert {name: cookie.value for name, cookie in cookies.items()} == expected
    assert all(cookie.name == name for name, cookie in cookies.items())


def test_parse_takes_names():
    assert list(Cookie.Cookie.parse("a=1; b=2; c=3", names=["b", "x"])) == ["b"]


def test_parse_is_fast_for_hostile_headers():
    started = time.thread_time()
    for header in ('a="' + "\\" * 8000, "a " * 4000, "=" * 8000, " ,;" * 3000, 'a="x' * 2000):
        for _ in range(20):
            Cookie.Cookie.parse(header)
    assert time.thread_time() - started < 2


@pytest.mark.parametrize(
    "name, value, attributes",
    [
        ("a", "x\r\nSet-Cookie: b=c", {}),
        ("a", "x\nX", {}),
        ("a", "x\0", {}),
        ("a", "x; domain=example.org", {}),
        ("a", '"x; domain=example.org"', {}),
        ("a", "x", {"path": "/\r\nX: y"}),
        ("a", "x", {"path": "/; domain=example.org"}),
        ("a", "x", {"comment": "\x7f"}),
        ("a\r\nb", "x", {}),
        ("a b", "x", {}),
        ("a=b", "x", {}),
        ("", "x", {}),
    ],
)
def test_nothing_breaks_out_of_the_header(name, value, attributes):
    cookie = Cookie.Cookie(name, value, **attributes)
    with pytest.raises(Cookie.CookieError):
        str(cookie)
    assert "\n" not in repr(cookie)


@pytest.mark.parametrize("Class", [Cookie.SignedCookie, Cookie.MarshalCookie])
@pytest.mark.parametrize("secret", ["secret", b"secret", ["secret", b"other"]])
def test_signed_cookie_is_read_back(Class, secret):
    value = "text" if Class is Cookie.SignedCookie else BIG
    sent = str(Class("name", value, secret, path="/"))
    assert sent.endswith("; path=/")
    read = Class.parse(sent.partition(";")[0], secret)["name"]
    assert type(read) is Class
    assert read.value == value
    assert Class.parse(str(read), secret)["name"].value == value


def test_signature_is_hmac_sha256_of_name_and_value():
    cookie = Cookie.SignedCookie("name", "value", "secret")
    digest = hmac.new(b"secret", b"name=value", hashlib.sha256).hexdigest()
    assert str(cookie) == f"name={digest}value"


def test_secrets_are_replaced_one_after_the_other():
    sent = str(Cookie.SignedCookie("name", "value", "old"))
    assert Cookie.SignedCookie.parse(sent, ["new", "old"])["name"].value == "value"
    with pytest.raises(Cookie.CookieError):
        Cookie.SignedCookie.parse(sent, ["new"], mismatch=Cookie.Cookie.EXCEPTION)


@pytest.mark.parametrize("Class", [Cookie.SignedCookie, Cookie.MarshalCookie])
@pytest.mark.parametrize(
    "change", [lambda s: s[:-1] + "A", lambda s: "f" * 64 + "x", lambda s: "é"]
)
def test_mismatch(Class, change):
    value = change(str(Class("name", "value", "secret")).partition("=")[2])
    header = f"name={value}; other={value}"
    assert Class.parse(header, "secret", mismatch=Cookie.Cookie.IGNORE) == {}
    found = Class.parse(header, "secret")
    assert type(found["name"]) is Cookie.Cookie
    assert found["name"].value == value
    with pytest.raises(Cookie.CookieError):
        Class.parse(header, "secret", mismatch=Cookie.Cookie.EXCEPTION)


def test_signature_of_one_cookie_is_worth_nothing_under_another_name():
    value = str(Cookie.SignedCookie("name", "value", "secret")).partition("=")[2]
    assert not Cookie.SignedCookie.parse(f"other={value}", "secret", mismatch=Cookie.Cookie.IGNORE)


@pytest.mark.parametrize("secret", [None, "", [], [""]])
def test_signing_needs_a_secret(secret):
    with pytest.raises(Cookie.CookieError):
        str(Cookie.SignedCookie("name", "value", secret))


def test_marshalled_value_is_read_only_when_it_is_signed(monkeypatch):
    text = base64.b64encode(marshal.dumps("value")).decode()
    monkeypatch.setattr(marshal, "loads", None)
    for signature in ("", "0" * 64):
        found = Cookie.MarshalCookie.parse(f"name={signature}{text}", "secret")
        assert type(found["name"]) is Cookie.Cookie


@pytest.mark.parametrize("text", ["no base64!", base64.b64encode(b"\xff").decode(), ""])
def test_signed_value_that_is_no_marshalled_one(text):
    sent = str(Cookie.SignedCookie("name", text, "secret"))
    with pytest.raises(Cookie.CookieError):
        Cookie.MarshalCookie.parse(sent, "secret", mismatch=Cookie.Cookie.EXCEPTION)


def test_add_and_get_cookies():
    def handler(req):
        assert Cookie.get_cookie(req, "missing") is None
        assert Cookie.get_cookie(req, "a").value == "1"
        assert sorted(Cookie.get_cookies(req)) == ["a", "signed"]
        signed = Cookie.get_cookie(req, "signed", Cookie.SignedCookie, secret="s")
        assert signed.value == "v"
        Cookie.add_cookie(req, "new", "value", path="/")
        Cookie.add_cookie(req, Cookie.Cookie("other", "value"))
        with pytest.raises(Cookie.CookieError):
            Cookie.add_cookie(req, "bad", "x\r\ny")
        return apache.OK

    header = f"a=1; {Cookie.SignedCookie('signed', 'v', 's')}"
    answer = serve(handler, HTTP_COOKIE=header)
    assert answer["Cache-Control"] == 'no-cache="set-cookie"'
    sent = [value for name, value in answer.headers if name == "Set-Cookie"]
    assert sent == ["new=value; path=/", "other=value"]


def test_request_without_cookies():
    def handler(req):
        assert Cookie.get_cookies(req) == {}
        assert Cookie.get_cookie(req, "a", Cookie.SignedCookie, secret="s") is None
        return apache.OK

    assert serve(handler).status == "200 OK"
