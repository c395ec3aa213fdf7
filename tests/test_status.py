"""The status page, the metrics and the health check on a real server."""

import itertools
import json
import os
import pathlib
import random
import re
import signal

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_prometheus

from tests.conftest import SERVERS, watched
from tests.servers.httpd import Httpd, make_images_table
from tests.servers.visitor import Visitor
from tests.support import until

PREFIX = "modpython_handlers_"


@pytest.fixture(scope="module", params=SERVERS)
def counted_site(request, base, pictures):
    """A running site that shows nothing of what the tests of other files do."""
    directory = base / f"counted-{request.param}"
    directory.mkdir()
    root, rows = pictures
    url = make_images_table(directory / "images.db", rows)
    server = Httpd(directory / "site", request.param, url, root)
    with server:
        yield server


@pytest.fixture
def site(counted_site):
    yield from watched(counted_site)


def metrics_of(site, **headers):
    answer = site.request("/handlers-metrics", headers=headers)
    assert answer.status == 200
    return answer


def totals(site):
    found = {}
    for family in parse_prometheus(metrics_of(site).body.decode()):
        for sample in family.samples:
            found[sample.name.removeprefix(PREFIX), *sample.labels.values()] = sample.value
    return found


def test_what_is_asked_for_is_counted(site):
    site.expect("thumbnail 200x200/gone.jpg")
    before = totals(site)
    size = f"2{random.randrange(10, 99)}x150"
    assert site.request(f"/thumbs/{size}/p009.jpg").status == 404
    made = site.request("/thumbs/400x400/p120.webp")
    assert made.status == 200
    assert site.request("/thumbs/200x200/gone.jpg").status == 404
    after = totals(site)
    assert after["thumbnails_made_total",] == before["thumbnails_made_total",] + 1
    assert after["thumbnails_refused_total",] >= before["thumbnails_refused_total",] + 1
    counted = "thumbnail_making_seconds_count"
    assert after[counted,] == before[counted,] + 1
    assert after["thumbnail_source_bytes_sum",] > before["thumbnail_source_bytes_sum",]
    assert after["healthy", "cache"] == 1


def test_metrics_are_those_that_prometheus_reads(site):
    answer = metrics_of(site)
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = list(parse_prometheus(answer.body.decode()))
    assert {family.type for family in families} == {"counter", "gauge", "histogram"}
    assert all(family.name.startswith(PREFIX) and family.documentation for family in families)


def test_openmetrics_where_it_is_asked_for(site):
    answer = metrics_of(site, Accept="application/openmetrics-text; version=1.0.0,*/*;q=0.1")
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    families = list(parse_openmetrics(answer.body.decode()))
    assert {"counter", "histogram", "info"} <= {family.type for family in families}


def test_health_is_one_line(site):
    answer = site.request("/handlers-health")
    assert answer.status == 200
    assert json.loads(answer.body) == {
        "status": "well",
        **dict.fromkeys(("cache", "pictures", "database", "makers"), "well"),
    }


def test_page_and_json_tell_the_same(site):
    page = site.request("/handlers-status")
    assert page.status == 200
    text = page.body.decode()
    assert "<h1>All is well</h1>" in text and "<script" not in text
    found = json.loads(site.request("/handlers-status?format=json").body)
    for pid in site.child_pids():
        if any(child["pid"] == pid for child in found["children"]):
            assert f"<td>{pid}</td>" in text
    assert len(found["hour"]["thumbnails_made"]) == 60
    assert len(found["day"]["thumbnails_made"]) == 96
    assert found["cache"]["directory"] == site.work.cache


def test_page_is_loaded_anew_where_the_reader_asks_for_it(site):
    answer = site.request("/handlers-status?refresh=30")
    assert answer.headers["Refresh"] == "30" and "stop refreshing" in answer.body.decode()
    for args in ("", "?refresh=0", "?refresh=x%0d%0aX:1", "?refresh=%C2%B2"):
        answer = site.request(f"/handlers-status{args}")
        assert (answer.status, answer.headers["Refresh"]) == (200, None)


def test_status_is_for_this_machine_only(own_site):
    own_site.extra = (
        "LoadModule remoteip_module /usr/lib/apache2/modules/mod_remoteip.so\n"
        "RemoteIPHeader X-Client\n"
    )
    own_site.expect("AH01630")
    with own_site:
        for path in ("/handlers-status", "/handlers-metrics", "/handlers-health"):
            assert own_site.request(path).status == 200
            assert own_site.request(path, headers={"X-Client": "192.0.2.7"}).status == 403
            assert own_site.request(path, "POST").status == 405


