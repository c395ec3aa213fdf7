"""Thousands of random requests to the shipped site: no 500, no child lost, nothing piles up."""

import os
import pathlib
import re

import pytest

from handlers import htpasswd
from tests.conftest import SERVERS, watched
from tests.fuzzing import requests
from tests.servers.httpd import Httpd, make_images_table
from tests.servers.pair import copy_handlers

CHILDREN = 2
WARM_UP = 1500
MEGABYTE = 1024 * 1024
# Warnings and errors that such requests cause, by what they are about.
ANNOUNCED = (
    # Apache's own, of requests that it refuses
    r"AH00036|AH00126|AH00127|AH00135|AH10244",
    r"WSGI0139: Request requires chunked",
    r"thumbnail \S+: (bad|'|not|cannot|refused|source|no )",
    r"original \S+: ",
    r"sign-in refused|form refused|further ones are answered 429",
)


@pytest.fixture(scope="module", params=SERVERS)
def running_site(request, base, pictures):
    """A site with everything that the drop-in has, and probes that read forms and cookies."""
    directory = base / f"fuzzed-{request.param}"
    copy_handlers(directory / "python")
    set_env = "" if request.param == "mod_python" else "SetEnv "
    path = f"['{directory / 'python'}'] + sys.path"
    extra = "\n".join(
        f"""<Location /{name}>
        SetHandler mod_python
        {set_env}PythonHandler oracle.forms::{name}
        {set_env}PythonPath "{path}"
        </Location>"""
        for name in ("count", "cookies")
    )
    if request.param == "mod_python":
        extra += "\nPythonInterpreter main_interpreter"
    root, rows = pictures
    url = make_images_table(directory / "images.db", rows, private=("p002",))
    server = Httpd(directory / "site", request.param, url, root, children=CHILDREN, extra=extra)
    server.write_settings(url, root, "private", snapshot=False)
    users = pathlib.Path(server.work.etc) / "htpasswd"
    users.write_text(f"ann:{htpasswd.encode('correct horse')}\n")
    users.chmod(0o644)
    sessions = directory / "sessions"
    sessions.mkdir()
    if server.work.user:
        os.chown(sessions, server.work.user.pw_uid, server.work.user.pw_gid)
    server.settings(f"mod_python.session.database_directory = {sessions}")
    with server:
        yield server


@pytest.fixture
def site(running_site):
    yield from watched(running_site)


def send_all(site, seed, count):
    for number, request in enumerate(requests(seed, count)):
        status, answer = site.raw(request)
        where = f"seed {seed}, request {number}: {request[:600]!r} -> {answer[:300]!r}"
        assert not 500 <= status < 600 or status in (501, 503, 505), where
        # Apache says nothing where it cannot tell an HTTP request, and only there
        assert answer or not re.match(rb"[A-Za-z]+ [^ ]+ HTTP/1\.[01]\r\n", request), where


def resident(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", text)[1]) * 1024


def fuzz(site, seed, count):
    for pattern in ANNOUNCED:
        site.expect(pattern)
    send_all(site, seed + 1, WARM_UP)
    pids = site.child_pids()
    before = {pid: resident(pid) for pid in pids}
    send_all(site, seed, count)
    assert site.child_pids() == pids, f"seed {seed}: a child was lost"
    grown = {pid: (resident(pid) - size) / MEGABYTE for pid, size in before.items()}
    assert all(megabytes < 2 for megabytes in grown.values()), f"seed {seed}: {grown}"
    complaints = site.complaints()
    assert not complaints, f"seed {seed}:\n" + "\n".join(line[:500] for line in complaints[:20])


def test_random_requests_do_no_harm(site):
    fuzz(site, 20_260_101, 2_000)


@pytest.mark.stress
@pytest.mark.parametrize("seed", [1, 2])
def test_many_random_requests_do_no_harm(site, seed):
    fuzz(site, seed * 1000, 20_000)
