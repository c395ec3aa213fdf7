"""Sessions of a handler on real servers: foreign cookies, late requests, a removed directory."""

import contextlib
import http.client
import os
import shutil
import signal
import time

import pytest

from tests.servers.httpd import Httpd, make_images_table
from tests.support import stopwatch, until

HANDLER = """from mod_python import apache

from handlers.mod_python import Session


def handler(req):
    session = Session.Session(req)
    req.content_type = "text/plain"
    if req.args == "renew":
        session["user"] = "ann"
        session.regenerate_id()
    if req.args == "end":
        session.invalidate()
    elif req.args != "read":
        session["n"] = session.get("n", 0) + 1
    if req.args == "cached":
        req.headers_out["Cache-Control"] = "max-age=60"
    if req.args == "slow":
        import time

        session.unlock()
        time.sleep(0.7)
        session.lock()
    session.save()
    req.write(str(session.get("n", 0)))
    return apache.OK
"""


@pytest.fixture(scope="module", params=["mod_wsgi", "mod_python"])
def running(request, base, pictures):
    directory = base / f"sessions-{request.param}"
    directory.mkdir()
    directory.chmod(0o755)
    (directory / "visits.py").write_text(HANDLER)
    url = make_images_table(directory / "images.db", {})
    path = f"PythonPath \"['{directory}'] + sys.path\""
    if request.param == "mod_wsgi":
        directives = ("SetEnv PythonHandler visits", f"SetEnv {path}")
    else:
        # the interpreter that knows the settings file
        directives = ("PythonHandler visits", path, "PythonInterpreter main_interpreter")
    extra = "\n".join(("<Location /visits>", "SetHandler mod_python", *directives, "</Location>"))
    with Httpd(directory / "site", request.param, url, pictures[0], extra=extra) as server:
        yield server


@pytest.fixture
def site(running):
    running.begin_test()
    yield running
    complaints = running.complaints()
    assert not complaints, "\n".join(complaints)


def visit(site, cookie=None, how=""):
    """Return what the handler counts, and the session id that it sends, if any."""
    headers = {"Cookie": cookie} if cookie else {}
    answer = site.request(f"/visits?{how}", "GET", headers)
    assert answer.status == 200
    sent = answer.headers.get("Set-Cookie", "")
    return int(answer.body), sent.partition(";")[0].partition("=")[2] or None, answer


@pytest.mark.parametrize(
    "text",
    [
        "pysid={stale}; pysid={sid}",
        'a="b; pysid={sid}; c="d"',
        "a=1, pysid={stale}, pysid={sid}",
        "a=\xff; pysid={sid}",
    ],
)
def test_stored_session_is_found_among_other_cookies(site, text):
    _, sid, _ = visit(site)
    for number in (2, 3):
        found, sent, _ = visit(site, text.format(sid=sid, stale="0" * 32))
        assert (found, sent) == (number, None)


def test_late_request_with_the_old_id_gets_no_cookie(site):
    _, old, _ = visit(site)
    found, new, _ = visit(site, f"pysid={old}", "renew")
    assert found == 2 and new not in (None, old)
    assert visit(site, f"pysid={old}")[:2] == (1, None)
    assert visit(site, f"pysid={old}; pysid={new}")[:2] == (3, None)


def test_request_that_was_under_way_does_not_undo_a_sign_out(site):
    _, sid, _ = visit(site)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", site.port)) as slow:
        slow.request("GET", "/visits?slow", headers={"Cookie": f"pysid={sid}"})
        # by the lock: the slow one has it first, and gives it back
        until(lambda: visit(site, f"pysid={sid}", "read")[0] == 1)
        time.sleep(0.1)
        visit(site, f"pysid={sid}", "end")
        assert slow.getresponse().read()
    assert visit(site, f"pysid={sid}", "read")[:2] == (0, None)


def test_assigned_cache_control_keeps_the_cookie_out_of_caches(site):
    _, _, answer = visit(site, how="cached")
    fields = ", ".join(answer.headers.get_all("Cache-Control"))
    assert "max-age=60" in fields and 'no-cache="set-cookie"' in fields


def test_removed_directory_is_made_anew(site):
    site.expect("mp_sessions was removed, .*made anew")
    away = os.path.join(site.work.sessions, "away")
    sids = []

    def is_told():
        _, sid, _ = visit(site)
        assert visit(site, f"pysid={sid}")[0] == 2
        # at once, as a child that sweeps may write to it meanwhile
        os.rename(os.path.join(site.work.sessions, "mp_sessions"), away)
        shutil.rmtree(away)
        found, sid, _ = visit(site, f"pysid={sid}")
        assert found == 1
        sids.append(sid)
        # a child that has no session yet does not miss it
        return "made anew" in site.log()

    until(is_told)
    sid = sids[-1]
    for number in range(2, 20):
        assert visit(site, f"pysid={sid}")[:2] == (number, None)
    assert site.log().count("made anew") == 1


def test_children_end_within_a_second_of_a_stop(site):
    """Also those whose thread sweeps sessions or waits to be elected."""
    if site.server == "mod_python":
        site.expect("AH0004[56]")
    visit(site)
    children = site.child_pids()
    with stopwatch() as seconds:
        for pid in children:
            os.kill(pid, signal.SIGTERM)
        until(lambda: not set(children) & set(site.child_pids()))
        # a child that waited for its thread took until SIGKILL, ten seconds
        assert seconds() < 8