def test_warnings_are_kept_with_what_to_do(own_site):
    own_site.expect("thumbnail 200x200/gone.jpg")
    with own_site:
        own_site.request("/thumbs/200x200/gone.jpg")
        found = json.loads(own_site.request("/handlers-status?format=json").body)
    assert any("sub/gone.jpg" in notice["text"] for notice in found["notices"])


def test_killed_children_lose_no_count(own_site):
    own_site.expect(r"exit signal Killed|AH00052")
    chance = random.Random(3)
    answered = 0
    with own_site:
        for number in range(60):
            if number % 10 == 9:
                pids = own_site.child_pids()
                os.kill(chance.choice(pids), signal.SIGKILL)
                until(lambda pids=pids: set(own_site.child_pids()) - set(pids))
            try:
                answered += own_site.request(f"/thumbs/200x200/p{number:03d}.jpg").status == 200
            except OSError:
                continue
        counted = totals(own_site)["thumbnails_made_total",]
    # a child may be killed between the count and the answer
    assert answered >= 50
    assert answered <= counted <= 60


def test_sessions_and_faults_are_counted(own_site):
    own_site.expect("sessions: .*Permission denied")
    with own_site:
        before = totals(own_site)
        visitor = Visitor(own_site)
        visitor.mark("p001")
        directory = pathlib.Path(own_site.work.sessions) / "mp_sessions"
        directory.chmod(0)
        try:
            assert visitor.ask("/?show=favourites").status == 503
        finally:
            directory.chmod(0o700)
        visitor.ask("/signout", "POST", {"x": ""})
        after = totals(own_site)
    for name in ("sessions_begun", "sessions_ended", "requests_unavailable"):
        assert after[f"{name}_total",] == before[f"{name}_total",] + 1, name


@pytest.mark.parametrize(
    "options",
    [
        "",
        "mod_python.session.session_type = DbmSession",
        "mod_python.session.session_type = SqlSession\n"
        "mod_python.session.database = sqlite:///{sessions}/sessions.db",
    ],
)
def test_sessions_are_counted_by_the_sweep(own_site, options):
    own_site.settings(options.format(sessions=own_site.work.sessions) or "cache.age = 9")
    own_site.settings("mod_python.session.sweep_interval = 0.3")
    with own_site:
        for _ in range(3):
            Visitor(own_site).mark("p001")
        found = until(
            lambda: (
                (now := json.loads(own_site.request("/handlers-status?format=json").body))
                and now["sessions"]["live"] == 3
                and now["sessions"]
            ),
            # a table whose count has taken a second is counted every hundred
            within=900,
        )
        told = totals(own_site)
        page = own_site.request("/handlers-status").body.decode()
    assert found["swept"] >= found["counted"] > 0
    assert sum(found["begun"]) == 3
    assert told["sessions_live",] == 3
    assert told["sessions_sweep_timestamp_seconds",] >= found["swept"]
    assert re.search(r"<td>live, counted [^<]*</td><td>3</td>", page)


def test_makers_are_told_with_their_jobs(site):
    numbers = itertools.count(30)

    def looked_at():
        """Have two thumbnails made, and look at the makers; an idle one may go in between."""
        for _ in range(2):
            site.request(f"/thumbs/400x400-crop/p{next(numbers):03d}.webp")
        there = set(site.maker_pids())
        found = json.loads(site.request("/handlers-status?format=json").body)["makers"]
        told = totals(site)
        is_same = {maker["pid"] for maker in found["alive"]} == there == set(site.maker_pids())
        jobs = sum(maker["jobs"] for maker in found["alive"])
        return (found, told) if is_same and jobs >= 2 else None

    found, told = until(looked_at)
    assert 1 <= len(found["alive"]) <= found["most"] == told["makers_limit",] == os.cpu_count()
    assert all(maker["memory"] > 1 << 20 for maker in found["alive"])
    assert told["makers",] >= 1 and told["makers_memory_bytes",] > 1 << 20


def test_access_log_tells_what_the_handler_did(own_site):
    own_site.expect("thumbnail 200x200/gone.jpg")
    log = pathlib.Path(own_site.work.directory, "logs", "access.log")

    def said():
        # a child writes its line when the answer is out already
        return sorted(x.split()[-1] for x in log.read_text().splitlines() if "/thumbs/" in x)

    with own_site:
        for name in ("p001", "p001", "gone"):
            answer = own_site.request(f"/thumbs/200x200/{name}.jpg")
            assert "X-Handlers" not in answer.headers
        until(lambda: said() == ["-", "made", "refused"])
