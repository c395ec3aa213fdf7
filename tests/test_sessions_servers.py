"""Session stores on servers that are killed, stalled, restarted, or refuse a right."""

import contextlib
import dataclasses
import itertools
import socket
import threading
import time

import pymysql
import pytest

from handlers.database.url import parse
from handlers.locks import LockTimeout
from handlers.sessions import sid as sids
from handlers.sessions.memcached import MemcachedStore
from handlers.sessions.mysql import AHEAD, MysqlStore
from handlers.sessions.sql import PERIOD
from handlers.sessions.store import Record, RecordTooLarge, StoreUnavailable
from handlers.sessions.sweep import Pace
from tests.servers.mariadb import MariaDB
from tests.servers.memcached import Memcached
from tests.support import until

_numbers = itertools.count()


@pytest.fixture(scope="module")
def own_mariadb(base):
    """A MariaDB that the tests of this file may kill; they start it again."""
    with MariaDB(base / "killed") as server:
        server.execute("CREATE DATABASE sessions")
        yield server


@pytest.fixture
def url(mariadb):
    """The URL of an empty database."""
    name = f"faults{next(_numbers)}"
    mariadb.execute(f"CREATE DATABASE {name}")
    yield parse(mariadb.url(name))
    mariadb.execute(f"DROP DATABASE {name}")


def opened(url, **options):
    store = MysqlStore(url, **options)
    store.create()
    return contextlib.closing(store)


def save(store, sid, data=b"content", timeout=1800, accessed=None, **options):
    now = time.time() if accessed is None else accessed
    user, expected = options.pop("user", None), options.pop("expected", None)
    return store.save(sid, Record(data, now, now, timeout, user), expected, **options)


# --- MariaDB


@pytest.mark.parametrize("charset", ["utf8mb4", "utf8", "latin1", "ascii"])
def test_no_text_or_bytes_reach_other_rows(url, charset):
    url = dataclasses.replace(url, parameters={"charset": charset})
    with opened(url) as store:
        kept = sids.new()
        save(store, kept, b"kept", user="ann")
        attack = b"', user='x', data='y' -- "
        for lead in (b"", b"\\", b"\xbf", b"\x95", b"\x81\x5c", b"\xe8", b"\0", b"\x8f\xa1"):
            sid = sids.new()
            for user in (
                (lead + attack).decode("latin-1"),
                (lead + attack).decode("gbk", "ignore"),
            ):
                with contextlib.suppress(StoreUnavailable):
                    # the character set does not have all letters
                    save(store, sid, lead + attack, user=user)
                    assert store.load(sid).data == lead + attack
                    assert [entry.user for entry in store.entries(user)] == [user]
                    assert store.purge(user) == 1
        assert store.load(kept).data == b"kept"
        assert [entry.user for entry in store.entries("ann")] == ["ann"]


def test_sessions_outlive_a_killed_mariadb_and_errors_are_named_meanwhile(own_mariadb):
    with opened(parse(own_mariadb.url("sessions"))) as store:
        sid = sids.new()
        save(store, sid, b"before")
        own_mariadb.kill()
        try:
            for use in (store.load, lambda sid: save(store, sid), lambda sid: store.lock(sid, 1)):
                with pytest.raises(StoreUnavailable):
                    use(sid)
        finally:
            own_mariadb.start()
        assert store.load(sid).data == b"before"
        save(store, sid, b"after")
        assert store.load(sid).data == b"after"


def test_no_returned_save_is_lost_when_mariadb_is_killed_under_load(own_mariadb):
    with opened(parse(own_mariadb.url("sessions"))) as store:
        sid = sids.new()
        save(store, sid, b"0")
        returned, failures, stop = [0], [], threading.Event()

        def writer():
            while not stop.is_set():
                try:
                    save(store, sid, b"%d" % (returned[0] + 1))
                    returned[0] += 1
                except StoreUnavailable as error:
                    failures.append(error)
            store.close()

        thread = threading.Thread(target=writer)
        thread.start()
        until(lambda: returned[0] > 50)
        own_mariadb.kill()
        until(lambda: failures)
        own_mariadb.start()
        count = returned[0]
        until(lambda: returned[0] > count + 50)
        stop.set()
        thread.join()
        assert int(store.load(sid).data) == returned[0]


