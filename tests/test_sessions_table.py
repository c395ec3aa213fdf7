"""SqlSession before ``modpython-handlers sessions create``, and after it, on both servers."""

import pathlib
import re
import urllib.parse

import pytest

from tests.support import run_command

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
CURE = "run: modpython-handlers sessions create"


@pytest.fixture
def sql_site(own_site, mariadb):
    """A site whose sessions are in a database without the table."""
    mariadb.execute("DROP DATABASE IF EXISTS no_table", "CREATE DATABASE no_table")
    own_site.settings(
        "mod_python.session.session_type = SqlSession\n"
        f"mod_python.session.database = {mariadb.url('no_table')}\n"
        "mod_python.session.serializer = json\n"
        "mod_python.session.sweep_interval = 0.2"
    )
    return own_site


def mark(site, id="p001"):
    return site.request("/favourites", "POST", FORM, urllib.parse.urlencode({"id": id}))


def test_missing_table_is_one_line_that_says_what_to_run(sql_site):
    sql_site.expect(CURE)
    sql_site.start()
    for _ in range(12):
        answer = mark(sql_site)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
    assert sql_site.request("/").status == 200
    log = sql_site.log(0)
    assert "Traceback" not in log
    told = re.findall(rf"\[pid (\d+).*no_table\.sessions.*{CURE}", log)
    assert told and len(told) == len(set(told)), log
    path = f"{sql_site.work.etc}/settings.ini"
    stats = run_command(path, "sessions", "stats")
    assert stats.returncode == 1
    assert stats.stderr.startswith("modpython-handlers: ") and stats.stderr.count("\n") == 1
    assert stats.stderr.endswith(f"{CURE}\n")
    run_command(path, "sessions", "create", check=True)
    assert mark(sql_site).status == 303


# on mod_python it answers for itself what a handler raises
@pytest.mark.parametrize("own_site", ["mod_wsgi"], indirect=True)
def test_handler_of_somebody_else_gets_503(sql_site):
    code = pathlib.Path(sql_site.work.directory) / "visits.py"
    code.write_text(
        "from mod_python import Session\n\n\ndef handler(req):\n"
        "    session = Session.Session(req)\n    session['visits'] = 1\n    session.save()\n"
    )
    sql_site.extra = (
        "<Location /visits>\n    SetHandler mod_python\n    SetEnv PythonHandler visits\n"
        f"    SetEnv PythonPath \"['{code.parent}'] + sys.path\"\n</Location>"
    )
    sql_site.expect(CURE)
    sql_site.start()
    for _ in range(3):
        assert sql_site.request("/visits").status == 503
    assert "Traceback" not in sql_site.log(0)
