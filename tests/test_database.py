"""Hosts and connections: which server is asked, and what its errors mean."""

import contextlib
import itertools
import socket
import threading

import pytest

from handlers.database import errors, hosts, parse
from handlers.database.hosts import Hosts
from handlers.lookup import Lookup, Row, Unavailable
from handlers.lookup import options as lookup_options
from handlers.lookup.refresh import Refresher
from tests.servers.mariadb import MariaDB
from tests.support import until

#: A greeting that ends before the length of the salt.
SHORT = b"\x15\0\0\0\n8.0\0\1\0\0\0saltsalt\0\0\0\0"

_numbers = itertools.count()
# a busy server is not away
PATIENT = {"lookup.timeout": "30", "lookup.connect_timeout": "30"}


class Fake:
    def __init__(self, host, read_only=False):
        self.host = host
        self.read_only = read_only
        self.closed = False

    def close(self):
        self.closed = True


class Servers(dict):
    """Hosts by name: a Fake's ``read_only``, or the error that they answer with."""

    def __init__(self, **servers):
        super().__init__(servers)
        self.asked = []
        self.open = []
        self.hosts = Hosts(parse(f"mysql://u@{','.join(servers)}/name"))

    def connect(self, host):
        self.asked.append(host[0])
        found = self[host[0]]
        if isinstance(found, Exception):
            raise found
        connection = Fake(host[0], found)
        self.open.append(connection)
        return connection

    def first(self, **options):
        """The host that is taken; all the other connections must be closed."""
        self.asked.clear()
        self.open.clear()
        connection, _ = self.hosts.first(self.connect, **options)
        assert [one for one in self.open if not one.closed] == [connection]
        return connection.host


AWAY = errors.DatabaseAway("away")
REFUSED = errors.DatabaseMisconfigured("no such table")
READ_ONLY = True


def test_first_host_is_kept_while_it_answers():
    servers = Servers(a=False, b=False)
    assert [servers.first() for _ in range(3)] == ["a"] * 3
    servers["a"] = AWAY
    assert servers.first() == "b"
    servers["a"] = False
    assert servers.first() == "b"
    assert servers.asked == ["b"]


def test_server_that_takes_changes_is_preferred():
    servers = Servers(a=READ_ONLY, b=False, c=READ_ONLY)
    assert servers.first() == "b"
    servers["a"], servers["b"] = False, READ_ONLY
    assert servers.first() == "a"


def test_read_only_server_is_better_than_none():
    servers = Servers(a=AWAY, b=READ_ONLY, c=READ_ONLY)
    assert servers.first() == "b"
    assert servers.first() == "b"
    # a host that is away may cost its time limit, and was asked a moment ago
    assert "a" not in servers.asked


def test_failed_host_is_tried_again_after_a_while(monkeypatch):
    servers = Servers(a=AWAY, b=READ_ONLY)
    assert servers.first() == "b"
    servers["a"] = False
    monkeypatch.setattr(hosts, "_FAILED", 0.0)
    assert servers.first() == "a"


def test_nobody_answers_is_an_error_and_a_refusal_says_more():
    with pytest.raises(errors.DatabaseAway):
        Servers(a=AWAY, b=AWAY).first()
    with pytest.raises(errors.DatabaseMisconfigured):
        Servers(a=REFUSED, b=AWAY).first()


def test_host_that_does_not_answer_the_question_is_passed_over():
    servers = Servers(a=False, b=READ_ONLY, c=READ_ONLY)

    def ask(connection):
        if connection.host != "c":
            raise AWAY

    assert servers.first(ask=ask) == "c"


# with real servers


@pytest.fixture(scope="module")
def second(base):
    with MariaDB(base / "standby", options=["--max-allowed-packet=2M"]) as server:
        yield server


@pytest.fixture
def name(mariadb, second):
    """A database of this name on both servers, whose rows tell which one was asked."""
    name = f"database{next(_numbers)}"
    for server, path in ((mariadb, "first"), (second, "second")):
        server.execute(
            f"CREATE DATABASE {name}",
            f"CREATE TABLE {name}.images (id VARCHAR(128) PRIMARY KEY, path VARCHAR(1000))",
        )
        rows = [(f"p{number}", f"{path}.jpg") for number in range(20)]
        server.fill(f"{name}.images", "id, path", rows)
    yield name
    for server in (mariadb, second):
        server.execute("SET GLOBAL read_only = 0", f"DROP DATABASE {name}")


