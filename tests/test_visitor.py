"""Favourites, signing in and private pictures, on real Apache and in a real browser."""

import concurrent.futures
import math
import os
import pathlib
import re
import socket
import time

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from handlers import htpasswd, settings
from handlers.throttle import FREE_GUESSES, LONGEST_FOR_USER
from handlers.visitor import FIRST_LIFE, MOST_FAVOURITES
from tests.conftest import SERVERS, watched
from tests.servers.browser import chromium
from tests.servers.httpd import Httpd, make_images_table
from tests.servers.visitor import PASSWORD, Visitor, next_address

PRIVATE = ("p005", "p006")
ANN = f"ann:{htpasswd.encode(PASSWORD)}\n"
TOO_MANY = "further ones are answered 429"


@pytest.fixture(scope="module", params=SERVERS)
def members_site(request, base, pictures):
    """A running site with two private pictures and the user ann."""
    root, rows = pictures
    directory = base / f"members-{request.param}"
    directory.mkdir()
    url = make_images_table(directory / "images.db", rows, PRIVATE)
    proxy = "SetEnvIf X-Forwarded-Proto https HTTPS=on"
    server = Httpd(directory, request.param, url, root, extra=proxy)
    server.write_settings(url, root, "private", snapshot=False)
    # the tests count the files of sessions
    server.settings("mod_python.session.sweep = off")
    users = pathlib.Path(server.work.users)
    users.write_text(ANN)
    users.chmod(0o644)
    with server:
        yield server


@pytest.fixture
def members(members_site):
    pathlib.Path(members_site.work.users).write_text(ANN)
    # guesses at ann that an earlier test has made
    pathlib.Path(members_site.work.sessions, "mp_sessions", "throttle").unlink(missing_ok=True)
    yield from watched(members_site)


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


def test_favourites_have_an_end(visitor):
    for number in range(MOST_FAVOURITES):
        assert visitor.mark(f"x{number}").status == 303
    answer = visitor.mark("one-more")
    assert answer.status == 409
    assert b"There is room for 1000" in answer.body
    assert visitor.mark("x7").status == 303
    assert visitor.mark("one-more").status == 303


@pytest.mark.parametrize("id", ["", "../x", "a" * 201, "<b>"])
def test_favourite_that_can_be_no_id_is_refused(visitor, id):
    assert visitor.mark(id).status == 400


def test_page_to_go_back_to_is_one_of_ours(visitor):
    fields = {"id": "p001", "back": "https://elsewhere.example/"}
    assert visitor.ask("/favourites", "POST", fields).headers["Location"] == "/"


@pytest.mark.parametrize("path", ["/favourites", "/signin", "/signout"])
@pytest.mark.parametrize(
    "origin",
    [
        "https://elsewhere.example",
        "null",
        "",
        "//{host}",
        "https://{host}",
        "http://{name}",
        "http://{host}0",
        "http://{host}/",
        "http://ann@{host}",
        "http://{host}, http://{host}",
        "http://[",
        "http://[::1",
        "http://\uff11\uff12\uff17.0.0.1:{port}",
        "http://{name}\udcff:{port}",
        "http://{name}:\u0661",
        "x" * 4000,
    ],
)
def test_form_of_a_foreign_page_is_refused(visitor, path, origin):
    visitor.site.expect("form refused: it came from the origin .* ProxyPreserveHost On")
    visitor.site.expect("form refused: one of Origin, .* is not UTF-8")
    port = visitor.site.port
    sent = origin.format(host=f"127.0.0.1:{port}", name="127.0.0.1", port=port)
    fields = {"id": "p001", "user": "ann", "password": PASSWORD}
    answer = visitor.ask(path, "POST", fields, Origin=sent.encode("utf-8", "surrogateescape"))
    assert answer.status == 403
    assert visitor.site.log().count("form refused") == 1
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("path", ["/favourites", "/signin", "/signout"])
@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site", "x"])
def test_form_that_the_browser_calls_foreign_is_refused(visitor, path, site):
    visitor.site.expect("form refused: a page of another site sent it")
    fields = {"id": "p001", "user": "ann", "password": PASSWORD}
    assert visitor.ask(path, "POST", fields, **{"Sec-Fetch-Site": site}).status == 403
    assert visitor.site.log().count("form refused") == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Host": "Gallery.example", "Origin": "http://gallery.example"},
        {"Host": "gallery.example", "Origin": "http://gallery.example:80"},
        {"Host": "[::1]:{port}", "Origin": "http://[::1]:{port}"},
        {
            "Host": "gallery.example",
            "Origin": "https://gallery.example",
            "X-Forwarded-Proto": "https",
        },
    ],
)
def test_form_of_ones_own_page_is_taken(visitor, headers):
    sent = {name: value.format(port=visitor.site.port) for name, value in headers.items()}
    assert visitor.ask("/favourites", "POST", {"id": "p001"}, **sent).status == 303


