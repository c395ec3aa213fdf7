"""The lookup on a real MariaDB that is killed, stalled, doubled and badly configured."""

import contextlib
import functools
import itertools
import logging
import subprocess
import threading
import time

import pytest

from handlers.lookup import Row, Unavailable
from handlers.lookup import options as lookup_options
from handlers.lookup.errors import DatabaseAway
from handlers.lookup.refresh import Refresher
from tests import support
from tests.forked import forked
from tests.servers.mariadb import MariaDB
from tests.support import lookups

ROWS = {f"p{number}": f"a/{number}.jpg" for number in range(200)}
_numbers = itertools.count()
# the database may be away meanwhile
until = functools.partial(support.until, despite=Unavailable)


@pytest.fixture
def name(mariadb):
    """A database with a filled table ``images``, of this test's own."""
    name = f"lookup{next(_numbers)}"
    make(mariadb, name)
    mariadb.forget_statements()
    yield name
    mariadb.execute(f"DROP DATABASE {name}")


@pytest.fixture(scope="module")
def certificates(base):
    """A directory with a server's key and self-signed certificate, and another certificate."""
    directory = base / "certificates"
    directory.mkdir()
    for who in ("server", "other"):
        request = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
        names = "-subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
        files = f"-keyout {who}.key -out {who}.pem"
        subprocess.run(
            f"{request} {names} {files}".split(),
            cwd=directory,
            check=True,
            capture_output=True,
        )
    return directory


@pytest.fixture(scope="module")
def second(base, certificates):
    """Another running MariaDB, with TLS and few connections."""
    options = (
        f"--ssl-cert={certificates / 'server.pem'}",
        f"--ssl-key={certificates / 'server.key'}",
        "--max-connections=10",
    )
    with MariaDB(base / "second", general_log=True, options=options) as server:
        make(server, "site")
        yield server


@pytest.fixture
def open_lookup():
    """A function that opens a Lookup of a URL, with long time limits; it is closed afterwards."""
    # a busy server is not away
    with lookups(timeout=30, connect_timeout=30, longest_pause=0.3) as open_lookup:
        yield open_lookup


def make(server, name):
    server.execute(
        f"CREATE DATABASE {name}",
        f"CREATE TABLE {name}.images (id VARCHAR(128) PRIMARY KEY, path VARCHAR(1000))",
    )
    server.fill(f"{name}.images", "id, path", list(ROWS.items()))


def levels(caplog):
    return [record.levelname for record in caplog.records]


def test_warm_costs_one_query_and_known_ids_none(mariadb, name, open_lookup, caplog):
    caplog.set_level(logging.INFO, "handlers.lookup")
    pictures = open_lookup(mariadb.url(name))
    assert pictures.warm() == 200
    assert all(pictures[id] == Row(path) for id, path in ROWS.items())
    assert len(mariadb.statements("SELECT")) == 1
    assert levels(caplog) == ["INFO"]
    url = f"mysql://site@127.0.0.1:{mariadb.port}/{name}"
    assert caplog.messages[0].startswith(f"lookup: 200 rows from {url} in ")


def test_unknown_and_missing_ids_cost_one_query_each(mariadb, name, open_lookup):
    pictures = open_lookup(mariadb.url(name))
    for _ in range(50):
        assert pictures["p1"] == Row("a/1.jpg")
        assert pictures.get("none") is None
    assert len(mariadb.statements("= 'p1'")) == 1
    assert len(mariadb.statements("= 'none'")) == 1
    assert len(mariadb.statements(f"site@127.0.0.1 on {name}")) == 1


def test_missing_id_is_asked_again_when_its_time_is_over(mariadb, name, open_lookup):
    pictures = open_lookup(mariadb.url(name), missing_ttl=0.1)
    assert pictures.get("new") is None
    mariadb.fill(f"{name}.images", "id, path", [("new", "new.jpg")])
    until(lambda: pictures.get("new") == Row("new.jpg"))


def test_row_changed_by_others_is_seen_by_the_same_connection(mariadb, name, open_lookup):
    pictures = open_lookup(mariadb.url(name), missing_ttl=0)
    for number in range(3):
        assert pictures.get(f"n{number}") is None
        mariadb.fill(f"{name}.images", "id, path", [(f"n{number}", "n.jpg")])
        assert pictures.get(f"n{number}") == Row("n.jpg")
    assert len(mariadb.statements(f"site@127.0.0.1 on {name}")) == 1