def test_stalled_mariadb_costs_one_timeout(own_mariadb):
    url = parse(own_mariadb.url("sessions"))
    with opened(url) as patient, contextlib.closing(MysqlStore(url, timeout=0.5)) as store:
        sid = sids.new()
        save(patient, sid)
        # a busy machine may take half a second for anything
        assert until(lambda: store.load(sid), despite=StoreUnavailable)
        own_mariadb.pause()
        try:
            started = time.monotonic()
            with pytest.raises(StoreUnavailable, match="no answer in time"):
                store.load(sid)
            assert time.monotonic() - started < 10
        finally:
            own_mariadb.resume()
        assert until(lambda: store.load(sid), despite=StoreUnavailable)


def test_connection_that_was_killed_is_made_anew(mariadb, url):
    with opened(url) as store:
        sid = sids.new()
        version = save(store, sid)
        kill_connections(mariadb, url)
        assert store.load(sid) is not None
        kill_connections(mariadb, url)
        version = save(store, sid, b"new", expected=version)
        assert store.load(sid).version == version


def test_next_host_of_the_url_is_tried(mariadb, url):
    with opened(url) as store:
        save(store, sid := sids.new())
    two = mariadb.url(url.name).replace("@127.0.0.1:", "@127.0.0.1:1,127.0.0.1:")
    with contextlib.closing(MysqlStore(parse(two))) as store:
        assert store.load(sid) is not None


@pytest.fixture
def two_servers(mariadb, own_mariadb):
    """Two servers with an empty table of sessions each, and the URL that names both."""
    name = f"faults{next(_numbers)}"
    for server in (mariadb, own_mariadb):
        # an account with all rights may write to a read-only server
        server.execute(
            f"CREATE DATABASE {name}",
            f"CREATE USER '{name}'@'%' IDENTIFIED BY 'x'",
            f"GRANT ALL ON {name}.* TO '{name}'@'%'",
        )
        with opened(parse(server.url(name))):
            pass
    here, there = (f"@127.0.0.1:{server.port}" for server in (mariadb, own_mariadb))
    url = mariadb.url(name, name, "x").replace(here, f"{here},{there[1:]}")
    yield mariadb, own_mariadb, parse(url)
    for server in (mariadb, own_mariadb):
        server.execute("SET GLOBAL read_only = 0", f"DROP DATABASE {name}", f"DROP USER '{name}'")


def rows(server, url):
    return server.execute(f"SELECT COUNT(*) FROM {url.name}.sessions")[0][0]


def test_server_that_has_become_read_only_is_left_for_the_other_one(two_servers):
    first, second, url = two_servers
    with contextlib.closing(MysqlStore(url)) as store:
        save(store, sids.new())
        first.execute("SET GLOBAL read_only = 1")
        with store.lock(sids.new(), 1):
            save(store, sids.new())
            save(store, sids.new())
        assert (rows(first, url), rows(second, url)) == (1, 2)
        first.execute("SET GLOBAL read_only = 0")
        second.execute("SET GLOBAL read_only = 1")
        save(store, sids.new())
        assert (rows(first, url), rows(second, url)) == (2, 2)


def test_server_that_takes_changes_is_preferred_and_a_read_only_one_is_better_than_none(
    two_servers,
):
    first, second, url = two_servers
    first.execute("SET GLOBAL read_only = 1")
    with contextlib.closing(MysqlStore(url)) as store:
        sid = sids.new()
        version = save(store, sid)
        assert (rows(first, url), rows(second, url)) == (0, 1)
        second.execute("SET GLOBAL read_only = 1")
        store.close()
        assert store.load(sids.new()) is None
        with pytest.raises(StoreUnavailable, match="read-only"):
            save(store, sid, expected=version)