def test_tls_at_a_proxy_that_does_not_say_so_is_refused_with_the_cure_in_the_log(visitor):
    visitor.site.expect("form refused: .* SetEnvIf X-Forwarded-Proto https HTTPS=on")
    headers = {"Host": "gallery.example", "Origin": "https://gallery.example"}
    assert visitor.ask("/favourites", "POST", {"id": "p001"}, **headers).status == 403


def test_body_that_breaks_off_is_refused(members):
    with socket.create_connection(("127.0.0.1", members.port)) as client:
        client.sendall(
            b"POST /favourites HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\nid=p"
        )
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100).startswith((b"HTTP/1.1 400 ", b""))


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
    answer = visitor.sign_in(password)
    assert answer.status == 403
    assert b"Wrong name or password" in answer.body
    assert "Set-Cookie" not in answer.headers
    assert f"sign-in refused for 'ann' from {visitor.address}" in visitor.site.log()


def private_pictures(visitor):
    """Return what the signed-in see: on the page, as a thumbnail, as an original."""
    found = (
        'alt="p005"' in visitor.ask("/").body.decode(),
        visitor.ask("/thumbs/200x200/p005.jpg").status == 200,
        visitor.ask("/images/p005").status == 200,
    )
    assert len(set(found)) == 1
    return found[0]


@pytest.mark.parametrize(
    "lines",
    ["", f"bob:{ANN[4:]}", f"ann:{htpasswd.encode(PASSWORD)}\n", "ann:\n", f"#{ANN}"],
    ids=["empty", "renamed", "new hash", "no hash", "comment"],
)
def test_user_whose_line_is_gone_or_another_is_signed_out_at_once(visitor, lines):
    visitor.site.expect("a password in a form that cannot be checked")
    users = pathlib.Path(visitor.site.work.users)
    visitor.mark("p001")
    visitor.sign_in()
    assert private_pictures(visitor)
    users.write_text(lines)
    assert not private_pictures(visitor)
    page = visitor.ask("/?show=favourites").body.decode()
    assert "Sign in" in page and "Favourites: 1," in page
    # another's line beside it changes nothing
    users.write_text(f"bob:x\n{ANN}")
    assert private_pictures(visitor)


def test_user_is_signed_out_while_the_file_cannot_be_read(visitor):
    visitor.site.expect("gallery.users .*htpasswd: no such file")
    users = pathlib.Path(visitor.site.work.users)
    visitor.sign_in()
    users.rename(users.with_suffix(".away"))
    try:
        assert not private_pictures(visitor)
        for answer in (visitor.ask("/signin"), visitor.sign_in()):
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "60"
    finally:
        users.with_suffix(".away").rename(users)
    assert private_pictures(visitor)


@pytest.mark.parametrize("name", ["", " ", "\t", "\u3000", "\x00"])
def test_user_without_a_name_cannot_sign_in(visitor, name):
    visitor.site.expect("not UTF-8, or without a name: skipped")
    hashed = ANN[4:]
    pathlib.Path(visitor.site.work.users).write_text(f"{name}:{hashed}{ANN}")
    assert visitor.sign_in(user=name).status == 403
    assert visitor.sign_in(user="").status == 403
    assert visitor.sign_in().status == 303


def test_broken_bytes_in_the_file_of_users_are_skipped(visitor):
    visitor.site.expect("line 1: not UTF-8, or without a name: skipped")
    hashed = ANN[4:].encode()
    users = pathlib.Path(visitor.site.work.users)
    users.write_bytes(b"j\xf6rg:%sann:%s" % (hashed, hashed))
    assert visitor.sign_in().status == 303
    assert visitor.sign_in(user="j\xf6rg").status == 403


