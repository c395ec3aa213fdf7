"""Two servers with a directory each and one database, as two machines behind a balancer."""

import os

import pytest

from tests.conftest import watched
from tests.servers.httpd import Httpd
from tests.servers.visitor import Visitor
from tests.support import run_command, until

SERVER = "mod_wsgi"


@pytest.fixture(scope="module")
def running(base, pictures, mariadb):
    root, rows = pictures
    mariadb.make_images_table("machines", rows)
    url = mariadb.url("machines")
    sites = []
    for number in (1, 2):
        directory = base / f"machine-{number}"
        directory.mkdir()
        site = Httpd(directory, SERVER, url, root, children=2, snapshot=True)
        site.settings(
            "lookup.refresh = 1\ncache.purges = purges\n"
            f"mod_python.session.session_type = SqlSession\nmod_python.session.database = {url}\n"
            "mod_python.session.serializer = json"
        )
        sites.append(site)
    run_command(sites[0].work.settings, "sessions", "create", check=True)
    with sites[0], sites[1]:
        yield sites


@pytest.fixture
def machines(running):
    first, second = map(watched, running)
    yield next(first), next(second)
    for each in (first, second):
        next(each, None)


def test_session_is_known_on_both(machines):
    one, other = (Visitor(site, "127.0.0.77") for site in machines)
    assert one.mark("p001").status == 303
    other.cookies = one.cookies
    assert "Favourites: 1," in other.ask("/?show=favourites").body.decode()


def test_row_that_is_deleted_disappears_from_both(machines, mariadb):
    for site in machines:
        assert site.request("/thumbs/200x200/p050.jpg").status == 200
    mariadb.execute("DELETE FROM machines.images WHERE id = 'p050'")
    for site in machines:
        until(lambda site=site: site.request("/thumbs/200x200/p050.jpg").status == 404)


def test_one_purge_reaches_both(machines):
    first, second = machines
    before = []
    for site in machines:
        assert site.request("/thumbs/200x200/p060.jpg").status == 200
        before.append(site.log(0).count("thumbnail 200x200/p060.jpg made"))
    # the table is there from the first purge on, and the second machine has looked into it then
    purge_everywhere(first, "p061")
    until(lambda: os.path.exists(f"{second.work.cache}/handlers-state/purges"))
    purge_everywhere(first, "p060")
    until(lambda: "pictures purged, as another machine asked" in second.log(0))
    until(lambda: second.request("/thumbs/200x200/p060.jpg").status == 200)
    until(lambda: second.log(0).count("thumbnail 200x200/p060.jpg made") > before[1])


def purge_everywhere(site, id):
    done = run_command(site.work.settings, "cache", "purge", "--everywhere", id)
    assert (done.returncode, done.stderr) == (0, "")