@pytest.fixture
def both(mariadb, second, name):
    account = mariadb.url(name).partition("@")[0]
    return f"{account}@127.0.0.1:{mariadb.port},127.0.0.1:{second.port}/{name}"


def connect(url, **options):
    from handlers.database import mysql

    url = parse(url)
    host = url.hosts[0] if url.hosts else None
    return contextlib.closing(mysql.Connection(url, host, 30, 30, **options))


def test_lookup_leaves_a_server_that_has_become_read_only(mariadb, both, caplog, monkeypatch):
    given = {**PATIENT, "lookup.database": both, "lookup.missing_ttl": "0"}
    with contextlib.closing(Lookup.from_options(given)) as pictures:
        assert pictures["p1"] == Row("first.jpg")
        mariadb.execute("SET GLOBAL read_only = 1")
        with contextlib.closing(Lookup.from_options(given)) as late:
            assert late["p1"] == Row("second.jpg")
            assert late.warm() == 20 and late["p2"] == Row("second.jpg")
        # the connection that is in use notices it, too
        monkeypatch.setattr("handlers.lookup.database.STANDBY", 0.0)
        assert pictures["p2"] == Row("second.jpg")
        # and stays where it is when the first one takes changes again
        mariadb.execute("SET GLOBAL read_only = 0")
        assert pictures["p3"] == Row("second.jpg")
    assert caplog.records == []


def test_lookup_reads_from_a_read_only_server_if_there_is_no_other(mariadb, second, both):
    mariadb.execute("SET GLOBAL read_only = 1")
    second.execute("SET GLOBAL read_only = 1")
    with contextlib.closing(Lookup.from_options({**PATIENT, "lookup.database": both})) as pictures:
        assert pictures.warm() == 20
        assert pictures.get("none") is None


def test_statement_that_a_read_only_server_refuses_is_an_error_of_its_own(mariadb, name):
    mariadb.execute(
        f"CREATE USER {name}@'%' IDENTIFIED BY 'x'", f"GRANT ALL ON {name}.* TO {name}@'%'"
    )
    insert = "INSERT INTO images VALUES ('n', 'n')"
    with connect(mariadb.url(name, name, "x"), ask_variables=True) as connection:
        assert not connection.read_only
        connection.run("SET SESSION TRANSACTION READ ONLY")
        with pytest.raises(errors.ReadOnly):
            connection.run(insert)
        connection.run("SET SESSION TRANSACTION READ WRITE")
        mariadb.execute("SET GLOBAL read_only = 1")
        with pytest.raises(errors.ReadOnly) as caught:
            connection.run(insert)
        assert caught.value.code == 1290
        assert not connection.alive()
    with connect(mariadb.url(name, name, "x"), ask_variables=True) as connection:
        assert connection.read_only
    mariadb.execute(f"DROP USER {name}@'%'")


@pytest.mark.parametrize("sent", [b"\0" * 8, b"\1\0\0\0\n", SHORT, b"SSH-2.0-OpenSSH_9.2\r\n", b""])
def test_host_that_speaks_something_else_is_passed_over(second, name, sent):
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer():
            with contextlib.closing(other.accept()[0]) as client:
                client.sendall(sent)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        here = f"@127.0.0.1:{second.port}"
        url = second.url(name).replace(here, f"@127.0.0.1:{other.getsockname()[1]},{here[1:]}")
        with contextlib.closing(Lookup.from_options({**PATIENT, "lookup.database": url})) as found:
            assert found["p1"] == Row("second.jpg")
        thread.join()


def test_longest_statement_is_known_and_a_longer_one_is_too_large(second, name):
    with connect(second.url(name), ask_variables=True) as connection:
        assert connection.max_packet == 2 << 20
        with pytest.raises((errors.TooLarge, errors.Lost)):
            connection.run("SELECT %s", ("x" * (3 << 20),))


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("INSERT INTO images VALUES ('p1', 'x')", errors.Duplicate),
        ("INSERT INTO images VALUES (REPEAT('x', 200), 'x')", errors.TooLarge),
        ("KILL CONNECTION_ID()", errors.Lost),
        ("SELECT 1", errors.Lost),
    ],
)
def test_error_of_the_server_has_a_name(second, name, statement, error):
    with connect(second.url(name)) as connection:
        if statement == "SELECT 1":
            with contextlib.suppress(errors.DatabaseAway):
                connection.run("KILL CONNECTION_ID()")
        with pytest.raises(error):
            connection.run(statement)