def test_guesses_are_limited_over_all_children_and_a_restart(members):
    members.expect(TOO_MANY)
    address = next_address()

    def guess(number):
        return Visitor(members, address).sign_in("wrong", f"nobody {number}").status

    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        said = list(pool.map(guess, range(100)))
    # further ones are taken after 1, 3, 7 ... seconds
    later = int(math.log2(time.monotonic() - started + 1))
    assert said.count(403) in range(FREE_GUESSES, FREE_GUESSES + later + 2)
    assert said.count(429) == 100 - said.count(403)
    assert members.log().count(TOO_MANY) == 1
    members.stop()
    members.start()
    assert {guess(number) for number in range(20)} == {429} or guess(0) == 429
    answer = Visitor(members, address).sign_in()
    assert answer.status == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert b"Too many wrong passwords" in answer.body and b'href="/"' in answer.body
    assert Visitor(members).sign_in().status == 303


@pytest.mark.parametrize(
    "broken",
    [
        lambda table: table.mkdir(),
        lambda table: table.symlink_to("elsewhere"),
        lambda table: os.mkfifo(table),
    ],
)
def test_table_of_guesses_that_cannot_be_used_locks_nobody_out_and_lets_nobody_guess_on(
    members, broken
):
    members.expect("throttle: .*: each child counts guesses and new sessions for itself")
    members.expect(TOO_MANY)
    table = pathlib.Path(members.work.sessions, "mp_sessions", "throttle")
    broken(table)
    try:
        assert Visitor(members).sign_in().status == 303
        assert Visitor(members).mark("p001").status == 303
        guesser, started = Visitor(members), time.monotonic()
        # each child takes as many as all together do otherwise
        asked = members.children * (FREE_GUESSES + 2) + 20
        said = [guesser.sign_in("wrong", guesser.address).status for _ in range(asked)]
        # and further ones after 1, 3, 7 ... seconds
        later = int(math.log2(time.monotonic() - started + 1))
        assert said.count(403) <= members.children * (FREE_GUESSES + later + 1)
        assert set(said) == {403, 429}
        assert Visitor(members).sign_in().status == 303
        assert 1 <= members.log().count("each child counts") <= members.children
    finally:
        table.rmdir() if table.is_dir() else table.unlink()


def test_user_can_sign_in_while_others_guess(members):
    members.expect(TOO_MANY)
    ann = Visitor(members)
    assert ann.sign_in().status == 303
    said = {Visitor(members).sign_in("wrong").status for _ in range(2 * FREE_GUESSES)}
    assert said == {403, 429}
    # from where she has signed in before, at once
    assert Visitor(members, ann.address).sign_in().status == 303
    elsewhere = Visitor(members)
    answer = elsewhere.sign_in()
    deadline = time.monotonic() + 3 * LONGEST_FOR_USER
    while answer.status == 429 and time.monotonic() < deadline:
        wait = int(answer.headers["Retry-After"])
        assert wait <= LONGEST_FOR_USER
        time.sleep(wait)
        answer = elsewhere.sign_in()
    assert answer.status == 303
    assert members.log().count(TOO_MANY) == 1


# --- sessions of those who have not come back yet


def life_of_newest_session(site):
    """Return the seconds that the session saved last has left."""
    files = pathlib.Path(site.work.sessions).glob("mp_sessions/??/*")
    newest = max(files, key=lambda path: path.stat().st_ctime_ns)
    return newest.stat().st_mtime - time.time()


@pytest.mark.parametrize("again", ["/", "/?show=favourites", "mark"])
def test_session_is_short_until_its_cookie_has_come_back(visitor, again):
    visitor.mark("p001")
    assert life_of_newest_session(visitor.site) == pytest.approx(FIRST_LIFE, abs=60)
    visitor.mark("p002") if again == "mark" else visitor.ask(again)
    assert life_of_newest_session(visitor.site) == pytest.approx(1800, abs=60)
    assert "Favourites: " in visitor.ask("/?show=favourites").body.decode()


def test_session_of_a_user_is_not_short(visitor):
    visitor.sign_in()
    assert life_of_newest_session(visitor.site) == pytest.approx(1800, abs=60)


def count_sessions(site):
    return sum(1 for _ in pathlib.Path(site.work.sessions).glob("mp_sessions/??/*"))