def test_sql_session_larger_than_the_servers_packet_is_too_large_every_time(mariadb, url):
    with opened(url) as store:
        mariadb.execute("SET GLOBAL max_allowed_packet = 1048576")
        try:
            store.close()
            sid = sids.new()
            save(store, sid, b"kept")
            for data in (b"x" * 1_100_000, b"'" * 600_000):
                for _ in range(2):
                    with pytest.raises(RecordTooLarge, match="max_allowed_packet"):
                        save(store, sid, data)
            assert store.load(sid).data == b"kept"
            save(store, sid, b"x" * 400_000)
        finally:
            mariadb.execute("SET GLOBAL max_allowed_packet = 16777216")


def test_account_of_a_plugin_that_pymysql_lacks_is_one_clear_line(mariadb, url):
    user = f"plugin{next(_numbers)}"
    mariadb.execute("INSTALL SONAME 'auth_ed25519'")
    try:
        mariadb.execute(f"CREATE USER '{user}'@'%' IDENTIFIED VIA ed25519 USING PASSWORD('x')")
        mariadb.execute(f"GRANT ALL ON {url.name}.* TO '{user}'@'%'")
        store = MysqlStore(parse(mariadb.url(url.name, user, "x")))
        with pytest.raises(StoreUnavailable, match=r"ed25519.*mysql_native_password") as caught:
            store.load(sids.new())
        assert "\n" not in str(caught.value)
    finally:
        mariadb.execute(f"DROP USER '{user}'@'%'", "UNINSTALL SONAME 'auth_ed25519'")


def test_lock_of_a_lost_connection_is_free(mariadb, url):
    with opened(url) as store, opened(url) as other:
        sid = sids.new()
        held = store.lock(sid, 1)
        with pytest.raises(LockTimeout):
            other.lock(sid, 0)
        kill_connections(mariadb, url)
        other.lock(sid, 60).release()
        held.release()


def test_missing_table_is_an_error_that_names_it(url):
    store = MysqlStore(url)
    with pytest.raises(StoreUnavailable, match=r"sessions.*doesn't exist"):
        save(store, sids.new())
    store.close()


def test_table_is_partitioned_some_hours_ahead(mariadb, url):
    before = time.time()
    with opened(url):
        names = partitions(mariadb, url)
    assert len(names) == AHEAD
    assert before < int(names[0][1:]) <= time.time() + PERIOD


def test_sweep_drops_whole_partitions_and_adds_new_ones(mariadb, url):
    # the clock stands, or a period might end in between
    now, moved = time.time(), [0.0]
    with opened(url, clock=lambda: now + moved[0]) as store:
        for _ in range(20):
            save(store, sids.new(), accessed=now)
        before = partitions(mariadb, url)
        moved[0] = 4 * PERIOD
        mariadb.forget_statements()
        assert store.sweep(Pace.flat_out()).deleted == 20
        assert not mariadb.statements("DELETE FROM")
        after = partitions(mariadb, url)
        assert after[0] == before[4]
        assert len(after) == AHEAD


def test_partition_that_others_know_as_the_last_one_is_not_dropped(mariadb, url, monkeypatch):
    """After hours without a sweep they save into it until they look again."""
    moved = [0.0]

    def clock():
        return time.time() + moved[0]

    with opened(url, clock=clock) as store, contextlib.closing(MysqlStore(url, clock=clock)) as own:
        save(store, sids.new())
        moved[0] = (AHEAD + 3) * PERIOD
        save(store, live := sids.new(), accessed=clock())
        own_move = own._move_living

        def move(*args):
            through = own_move(*args)
            save(store, late, accessed=clock())
            return through

        monkeypatch.setattr(own, "_move_living", move)
        late = sids.new()
        assert own.sweep(Pace.flat_out()).deleted == 1
        save(store, late, accessed=clock())
        assert own.sweep(Pace.flat_out()).finished
        assert store.load(late) is not None and store.load(live) is not None
        # after twenty minutes nobody does so any more
        last = max(own._were_last)
        own._were_last.clear()
        monkeypatch.undo()
        assert own.sweep(Pace.flat_out()).deleted == 0
        assert (f"p{last}",) not in partitions(mariadb, url)
        assert store.load(late) is not None and store.load(live) is not None