def test_lock_of_another_is_contention(second, name):
    statements = ["SET innodb_lock_wait_timeout = 0"]
    with connect(second.url(name)) as first, connect(second.url(name), statements=statements) as n:
        first.run("START TRANSACTION")
        first.run("UPDATE images SET path = 'x' WHERE id = 'p1'")
        with pytest.raises(errors.Contended):
            n.run("UPDATE images SET path = 'y' WHERE id = 'p1'")


def test_table_that_somebody_has_locked_is_an_outage_of_the_lookup(second, name, tmp_path, caplog):
    """Such as LOCK TABLES and ALTER TABLE, where the server does not let clients wait for long."""
    given = {
        **PATIENT,
        "lookup.database": second.url(name),
        "lookup.snapshot": str(tmp_path / "snapshot"),
        "lookup.missing_ttl": "0",
    }
    options = lookup_options.from_mapping(given)
    Refresher(options).refresh(30)
    second.execute("SET GLOBAL lock_wait_timeout = 1")
    try:
        with connect(second.url(name)) as other:
            other.run("LOCK TABLES images WRITE")
            with pytest.raises(errors.DatabaseAway):
                Refresher(options).refresh(30)
            with contextlib.closing(Lookup.from_options(given)) as pictures:
                assert pictures["p1"] == Row("second.jpg")
                with pytest.raises(Unavailable):
                    pictures.get("none")
                assert "end what keeps its table locked (SHOW PROCESSLIST)" in caplog.text
                other.run("UNLOCK TABLES")
                assert until(lambda: pictures.get("none", "no"), despite=Unavailable) == "no"
            other.run("LOCK TABLES images WRITE")
            del given["lookup.snapshot"]
            with contextlib.closing(Lookup.from_options(given)) as pictures:
                assert pictures.warm() == 0
            other.run("UNLOCK TABLES")
    finally:
        second.execute("SET GLOBAL lock_wait_timeout = 86400")
    assert {record.exc_info for record in caplog.records} == {None}


def test_account_with_an_unknown_way_of_signing_in_is_one_clear_line(second, name, caplog):
    second.execute(
        "INSTALL SONAME 'auth_ed25519'",
        f"CREATE USER {name}@'%' IDENTIFIED VIA ed25519 USING PASSWORD('x')",
    )
    try:
        url = second.url(name, name, "x")
        with contextlib.closing(
            Lookup.from_options({**PATIENT, "lookup.database": url})
        ) as pictures:
            assert pictures.warm() == 0
    finally:
        second.execute(f"DROP USER {name}@'%'", "UNINSTALL SONAME 'auth_ed25519'")
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert (
        "the account signs in by ed25519, which PyMySQL cannot do alone: install the Python "
        in (record.getMessage())
    )
    assert "package pynacl beside this one, or let the account use mysql_native_password" in (
        record.getMessage()
    )


@pytest.mark.parametrize(
    ("text", "plugin"),
    [
        ("Authentication plugin 'b'auth_gssapi_client'' not configured", "auth_gssapi_client"),
        ("Authentication plugin 'b'parsec'' not configured", "parsec"),
        ("'pynacl' package is required for ed25519_password auth method", "ed25519"),
        (
            "'cryptography' package is required for sha256_password or caching_sha2_password"
            " auth methods",
            "sha256",
        ),
    ],
)
def test_ways_of_signing_in_that_pymysql_names_in_its_own_words(text, plugin):
    from handlers.database import mysql

    assert f"signs in by {plugin}, which" in str(mysql._unknown_plugin(text))


@pytest.mark.parametrize(
    ("code", "text", "wanted"),
    [
        (4031, "The client was disconnected by the server because of inactivity.", errors.Lost),
        (3169, "Session was killed", errors.Lost),
        (1047, "WSREP has not yet prepared node for application use", errors.ReadOnly),
        (3032, "The server is currently in offline mode", errors.ReadOnly),
        (1036, "Table 'sessions' is read only", errors.ReadOnly),
        (1874, "InnoDB is in read only mode.", errors.ReadOnly),
        (1290, "running with the --super-read-only option so it cannot execute", errors.ReadOnly),
    ],
)
def test_servers_of_other_kinds_that_send_a_client_away(code, text, wanted):
    """MySQL's and Galera's, which this machine does not have: as their manuals number them."""
    import pymysql

    from handlers.database import mysql

    with pytest.raises(wanted), mysql.translating_errors():
        raise pymysql.err.OperationalError(code, text)
