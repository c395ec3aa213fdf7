"""Database URLs: what is understood, and what is refused without a word of the password."""

import os
import pathlib

import pymysql
import pytest
from pymysql.converters import escape_bytes

from handlers.database.url import parse
from handlers.lookup import BadURL


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("sqlite:////srv/site/images.db", "/srv/site/images.db"),
        ("sqlite:///images.db", os.path.abspath("images.db")),
        ("sqlite:////srv/a%20b%3F.db", "/srv/a b?.db"),
        ("SQLite:////srv/x.db", "/srv/x.db"),
    ],
)
def test_sqlite_url_names_a_file(text, path):
    url = parse(text)
    assert (url.scheme, url.path) == ("sqlite", path)


@pytest.mark.parametrize(
    ("text", "hosts", "user", "password", "name", "parameters"),
    [
        ("mysql://u:p@h:3307/n", (("h", 3307),), "u", "p", "n", {}),
        ("mysql://u@h/n", (("h", 3306),), "u", "", "n", {}),
        ("mysql://h/n", (("h", 3306),), "", "", "n", {}),
        (
            "mysql://u:pw@h1:3306,h2:3307,10.0.0.3/n",
            (("h1", 3306), ("h2", 3307), ("10.0.0.3", 3306)),
            "u",
            "pw",
            "n",
            {},
        ),
        ("mysql://u@[::1]:3309/n", (("::1", 3309),), "u", "", "n", {}),
        ("mysql://u%40x:p%2F%3A%3F%23%25@h/n", (("h", 3306),), "u@x", "p/:?#%", "n", {}),
        ("mysql://u:a:b@h/n", (("h", 3306),), "u", "a:b", "n", {}),
        ("mysql://u@/n?unix_socket=/run/s.sock", (), "u", "", "n", {"unix_socket": "/run/s.sock"}),
        ("mysql:///?read_default_file=/m.cnf", (), "", "", "", {"read_default_file": "/m.cnf"}),
        (
            "mysql://u@h/n?charset=latin1&ssl_ca=/etc/ca.pem&ssl_verify_identity=true",
            (("h", 3306),),
            "u",
            "",
            "n",
            {"charset": "latin1", "ssl_ca": "/etc/ca.pem", "ssl_verify_identity": True},
        ),
    ],
)  # fmt: skip
def test_mysql_url_is_taken_apart(text, hosts, user, password, name, parameters):
    url = parse(text)
    assert (url.hosts, url.user, url.password, url.name) == (hosts, user, password, name)
    assert url.parameters == parameters


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("postgresql://u:secret@h/n", "scheme"),
        ("oracle:secret", "must look like"),
        ("", "must look like"),
        ("sqlite://host/secret", "three slashes"),
        ("sqlite:///", "name a file"),
        ("sqlite:///:memory:", "name a file"),
        ("sqlite:////a%00b", "name a file"),
        ("sqlite:////a?mode=rw", "no parameters"),
        ("mysql://u:secret@h", "names no database"),
        ("mysql://u:secret@/n", "neither a host"),
        ("mysql://u:secret@h:x/n", "host:port"),
        ("mysql://u:secret@h:0/n", "host:port"),
        ("mysql://u:secret@h:65536/n", "host:port"),
        ("mysql://u:secret@h,/n", "host:port"),
        ("mysql://u:secret/more@h/n", "percent-encode"),
        ("mysql://u:secret#more@h/n", "must look like"),
        ("mysql://u:x?secret=1@h/n", "percent-encode"),
        ("mysql://u:secret@h/n?unix_socket=/s", "either hosts or"),
        ("mysql://u:secret@h/n?passwd=secret", "passwd is unknown"),
        ("mysql://u:secret@h/n?charset", "no value"),
        ("mysql://u:secret@h/n?charset=a&charset=b", "twice"),
        ("mysql://u:secret@h/n?ssl_disabled=maybe", "neither on nor off"),
        *(
            (f"mysql://u:secret@h/n?charset={charset}", "utf8mb4, utf8, latin1, ascii")
            for charset in (
                "sjis",
                "ujis",
                "gbk",
                "gb18030",
                "cp932",
                "big5",
                "binary",
                "ucs2",
                "x",
            )
        ),
    ],
)
def test_url_is_refused_in_one_sentence_without_the_password(text, says):
    with pytest.raises(BadURL) as caught:
        parse(text)
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("charset", ["utf8mb4", "utf8", "latin1", "ascii", "UTF8MB4"])
def test_charset_whose_bytes_cannot_be_quotes_is_taken(charset):
    assert parse(f"mysql://u@h/n?charset={charset}").parameters == {"charset": charset.lower()}


def test_driver_sends_bytes_without_quoting_them():
    """By older ones, text and bytes took part in quoting in the connection's character set."""
    assert pymysql.VERSION[:3] >= (1, 2, 1)
    assert "pymysql>=1.2.1\n" in (pathlib.Path(__file__).parent.parent / "setup.cfg").read_text()
    assert escape_bytes(b"\xbf'") == "_binary X'bf27'"


def test_url_as_text_has_no_password():
    url = parse("mysql://u:secret@h1,[::1]:3307/n")
    assert str(url) == "mysql://u@h1:3306,[::1]:3307/n"
    assert "secret" not in repr(url)
    for place in ("unix_socket=/run/s", "read_default_file=/etc/my.cnf"):
        assert str(parse(f"mysql://u:secret@/n?{place}")) == f"mysql://u@/n?{place}"
    assert parse(str(parse("sqlite:////srv/x.db"))).path == "/srv/x.db"