def test_new_sessions_of_an_address_are_limited(members):
    members.expect(rf"{TOO_MANY} \(gallery.new_sessions")
    address = next_address()
    before, started = count_sessions(members), time.monotonic()

    def mark(_):
        return Visitor(members, address).mark("p001")

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(mark, range(200)))
    took = time.monotonic() - started
    taken = sum(answer.status == 303 for answer in answers)
    rate = settings.value({}, "gallery.new_sessions")
    most = rate * (1 + took)
    assert rate <= taken <= most + 1
    assert count_sessions(members) - before == taken
    refused = [answer for answer in answers if answer.status != 303]
    assert {answer.status for answer in refused} == {429}
    assert {answer.headers["Retry-After"] for answer in refused} == {"1"}
    assert not any("Set-Cookie" in answer.headers for answer in refused)
    # a second without a request ends a burst
    assert 1 <= members.log().count(TOO_MANY) <= 1 + int(took)
    # those who have a session, and those who come from elsewhere, are not concerned
    other = Visitor(members)
    for number in range(30):
        assert other.mark(f"p{number:03d}").status == 303


@pytest.mark.parametrize("value, taken", [("0", 40), ("1", None), ("x", 0)])
def test_option_limits_new_sessions(own_site, value, taken):
    own_site.settings(f"gallery.new_sessions = {value}")
    own_site.expect(TOO_MANY)
    own_site.expect("gallery.new_sessions: 'x' is not a number of sessions")
    with own_site:
        started = time.monotonic()
        said = [Visitor(own_site, "127.0.0.9").mark("p001").status for _ in range(40)]
        took = time.monotonic() - started
    count = said.count(303)
    # one a second
    assert 1 <= count <= took + 2 if taken is None else count == taken
    assert set(said) - {303} <= ({500} if value == "x" else {429})


def test_session_store_that_fails_is_503_and_a_line(visitor):
    visitor.site.expect("sessions: .*Permission denied")
    visitor.site.expect("throttle: Permission denied: each child counts guesses")
    directory = pathlib.Path(visitor.site.work.sessions) / "mp_sessions"
    visitor.mark("p001")
    directory.chmod(0o500)
    try:
        for bucket in directory.glob("??"):
            bucket.chmod(0o500)
        said = {Visitor(visitor.site).mark("p001").status for _ in range(3)}
        (directory / "throttle").unlink()
        said |= {Visitor(visitor.site).mark("p001").status, visitor.sign_in().status}
        assert visitor.ask("/").status == 200
    finally:
        directory.chmod(0o700)
        for bucket in directory.glob("??"):
            bucket.chmod(0o700)
    assert said == {503}


def test_public_pages_do_without_sessions_that_cannot_be_read(visitor):
    visitor.site.expect("sessions: .*Permission denied")
    directory = pathlib.Path(visitor.site.work.sessions) / "mp_sessions"
    visitor.mark("p001")
    directory.chmod(0)
    try:
        said = [visitor.ask(path).status for path in ("/", "/?picture=p001", "/?show=favourites")]
    finally:
        directory.chmod(0o700)
    assert said == [200, 200, 503]
    assert "Favourites: 1," in visitor.ask("/?show=favourites").body.decode()


def test_public_pages_do_without_secrets_that_are_not_there(own_site):
    own_site.settings("mod_python.session.secret_file = /nowhere/secrets")
    own_site.expect("/nowhere/secrets")
    with own_site:
        asked = [Visitor(own_site).ask(path) for path in ("/", "/?show=favourites")]
    assert [answer.status for answer in asked] == [200, 500]


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
    with chromium() as browser:
        browser.get(address)
        browser.find_element(By.CSS_SELECTOR, "button[value=p003]").click()
        pressed = "button[value=p003][aria-pressed=true]"
        WebDriverWait(browser, 90).until(lambda b: b.find_elements(By.CSS_SELECTOR, pressed))
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
        WebDriverWait(browser, 90).until(lambda b: "Sign out" in b.page_source)
        private = browser.find_element(By.CSS_SELECTOR, 'img[alt="p005"]')
        WebDriverWait(browser, 90).until(
            lambda b: b.execute_script("return arguments[0].naturalWidth", private) == 200
        )
        assert browser.get_log("browser") == []
