"""The lookup with its snapshot, on real Apache and MariaDB."""

import re
import time

import pytest

from tests.conftest import SERVERS, watched
from tests.servers.httpd import Httpd
from tests.support import until

CHILDREN = 16
FULL_READ = "FROM `images`"


@pytest.fixture(params=SERVERS)
def site(request, public_dir, pictures, mariadb):
    """A site with many children on MariaDB, not started yet; ``site.database`` is its name."""
    root, rows = pictures
    name = f"snapshot_{request.param}"
    mariadb.make_images_table(name, rows)
    server = Httpd(
        public_dir / "site",
        request.param,
        mariadb.url(name),
        root,
        children=CHILDREN,
        snapshot=True,
    )
    server.database = name
    with server.stopped_at_the_end():
        yield from watched(server)


def start(site):
    site.start(warm=False)
    until(lambda: len(site.child_pids()) == CHILDREN)


def full_reads(mariadb):
    return [line for line in mariadb.statements(FULL_READ) if "WHERE" not in line]


def test_one_full_read_for_all_children_and_one_for_a_restart(site, mariadb):
    mariadb.forget_statements()
    start(site)
    until(lambda: "rows from mysql" in site.log())
    assert len(full_reads(mariadb)) == 1
    site.stop()
    mariadb.forget_statements()
    start(site)
    until(lambda: full_reads(mariadb))
    for number in range(100):
        assert site.request(f"/thumbs/200x200/p{number:03d}.jpg").status == 200
    time.sleep(1)
    assert len(full_reads(mariadb)) == 1
    assert [line for line in mariadb.statements("WHERE") if "images" in line] == []


def test_restart_while_the_database_is_down_serves_from_the_snapshot(site, mariadb):
    start(site)
    until(lambda: "rows from mysql" in site.log())
    site.stop()
    site.expect("is (away|back)")
    mariadb.kill()
    try:
        start(site)
        for number in range(0, 60, 3):
            assert site.request(f"/thumbs/200x200/p{number:03d}.jpg").status == 200
        assert site.request("/").status == 200
        assert site.request("/thumbs/200x200/unknown.jpg").status == 503
    finally:
        mariadb.start()


def test_thumbnail_of_a_changed_row_is_made_anew(site, mariadb):
    site.settings("lookup.refresh = 1")
    start(site)
    until(lambda: "rows from mysql" in site.log())
    first = site.request("/thumbs/200x200/p001.jpg")
    gone = site.request("/thumbs/200x200/p002.jpg")
    assert (first.status, gone.status) == (200, 200)
    # at once, as the site may look in between
    mariadb.execute(
        "BEGIN",
        f"UPDATE {site.database}.images SET path = 'large.jpg' WHERE id = 'p001'",
        f"DELETE FROM {site.database}.images WHERE id = 'p002'",
        "COMMIT",
    )
    # by the keeper or by the one who tells of changes, or one by each
    until(lambda: sum(map(int, re.findall(r"(\d+) thumbnails removed", site.log()))) >= 2)
    until(lambda: site.request("/thumbs/200x200/p002.jpg").status == 404)
    until(lambda: site.request("/thumbs/200x200/p001.jpg").body != first.body)
    assert site.request("/images/p002").status == 404