def test_integer_ids_are_matched_as_text(mariadb, name, open_lookup):
    mariadb.execute(
        f"CREATE TABLE {name}.numbers (id INT PRIMARY KEY, path VARCHAR(100))",
        f"INSERT INTO {name}.numbers VALUES (12, '12.jpg'), (0, '0.jpg')",
    )
    pictures = open_lookup(mariadb.url(name), table="numbers")
    for wrong in ("012", "12abc", "abc", "12-", "1_2", "00", "-0"):
        assert wrong not in pictures
    assert pictures["12"] == Row("12.jpg")
    assert pictures.warm() == 2
    assert sorted(pictures) == ["0", "12"]


def test_letter_case_matters_whatever_the_collation(mariadb, name, open_lookup):
    mariadb.execute(
        f"CREATE TABLE {name}.loose (id CHAR(9), path TEXT, KEY (id)) CHARSET latin1",
        f"INSERT INTO {name}.loose VALUES ('ABC', 'upper.jpg'), ('abc', 'lower.jpg')",
    )
    pictures = open_lookup(mariadb.url(name), table="loose")
    assert pictures["abc"] == Row("lower.jpg")
    assert pictures["ABC"] == Row("upper.jpg")
    assert "Abc" not in pictures


def test_id_that_the_connection_cannot_hold_is_no_outage(mariadb, name, open_lookup, caplog):
    """Any visitor may ask for one."""
    mariadb.fill(f"{name}.images", "id, path", [("\u00e9", "e.jpg")])
    for charset, found in (("latin1", "e.jpg"), ("ascii", None), ("utf8mb4", "e.jpg")):
        pictures = open_lookup(f"{mariadb.url(name)}?charset={charset}", encode_ids="on")
        assert pictures.get("\u0436") is None and pictures.get("\U0001f600") is None
        assert pictures["p1"] == Row("a/1.jpg")
        row = pictures.get("\u00e9")
        assert (row and row.path) == found
    assert caplog.records == []


@pytest.mark.parametrize(
    ("kind", "ids", "wrong"),
    [
        (
            "BIGINT UNSIGNED",
            [2**64 - 1, 2**63, 2**63 - 1, 2**53 + 1, 2**53, 7],
            [2**64, 2**64 - 2, 2**53 + 2, "007", "7e0", "-7", 10**40],
        ),
        ("INT", [-5, 0, 5], ["-0", "--5", "05", 2**31, -(2**31) - 1, 2**32 + 5]),
        ("DECIMAL(30)", [10**29 + 1, 100], [10**29, "1E2", "0100"]),
        ("INT(6) ZEROFILL", [7], ["000007"]),
        ("VARCHAR(30)", ["007", "7"], ["07", "7 "]),
        (
            "UUID",
            ["123e4567-e89b-12d3-a456-426655440000"],
            ["123E4567-E89B-12D3-A456-426655440000"],
        ),
    ],
)
def test_id_is_exact_whatever_its_type(mariadb, name, open_lookup, kind, ids, wrong):
    mariadb.execute(f"CREATE TABLE {name}.typed (id {kind} PRIMARY KEY, path TEXT)")
    mariadb.fill(f"{name}.typed", "id, path", [(id, f"{id}.jpg") for id in ids])
    asked, warmed = (open_lookup(mariadb.url(name), table="typed") for _ in range(2))
    assert warmed.warm() == len(ids)
    for pictures in (asked, warmed):
        assert {id: pictures[str(id)].path for id in ids} == {id: f"{id}.jpg" for id in ids}
        assert not [id for id in wrong if str(id) in pictures]


def test_columns_of_every_kind_are_read(mariadb, name, open_lookup):
    mariadb.execute(
        f"CREATE TABLE {name}.other"
        " (k VARBINARY(20), f VARBINARY(99), s BIT, x DECIMAL(3,2), y FLOAT)",
        f"INSERT INTO {name}.other VALUES ('a', 'ä.jpg', 1, 0.25, 0.5), ('b', x'ff', 0, NULL, 1)",
    )
    columns = {"id": "k", "path": "f", "private": "s", "focus_x": "x", "focus_y": "y"}
    pictures = open_lookup(mariadb.url(name), table=f"{name}.other", **columns)
    truth = {"a": Row("ä.jpg", True, 0.25, 0.5), "b": Row("\udcff", False, None, 1.0)}
    assert {id: pictures[id] for id in "ab"} == truth
    pictures.warm()
    assert dict(pictures) == truth


