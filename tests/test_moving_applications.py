"""Applications with a front-end for mod_python run unmodified once their configuration is moved."""

import os
import re
import subprocess
import urllib.parse

import pytest

from tests.conftest import SERVERS, watched
from tests.servers import applications
from tests.servers.moved import Moved


@pytest.fixture(scope="module")
def packages():
    try:
        return applications.fetch()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the applications can't be had from PyPI: {error.stderr[-200:]}")


@pytest.fixture(scope="module")
def sites(packages, base):
    """A directory with a site of each application, and the configuration for mod_python."""
    directory = base / "applications"
    directory.mkdir()
    return directory, applications.make_sites(directory, packages)


@pytest.fixture(scope="module", params=SERVERS)
def shared(request, sites):
    directory, text = sites
    place = directory / request.param
    server = Moved(place, request.param, text.replace("{directory}", str(directory)))
    (directory / "htdocs").mkdir(exist_ok=True)
    give_to_apache(directory, server.work.user)
    with server:
        yield server


@pytest.fixture
def site(shared):
    yield from watched(shared)


def give_to_apache(directory, user):
    if user is None:
        return
    for name in ("trac", "roundup"):
        for path in [directory / name, *(directory / name).rglob("*")]:
            os.chown(path, user.pw_uid, user.pw_gid)


def form(**fields):
    return urllib.parse.urlencode(fields), {"Content-Type": "application/x-www-form-urlencoded"}


def cookies(answer):
    found = [value.partition(";")[0] for value in answer.headers.get_all("Set-Cookie", [])]
    return "; ".join(found)


def test_trac(site):
    page = site.request("/trac/wiki")
    assert page.status == 200, page.body
    assert b"Welcome to Trac" in page.body
    assert page.headers["Content-Type"] == "text/html;charset=utf-8"
    assert site.request("/trac/wiki/TracGuide?format=txt").headers["Content-Type"] == (
        "text/plain;charset=utf-8"
    )
    style = site.request("/trac/chrome/common/css/trac.css")
    assert (style.status, style.headers["Content-Type"]) == (200, "text/css")
    again = {"If-Modified-Since": style.headers["Last-Modified"]}
    assert site.request("/trac/chrome/common/css/trac.css", headers=again).status == 304
    assert site.request("/trac/wiki/NoSuchPage").status == 404
    # a form of a visitor's session
    preferences = site.request("/trac/prefs")
    token = re.search(rb'name="__FORM_TOKEN" value="(\w+)"', preferences.body)[1].decode()
    fields, headers = form(__FORM_TOKEN=token, name="Änn", email="a@b", action="save", save="1")
    headers["Cookie"] = cookies(preferences)
    saved = site.request("/trac/prefs", "POST", headers, fields)
    assert saved.status == 303
    assert urllib.parse.urlsplit(saved.headers["Location"]).path == "/trac/prefs"


def test_roundup(site):
    host = {"Host": "h", "Origin": "http://h"}
    page = site.request("/roundup/", headers=host)
    assert page.status == 200
    token = re.search(rb'name="@csrf"[^>]*value="([^"]+)"', page.body)[1].decode()
    fields = {"__login_name": "admin", "__login_password": "sesame", "@action": "login"}
    text, headers = form(**fields, **{"__came_from": "http://h/roundup/", "@csrf": token})
    answer = site.request("/roundup/", "POST", {**headers, **host}, text)
    assert answer.status == 302
    assert "roundup_session" in cookies(answer)
    # signing in keeps a session
    assert b"admin" not in page.body
    page = site.request("/roundup/", headers={**host, "Cookie": cookies(answer)})
    assert (page.status, b"admin" in page.body) == (200, True)


def test_cherrypy(site):
    site.expect("conn.remote_addr deprecated")
    assert site.request("/cherry/").body == b"cherry root"
    answer = site.request("/cherry/echo?text=a%20b&again=%C3%BC")
    assert (answer.body.decode(), answer.headers["X-Cherry"]) == ("GET a b ü", "1")
    text, headers = form(text="x", again="ä")
    assert site.request("/cherry/echo", "POST", headers, text).body.decode() == "POST x ä"
    body = (
        '--b\r\nContent-Disposition: form-data; name="part"; filename="f"\r\n\r\n'
        f"{'z' * 100_000}\r\n--b--\r\n"
    )
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert site.request("/cherry/upload", "POST", headers, body).body == b"f 100000"
    left = site.request("/cherry/leave")
    assert left.status in (302, 303)
    assert urllib.parse.urlsplit(left.headers["Location"]).path == "/cherry/"
    assert site.request("/cherry/nothing").status == 404


def test_paste(site):
    answer = site.request("/paste/a/b?q=1", "POST", body="body")
    assert (answer.status, answer.body) == (200, b"POST /paste /a/b q=1 body")
    assert answer.headers["X-Paste"] == "1"


def test_nothing_was_left_out(shared):
    assert (shared.status, shared.said) == (0, "")
