"""Favourites, signing in and private pictures, on real Apache and in a real browser."""

import concurrent.futures
import http.cookies
import re
import urllib.parse

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from handlers import htpasswd
from tests.conftest import SERVERS, watched
from tests.servers.browser import chromium
from tests.servers.httpd import Httpd, make_images_table

PRIVATE = ("p005", "p006")
PASSWORD = "correct horse"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module", params=SERVERS)
def members_site(request, base, pictures):
    """A running site with two private pictures and the user ann."""
    root, rows = pictures
    directory = base / f"members-{request.param}"
    directory.mkdir()
    url = make_images_table(directory / "images.db", rows, PRIVATE)
    server = Httpd(directory, request.param, url, root)
    server.work.write_settings(url, str(root), "private", snapshot=False)
    users = directory / "etc" / "htpasswd"
    users.write_text(f"ann:{htpasswd.encode(PASSWORD)}\n")
    users.chmod(0o644)
    with server:
        yield server


@pytest.fixture
def members(members_site):
    yield from watched(members_site)


class Visitor:
    """A client that keeps its cookies."""

    def __init__(self, site):
        self.site = site
        self.cookies = {}

    def ask(self, path, method="GET", fields=None, **headers):
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        body = urllib.parse.urlencode(fields) if fields is not None else None
        answer = self.site.request(path, method, {**FORM, **headers} if body else headers, body)
        for line in answer.headers.get_all("Set-Cookie", ()):
            for name, morsel in http.cookies.SimpleCookie(line).items():
                self.cookies[name] = morsel.value
        return answer

    def sign_in(self, password=PASSWORD):
        return self.ask("/signin", "POST", {"user": "ann", "password": password})

    def mark(self, id):
        return self.ask("/favourites", "POST", {"id": id, "back": "/?page=2"})


@pytest.fixture
def visitor(members):
    return Visitor(members)


def test_looking_makes_no_session_and_no_cookie(visitor):
    for path in ("/", "/signin", "/thumbs/200x200/p001.jpg"):
        assert "Set-Cookie" not in visitor.ask(path).headers


def test_favourite_is_marked_kept_and_taken_away(visitor):
    answer = visitor.mark("p070")
    assert (answer.status, answer.headers["Location"]) == (303, "/?page=2")
    page = visitor.ask("/?show=favourites&page=1").body.decode()
    assert "Favourites: 1," in page and 'value="p070"' in page
    visitor.mark("p070")
    assert "Favourites: 0," in visitor.ask("/?show=favourites").body.decode()