def test_sessions_end_after_a_sweep_by_a_clock_that_was_ahead(mariadb, url):
    """It has dropped all partitions but those of its own time."""
    moved = [365 * 86400.0]
    with opened(url, clock=lambda: time.time() + moved[0]) as store:
        store.sweep(Pace.flat_out())
        moved[0] = 0.0
        save(store, ended := sids.new(), accessed=time.time() - 2 * PERIOD)
        save(store, live := sids.new())
        assert store.sweep(Pace.flat_out()).deleted == 1
        assert store.load(live) is not None and store.load(ended) is None
        assert mariadb.execute(f"SELECT COUNT(*) FROM {url.name}.sessions") == [(1,)]


def test_account_that_may_not_alter_the_table_sweeps_row_by_row(mariadb, url):
    moved = [0.0]
    user = f"poor{next(_numbers)}"
    with opened(url):
        pass
    mariadb.execute(
        f"CREATE USER '{user}'@'%' IDENTIFIED BY 'x'",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {url.name}.* TO '{user}'@'%'",
    )
    poor = parse(mariadb.url(url.name, user, "x"))
    with contextlib.closing(MysqlStore(poor, clock=lambda: time.time() + moved[0])) as store:
        for _ in range(250):
            save(store, sids.new())
        moved[0] = 3 * PERIOD
        save(store, live := sids.new(), accessed=store.clock())
        assert store.sweep(Pace.flat_out()).deleted == 250
        moved[0] = 30 * PERIOD
        save(store, live, accessed=store.clock())
        assert store.load(live) is not None


def test_long_transaction_puts_the_sweep_off_and_stops_nobody(mariadb, url):
    moved = [0.0]
    with opened(url, clock=lambda: time.time() + moved[0]) as store:
        save(store, sids.new())
        moved[0] = 4 * PERIOD
        save(store, live := sids.new(), accessed=store.clock())
        with mariadb._connect() as other, other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(f"SELECT COUNT(*) FROM {url.name}.sessions")
            assert store.sweep(Pace.flat_out())[::3] == (0, False)
            assert store.load(live) is not None
            cursor.execute("COMMIT")
        assert store.sweep(Pace.flat_out()).deleted == 1


@pytest.mark.parametrize("later", [0, PERIOD, 4 * PERIOD])
def test_newer_one_of_two_rows_of_a_session_is_taken(mariadb, url, later):
    moved = [0.0]
    with opened(url, clock=lambda: time.time() + moved[0]) as store:
        sid = sids.new()
        save(store, sid, b"older", timeout=86400, accessed=time.time() - 86400 + PERIOD)
        mariadb.execute(
            f"INSERT INTO {url.name}.sessions SELECT id, sweep_after + 7200, created,"
            f" accessed + 7200, timeout, version + 1, username, 'newer' FROM {url.name}.sessions"
        )
        assert store.load(sid).data == b"newer"
        moved[0] = later
        assert store.touch(sid, store.clock()) is True
        assert store.load(sid) is not None
        version = save(store, sid, b"newest", accessed=store.clock())
        assert store.load(sid).data == b"newest"
        save(store, sid, b"swapped", accessed=store.clock(), expected=version)
        assert store.load(sid).data == b"swapped"
        store.delete(sid)
        assert store.load(sid) is None


@pytest.mark.parametrize("table", ["", "a b", "x;y", "a" * 41, "1st", "é"])
def test_table_with_a_strange_name_is_refused(url, table):
    with pytest.raises(ValueError, match="table"):
        MysqlStore(url, table)


# --- memcached


@pytest.fixture
def two_memcached():
    with Memcached() as first, Memcached() as second:
        # a server that only stalls is to count as one that lives
        store = MemcachedStore([first.address, second.address], pause=0.3, timeout=30)
        yield first, second, store
        store.close()