def test_queries_of_the_site_replace_table_and_columns(mariadb, name, open_lookup):
    every = "SELECT id, CONCAT('x%', path) AS path, id = 'p1' AS private FROM images"
    options = {"query": every, "query_one": f"{every} WHERE path LIKE 'a/%' AND id = :id"}
    pictures = open_lookup(mariadb.url(name), **options)
    assert pictures["p1"] == Row("x%a/1.jpg", True)
    assert pictures.warm() == 200
    assert pictures["p2"] == Row("x%a/2.jpg", False)


def test_unix_socket_and_option_file_are_ways_in(mariadb, name, open_lookup, tmp_path):
    assert open_lookup(mariadb.socket_url(name)).warm() == 200
    (tmp_path / "my.cnf").write_text(
        f"[client]\nhost=127.0.0.1\nport={mariadb.port}\n"
        f"user={mariadb.user}\npassword='{mariadb.password}'\n"
    )
    assert open_lookup(f"mysql:///{name}?read_default_file={tmp_path / 'my.cnf'}").warm() == 200


def test_kill_and_return_of_the_database_under_load(mariadb, name, open_lookup, caplog):
    pictures = open_lookup(mariadb.url(name))
    pictures.warm()
    pictures.get("none")
    stop, wrong, slowest, refused = threading.Event(), [], [0.0], [0]

    def ask_known():
        for id in itertools.cycle(ROWS):
            if stop.is_set():
                return
            try:
                wrong.extend([id] if pictures[id] != Row(ROWS[id]) else [])
            except (KeyError, Unavailable) as error:
                wrong.append(error)
            time.sleep(0)

    def ask_unknown():
        for number in itertools.count():
            if stop.is_set():
                return
            start = time.monotonic()
            try:
                pictures.get(f"unknown{number}")
            except Unavailable:
                refused[0] += 1
            slowest[0] = max(slowest[0], time.monotonic() - start)
            time.sleep(0.001)

    threads = [threading.Thread(target=ask) for ask in (ask_known, ask_known, ask_unknown)]
    for thread in threads:
        thread.start()
    try:
        mariadb.kill()
        until(lambda: refused[0] > 50)
    finally:
        mariadb.start()
        until(lambda: "new" not in pictures)
        asked = pictures.stats()["not_found"]
        until(lambda: pictures.stats()["not_found"] > asked)
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    # nobody has waited for the end of a time limit
    assert slowest[0] < 25
    assert levels(caplog) == ["WARNING", "WARNING"]
    assert "is away" in caplog.messages[0]
    assert "start it, or correct lookup.database" in caplog.messages[0]
    assert "is back after" in caplog.messages[1]


def test_lost_connection_is_made_anew_without_anybody_noticing(mariadb, name, open_lookup, caplog):
    pictures = open_lookup(mariadb.url(name))
    assert "p1" in pictures
    for (number,) in mariadb.execute(
        f"SELECT id FROM information_schema.processlist WHERE db = '{name}'"
    ):
        mariadb.execute(f"KILL {number}")
    assert "p2" in pictures
    assert caplog.records == []


def test_database_away_at_child_start_is_one_warning(mariadb, name, open_lookup, caplog):
    mariadb.kill()
    try:
        pictures = open_lookup(mariadb.url(name))
        assert pictures.warm() == 0
        for _ in range(20):
            with pytest.raises(Unavailable) as caught:
                pictures.get("p1")
            assert 0 < caught.value.retry_after < 1
        with pytest.raises(Unavailable):
            pictures.page(0, 60)
        assert levels(caplog) == ["WARNING"]
    finally:
        mariadb.start()
    until(lambda: pictures["p1"] == Row("a/1.jpg"))
    assert pictures.page(0, 60)[1] == 200
    assert levels(caplog) == ["WARNING", "WARNING"]


def test_stall_costs_the_timeout_once_and_then_nothing(mariadb, name, open_lookup, caplog):
    limits = {"timeout": 0.4, "connect_timeout": 0.4, "longest_pause": 5}

    def answered_at_once():
        """Return one that knows a row: it reads all rows when a busy server has taken longer."""
        opened = open_lookup(mariadb.url(name), **limits)
        with contextlib.suppress(Unavailable):
            return opened["p1"] and opened
        opened.close()
        caplog.clear()
        return None

    pictures = until(answered_at_once)
    cold = open_lookup(mariadb.url(name), **limits)
    mariadb.pause()
    try:
        for stalled in (pictures, cold):
            start = time.monotonic()
            with pytest.raises(Unavailable):
                stalled.get("p2")
            assert 0.3 < time.monotonic() - start < 30
            start = time.monotonic()
            for number in range(1000):
                with contextlib.suppress(Unavailable):
                    stalled.get(f"n{number}")
            # not 0.4 s each
            assert time.monotonic() - start < 200
            assert stalled.warm() == 0
        assert pictures["p1"] == Row("a/1.jpg")
    finally:
        mariadb.resume()
    until(lambda: "p2" in pictures)
    # one process says it once, on however many connections it waits
    assert levels(caplog) == ["WARNING"] * 2