def test_cookie_is_kept_from_scripts_and_foreign_forms(visitor):
    cookie = visitor.mark("p001").headers["Set-Cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie


@pytest.mark.parametrize("id", ["", "../x", "a" * 129, "<b>"])
def test_favourite_that_can_be_no_id_is_refused(visitor, id):
    assert visitor.mark(id).status == 400


def test_page_to_go_back_to_is_one_of_ours(visitor):
    fields = {"id": "p001", "back": "https://elsewhere.example/"}
    assert visitor.ask("/favourites", "POST", fields).headers["Location"] == "/"


@pytest.mark.parametrize("path", ["/favourites", "/signin", "/signout"])
def test_form_of_a_foreign_page_is_refused(visitor, path):
    fields = {"id": "p001", "user": "ann", "password": PASSWORD}
    assert visitor.ask(path, "POST", fields, Origin="https://elsewhere.example").status == 403


def test_form_that_is_too_large_is_refused(visitor):
    assert visitor.ask("/favourites", "POST", {"id": "x" * 5000}).status == 413


def test_private_pictures_are_404_for_everybody_else(visitor):
    unknown = visitor.ask("/thumbs/200x200/nobody.jpg")
    for path in ("/thumbs/200x200/p005.jpg", "/images/p005"):
        answer = visitor.ask(path)
        assert (answer.status, answer.body) == (404, unknown.body.replace(b"nobody", b"p005"))
    assert "p005" not in visitor.ask("/").body.decode()


def test_private_pictures_are_there_after_signing_in_and_gone_after_signing_out(visitor):
    assert visitor.sign_in().status == 303
    for path in ("/thumbs/200x200/p005.jpg", "/images/p005"):
        for state in ("cold", "again"):
            answer = visitor.ask(path)
            assert answer.status == 200, state
            assert answer.headers.get_all("Cache-Control") == ["private, no-cache"]
    tag = visitor.ask("/thumbs/200x200/p005.jpg").headers["ETag"]
    assert visitor.ask("/thumbs/200x200/p005.jpg", **{"If-None-Match": tag}).status == 304
    assert "p005" in visitor.ask("/").body.decode()
    # what was made for ann is not what Apache serves
    assert visitor.site.request("/thumbs/200x200/p005.jpg").status == 404
    assert visitor.ask("/signout", "POST", {"x": ""}).status == 303
    assert visitor.ask("/thumbs/200x200/p005.jpg").status == 404


def test_id_of_the_session_changes_when_somebody_signs_in(visitor):
    visitor.mark("p001")
    before = dict(visitor.cookies)
    visitor.sign_in()
    assert visitor.cookies != before
    stolen = Visitor(visitor.site)
    stolen.cookies = before
    assert stolen.ask("/images/p005").status == 404
    assert "Favourites: 1," in visitor.ask("/?show=favourites").body.decode()


def test_sid_that_a_client_made_up_is_never_adopted(visitor):
    visitor.cookies["pysid"] = "0123456789abcdef" * 2
    visitor.mark("p001")
    assert visitor.cookies["pysid"] != "0123456789abcdef" * 2


@pytest.mark.parametrize("password", ["", "wrong", "x" * 3000])
def test_wrong_password_is_refused_and_logged(visitor, password):
    visitor.site.expect("sign-in refused for 'ann' from 127.0.0.1")
    answer = visitor.sign_in(password)
    assert answer.status == 403
    assert b"Wrong name or password" in answer.body
    assert "Set-Cookie" not in answer.headers


def test_many_at_once_mark_and_sign_in_and_out(members):
    def visit(number):
        visitor = Visitor(members)
        for _ in range(5):
            visitor.mark(f"p{number:03d}")
            assert visitor.sign_in().status == 303
            assert visitor.ask("/images/p005").status == 200
            page = visitor.ask("/?show=favourites").body.decode()
            assert "Favourites: 1," in page
            assert visitor.ask("/signout", "POST", {"x": ""}).status == 303
            assert visitor.ask("/images/p005").status == 404
        return True

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert all(pool.map(visit, range(12)))


def test_no_favourite_of_one_visitor_is_lost_when_clicks_race(members):
    first = Visitor(members)
    first.mark("p000")
    ids = [f"p{number:03d}" for number in range(1, 31)]

    def click(id):
        again = Visitor(members)
        again.cookies = dict(first.cookies)
        return again.mark(id).status

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(click, ids)) == {303}
    page = first.ask("/?show=favourites").body.decode()
    assert set(re.findall(r'name="id" value="(\w+)"', page)) == {"p000", *ids}


def test_browser_keeps_its_favourites_over_a_restart(members):
    address = f"http://127.0.0.1:{members.port}/"
    # mod_python's child may hang when it is ended in the middle of a request, until it is killed
    members.expect(r"AH0004[56]: child process \d+ still did not exit")
    with chromium() as browser:
        browser.get(address)
        browser.find_element(By.CSS_SELECTOR, "button[value=p003]").click()
        pressed = "button[value=p003][aria-pressed=true]"
        WebDriverWait(browser, 20).until(lambda b: b.find_elements(By.CSS_SELECTOR, pressed))
        members.stop()
        members.start()
        # pictures that were on their way when the server went
        browser.get_log("browser")
        browser.get(f"{address}?show=favourites&page=1")
        assert "Favourites: 1," in browser.find_element(By.TAG_NAME, "h1").text
        browser.find_element(By.LINK_TEXT, "All pictures").click()
        browser.find_element(By.LINK_TEXT, "Sign in").click()
        browser.find_element(By.NAME, "user").send_keys("ann")
        browser.find_element(By.NAME, "password").send_keys(PASSWORD)
        browser.find_element(By.CSS_SELECTOR, "main button").click()
        WebDriverWait(browser, 20).until(lambda b: "Sign out" in b.page_source)
        private = browser.find_element(By.CSS_SELECTOR, 'img[alt="p005"]')
        WebDriverWait(browser, 20).until(
            lambda b: b.execute_script("return arguments[0].naturalWidth", private) == 200
        )
        assert browser.get_log("browser") == []