def test_dead_memcached_costs_its_share_of_the_sessions_and_no_errors(two_memcached):
    _, second, store = two_memcached
    ids = [sids.new() for _ in range(200)]
    for sid in ids:
        save(store, sid)
    second.kill()
    left = [sid for sid in ids if store.load(sid) is not None]
    assert 50 < len(left) < 150
    for sid in ids:
        with store.lock(sid, 1):
            save(store, sid, b"new")
        assert store.load(sid).data == b"new"
        assert store.touch(sid, time.time() + 1)


def test_memcached_that_is_back_is_used_again(two_memcached):
    first, second, store = two_memcached
    ids = [sids.new() for _ in range(50)]
    second.kill()
    for sid in ids:
        save(store, sid)
    second.start()
    until(lambda: any(store.load(sid) is None for sid in ids))
    for sid in ids:
        save(store, sid)
    first.kill()
    assert any(store.load(sid) is not None for sid in ids)


def test_memcached_killed_under_load_makes_no_error(two_memcached):
    _, second, store = two_memcached
    errors, turns, stop = [], [0], threading.Event()

    def visitors():
        ids = [sids.new() for _ in range(20)]
        try:
            while not stop.is_set():
                for sid in ids:
                    with store.lock(sid, 5):
                        store.load(sid)
                        save(store, sid)
                turns[0] += 1
        except StoreUnavailable as error:
            errors.append(error)
        finally:
            store.close()

    threads = [threading.Thread(target=visitors) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: turns[0] > 5 or errors)
    second.kill()
    seen = turns[0]
    until(lambda: turns[0] > seen + 20 or errors)
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors


def test_all_memcached_dead_is_a_named_error(two_memcached):
    first, second, store = two_memcached
    save(store, sid := sids.new())
    first.kill()
    second.kill()
    with pytest.raises(StoreUnavailable, match="no memcached server answers"):
        store.load(sid)
    with pytest.raises(StoreUnavailable):
        save(store, sid)
    first.start()
    second.start()
    until(lambda: saved(store, sid))


@pytest.mark.parametrize("sent", [b"VALUE\r\n", b"VALUE x 0 many\r\n", b"SSH-2.0-OpenSSH_9.2\r\n"])
def test_server_that_speaks_something_else_is_a_named_error(sent):
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer():
            with contextlib.suppress(OSError):
                while True:
                    with contextlib.closing(other.accept()[0]) as client:
                        client.recv(1000)
                        client.sendall(sent)

        threading.Thread(target=answer, daemon=True).start()
        store = MemcachedStore([f"127.0.0.1:{other.getsockname()[1]}"], timeout=30)
        with pytest.raises(StoreUnavailable, match="no memcached server answers"):
            store.load(sids.new())
        # accept() in the thread ends
        other.shutdown(socket.SHUT_RDWR)


def test_lock_in_memcached_ends_by_itself_and_is_not_taken_from_its_next_holder():
    with Memcached() as server:
        short, long = (
            MemcachedStore([server.address], lock_life=life, timeout=30) for life in (1, 600)
        )
        sid = sids.new()
        late = short.lock(sid, 0)
        held = long.lock(sid, 60)
        late.release()
        with pytest.raises(LockTimeout):
            long.lock(sid, 0)
        held.release()
        long.lock(sid, 0).release()
        for store in (short, long):
            store.close()


def saved(store, sid):
    with contextlib.suppress(StoreUnavailable):
        save(store, sid)
        return True
    return False


def kill_connections(mariadb, url):
    rows = mariadb.execute(f"SELECT id FROM information_schema.processlist WHERE db = '{url.name}'")
    for (number,) in rows:
        # one that was killed before may still be listed
        with contextlib.suppress(pymysql.err.OperationalError):
            mariadb.execute(f"KILL {number}")


def partitions(mariadb, url):
    rows = mariadb.execute(
        "SELECT partition_name FROM information_schema.partitions"
        f" WHERE table_schema = '{url.name}' ORDER BY partition_ordinal_position"
    )
    return [name for (name,) in rows]