def test_stall_blocks_one_thread_at_a_time(mariadb, name, open_lookup):
    pictures = open_lookup(mariadb.url(name), timeout=2, connect_timeout=2, longest_pause=30)
    mariadb.pause()
    try:
        start = time.monotonic()
        refused = []

        def ask(number):
            try:
                pictures.get(f"n{number}")
            except Unavailable:
                refused.append(number)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(refused) == 20
        # not two seconds each
        assert time.monotonic() - start < 35
    finally:
        mariadb.resume()


def test_next_host_is_asked_when_one_refuses_or_stalls(mariadb, name, second, open_lookup, caplog):
    mariadb.execute(f"UPDATE {name}.images SET path = 'first'")
    second.execute(f"CREATE DATABASE {name}", f"CREATE TABLE {name}.images LIKE site.images")
    second.fill(f"{name}.images", "id, path", list(ROWS.items()))
    account = mariadb.url(name).partition("@")[0]
    url = f"{account}@127.0.0.1:{mariadb.port},127.0.0.1:{second.port}/{name}"
    limits = {"timeout": 5, "connect_timeout": 5}
    pictures, late = open_lookup(url, **limits), open_lookup(url, **limits)
    assert pictures["p1"] == Row("first")
    mariadb.pause()
    try:
        assert pictures["p2"] == Row("a/2.jpg")
        assert late.warm() == 200
        took = []
        for number in range(3, 10):
            start = time.monotonic()
            assert pictures[f"p{number}"] == Row(f"a/{number}.jpg")
            took.append(time.monotonic() - start)
        # without a wait of 5 s for the first host
        assert min(took) < 4
        mariadb.resume()
        mariadb.kill()
        cold = open_lookup(url)
        assert cold["p4"] == Row("a/4.jpg")
    finally:
        mariadb.start()
    second.kill()
    try:
        assert cold["p5"] == Row("first")
    finally:
        second.start()
    assert caplog.records == []


def test_server_that_dies_in_the_middle_of_all_rows_is_no_end_of_them(
    mariadb, name, second, tmp_path, caplog
):
    count = 200_000
    for server in (mariadb, second):
        server.execute(
            f"CREATE DATABASE IF NOT EXISTS {name}",
            f"CREATE TABLE {name}.many (id INT PRIMARY KEY, path TEXT)",
            f"INSERT INTO {name}.many SELECT seq, 'a.jpg' FROM {name}.seq_1_to_{count}",
        )
    account = mariadb.url(name).partition("@")[0]
    given = {
        "lookup.database": f"{account}@127.0.0.1:{mariadb.port},127.0.0.1:{second.port}/{name}",
        "lookup.table": "many",
        "lookup.snapshot": str(tmp_path / "snapshot"),
        "lookup.timeout": "30",
        "lookup.connect_timeout": "30",
    }
    refresher = Refresher(lookup_options.from_mapping(given))
    assert refresher.refresh(60).read == count
    before = refresher.open().serial

    def dying(rows, total):
        for number, row in enumerate(rows):
            if number == 1000:
                mariadb.kill()
            yield row

    try:
        with pytest.raises(DatabaseAway):
            refresher.refresh(10, watch=dying)
        assert refresher.open().serial == before
        second.execute(f"UPDATE {name}.many SET path = 'b.jpg' WHERE id = {count}")
        done = support.until(lambda: refresher.refresh(10), despite=DatabaseAway)
        assert (done.read, done.changed) == (count, 1)
    finally:
        mariadb.start()
        second.execute(f"DROP DATABASE {name}")


@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        ({"password": "wrong"}, {}, "Access denied for user 'site'@'127.0.0.1'"),
        ({"user": "nobody"}, {}, "Access denied for user 'nobody'@'127.0.0.1'"),
        ({"name": "nowhere"}, {}, "Unknown database 'nowhere'"),
        ({}, {"table": "pictures"}, ".pictures' doesn't exist"),
        ({}, {"path": "file"}, "Unknown column 'file'"),
        ({}, {"query": "SELEC", "query_one": "SELEC :id"}, "error in your SQL syntax"),
    ],
)
def test_misconfiguration_is_one_error_line(
    mariadb, name, open_lookup, caplog, change, options, says
):
    pictures = open_lookup(mariadb.url(**{"name": name, **change}), **options)
    assert pictures.warm() == 0
    for _ in range(20):
        with pytest.raises(Unavailable):
            pictures.get("p1")
    assert levels(caplog) == ["ERROR"]
    assert says in caplog.messages[0]
    assert "wrong" not in caplog.messages[0]


@pytest.mark.parametrize(
    ("parameter", "says"),
    [
        ("read_default_file=/nowhere/my.cnf", "cannot read /nowhere/my.cnf"),
        ("ssl_ca=/nowhere/ca.pem", "cannot read /nowhere/ca.pem"),
    ],
)
def test_wrong_parameter_is_one_error_line(mariadb, name, open_lookup, caplog, parameter, says):
    assert open_lookup(f"{mariadb.url(name)}?{parameter}").warm() == 0
    assert levels(caplog) == ["ERROR"]
    assert says in caplog.messages[0]


def test_option_file_that_is_none_is_an_error_without_its_text(
    mariadb, name, open_lookup, caplog, tmp_path
):
    (tmp_path / "my.cnf").write_text("password=secret\n")
    url = f"mysql://@127.0.0.1:{mariadb.port}/{name}?read_default_file={tmp_path / 'my.cnf'}"
    assert open_lookup(url).warm() == 0
    assert levels(caplog) == ["ERROR"]
    assert "is no option file" in caplog.text
    assert "secret" not in caplog.text


def test_table_that_comes_later_is_found_without_a_restart(mariadb, name, open_lookup, caplog):
    mariadb.execute(f"RENAME TABLE {name}.images TO {name}.soon")
    pictures = open_lookup(mariadb.url(name))
    assert pictures.warm() == 0
    mariadb.execute(f"RENAME TABLE {name}.soon TO {name}.images")
    until(lambda: "p1" in pictures)
    assert levels(caplog) == ["ERROR", "WARNING"]


def test_too_many_connections_are_an_outage_not_an_error(second, open_lookup, caplog):
    pictures = open_lookup(second.url("site"))
    others = [open_lookup(second.url("site")) for _ in range(12)]
    with contextlib.suppress(Unavailable):
        for other in others:
            other.get("p1")
    assert pictures.warm() == 0
    assert set(levels(caplog)) == {"WARNING"}
    assert "Too many connections" in caplog.messages[0]
    for other in others:
        other.close()
    until(lambda: "p1" in pictures)
    pictures.close()
    # the next test needs some
    until(lambda: second.connections() == 0)


def test_certificate_is_checked_against_ssl_ca(second, certificates, open_lookup, caplog):
    url = second.url("site")
    good = open_lookup(f"{url}?ssl_ca={certificates / 'server.pem'}&ssl_verify_identity=true")
    assert good.warm() == 200
    second.forget_statements()
    assert "p1" in open_lookup(f"{url}?ssl_ca={certificates / 'server.pem'}", missing_ttl=0)
    assert len(second.statements("using SSL/TLS")) == 1
    assert open_lookup(f"{url}?ssl_ca={certificates / 'other.pem'}").warm() == 0
    assert levels(caplog) == ["ERROR"]
    assert "certificate verify failed" in caplog.text


def test_forked_children_have_connections_of_their_own(mariadb, name, open_lookup):
    pictures = open_lookup(mariadb.url(name))
    assert "p1" in pictures

    def ask():
        return pictures["p2"].path, mariadb.connections(), list(pictures)

    for _ in range(2):
        # what others have closed is gone a moment later
        until(lambda: mariadb.connections() == 1)
        assert forked([ask]) == ["('a/2.jpg', 2, ['p1', 'p2'])"]
    assert "p3" in pictures
    assert len(mariadb.statements(f"site@127.0.0.1 on {name}")) == 3


def test_warm_leaves_no_connection_and_an_idle_one_is_closed(mariadb, name, open_lookup):
    def connections():
        return mariadb.execute(
            f"SELECT COUNT(*) FROM information_schema.processlist WHERE db = '{name}'"
        )[0][0]

    log = len(mariadb.error_log.read_text())
    pictures = open_lookup(mariadb.url(name), idle=0.2)
    pictures.warm()
    until(lambda: connections() == 0)
    begun = f"site@127.0.0.1 on {name}"
    assert len(mariadb.statements(begun)) == 1
    pictures.get("none")
    assert len(mariadb.statements(begun)) == 2
    until(lambda: connections() == 0)
    assert "Aborted connection" not in mariadb.error_log.read_text()[log:]
