"""Session stores without HTTP: request rates of children, cost of a load, a lock, a sweep.

The rivals are restated from what they do, so that nothing but the algorithm differs: mod_python's
FileSession (one of 7 mutexes for the whole request, the file read and its time set, then truncated
and written anew), and its DbmSession, which :mod:`handlers.sessions.dbm` keeps. Stores take turns
within each round.
"""

import contextlib
import multiprocessing
import os
import pickle
import random
import resource
import statistics
import tempfile
import time

from handlers.database.url import parse
from handlers.sessions import sid as sids
from handlers.sessions.dbm import DbmStore
from handlers.sessions.file import FileStore
from handlers.sessions.memcached import MemcachedStore
from handlers.sessions.mysql import MysqlStore
from handlers.sessions.serial import Serializer
from handlers.sessions.sqlite import SqliteStore
from handlers.sessions.store import Record
from handlers.sessions.sweep import Pace
from tests.servers.mariadb import MariaDB
from tests.servers.memcached import Memcached

fork = multiprocessing.get_context("fork")
_CHILDREN = 8
_SESSIONS = 2000
_MUTEXES = 7
_TURN = 0.7
_LOOPS = 20_000
_EXPIRED = 33_000
# a pickle of about 1 KB
_VALUE = {f"key{number}": f"{number:040d}" for number in range(19)}
_TIMEOUT = 1800


def add_arguments(parser) -> None:
    """Add this benchmark's own arguments."""
    parser.add_argument("--sessions", type=int, default=100_000, help="live sessions in the sweep")
    parser.add_argument("--directory", help="where the files are to lie, to choose a file system")


def run(args) -> list[dict]:
    """Return one row for each case: its median, and its ratio to the rival it is held against."""
    rounds = args.rounds or 5
    with tempfile.TemporaryDirectory(dir=args.directory) as directory:
        rows = _requests(directory, rounds)
        rows += _loads(directory, rounds)
        rows += _locks(directory, rounds)
        rows += _sweep(directory, args.sessions)
    return rows


class Stock:
    """mod_python's FileSession: what it does to locks and files for one request."""

    def __init__(self, path: str):
        self.path = path
        self._mutexes = [fork.Lock() for _ in range(_MUTEXES)]
        for number in range(256):
            os.makedirs(f"{path}/{number:02x}", 0o750)

    def request(self, sid: str) -> None:
        """Load, change and save."""
        session = {}
        with self._mutexes[hash(sid) % _MUTEXES]:
            try:
                name = os.path.join(os.path.join(self.path, sid[0:2]), sid)
                with open(name, "rb") as file:
                    content = pickle.load(file)
                    if time.time() - content["_accessed"] <= content["_timeout"]:
                        os.utime(name, None)
                created = content["_created"]
                session.update(content["_data"])
            except FileNotFoundError:
                created = time.time()
                session.update(_VALUE)
            accessed = time.time()
            session["hits"] = session.get("hits", 0) + 1
            content = {
                "_data": session.copy(),
                "_created": created,
                "_accessed": accessed,
                "_timeout": _TIMEOUT,
            }
            folder = os.path.join(self.path, sid[0:2])
            if os.path.exists(folder):
                with open(os.path.join(folder, sid), "wb") as file:
                    pickle.dump(content, file, 2)

    def close(self) -> None:
        """Do nothing: it keeps nothing open."""


class Ours:
    """One of our stores, with the lock and the serialiser of a session."""

    def __init__(self, store):
        self.store = store
        self._serializer = Serializer("pickle")
        self.close = store.close

    def request(self, sid: str) -> None:
        """Load, change and save."""
        store, now = self.store, time.time()
        with store.lock(sid, 30) as held:
            record = store.load(sid, held)
            value = self._serializer.loads(record.data, sid) if record else dict(_VALUE)
            value["hits"] = value.get("hits", 0) + 1
            data = self._serializer.dumps(value, sid)
            created = record.created if record else now
            store.save(sid, Record(data, created, now, _TIMEOUT), held=held)


def _requests(directory: str, rounds: int) -> list[dict]:
    with contextlib.ExitStack() as servers:
        mariadb = servers.enter_context(MariaDB(os.path.join(directory, "db")))
        mariadb.execute("CREATE DATABASE sessions")
        mysql = MysqlStore(parse(mariadb.url("sessions")))
        mysql.create()
        memcached = servers.enter_context(Memcached())
        stores = {
            "stock FileSession": Stock(f"{directory}/stock"),
            "file": Ours(FileStore(f"{directory}/file")),
            "file, sync": Ours(FileStore(f"{directory}/sync", sync=True)),
            "dbm (DbmSession)": Ours(DbmStore(f"{directory}/dbm/sessions.dbm")),
            "sqlite": Ours(SqliteStore(f"{directory}/sqlite.db")),
            "mysql": Ours(mysql),
            "memcached": Ours(MemcachedStore([memcached.address])),
        }
        ids = [sids.new() for _ in range(_SESSIONS)]
        for store in stores.values():
            for sid in ids:
                store.request(sid)
            store.close()
        rates = {name: [] for name in stores}
        for _ in range(rounds):
            for name, store in stores.items():
                rates[name].append(_rate(store, ids))
    rows = [
        _row(f"load + change + save, {name}", figures, "1/s", "stock", rates["stock FileSession"])
        for name, figures in rates.items()
    ]
    rows[1] = _held(rows[1], 5, rows[1]["ratio"] >= 5)
    return rows + _alone(stores["stock FileSession"], stores["file"], ids, rounds)


def _alone(stock, ours, ids: list[str], rounds: int) -> list[dict]:
    """Return how long one request takes where no other is under way."""
    chance = random.Random(1)
    theirs, mine = _timed(
        rounds,
        lambda: stock.request(chance.choice(ids)),
        lambda: ours.request(chance.choice(ids)),
        loops=_LOOPS // 10,
    )
    row = _row("load + change + save, file, one child", mine, "us", "stock", theirs)
    return [_held(row, 0.2, row["ratio"] <= 0.2)]


def _rate(store, ids: list[str]) -> float:
    counts = fork.Queue()

    def child(seed: int) -> None:
        order = random.Random(seed)
        ends = time.monotonic() + _TURN
        count = 0
        while time.monotonic() < ends:
            store.request(order.choice(ids))
            count += 1
        store.close()
        counts.put(count)

    children = [fork.Process(target=child, args=(seed,)) for seed in range(_CHILDREN)]
    started = time.monotonic()
    for process in children:
        process.start()
    total = sum(counts.get() for _ in children)
    seconds = time.monotonic() - started
    for process in children:
        process.join()
    return total / seconds


def _loads(directory: str, rounds: int) -> list[dict]:
    store = FileStore(f"{directory}/file")
    sid = sids.new()
    data = Serializer("pickle").dumps(_VALUE, sid)
    store.save(sid, Record(data, time.time(), time.time(), _TIMEOUT))
    key = sids.key(sid)
    path = f"{store.path}/{key[:2]}/{key}"

    def plain():
        with open(path, "rb") as file:
            file.read()

    def bare():
        fd = os.open(path, os.O_RDONLY)
        os.read(fd, 4096)
        os.close(fd)

    load, read, system = _timed(rounds, lambda: store.load(sid), plain, bare)
    row = _row("load, nothing changed", load, "us", "open + read", read)
    return [
        _held(row, 1.7, row["ratio"] <= 1.7),
        _row("load, nothing changed", load, "us", "its 3 bare system calls", system),
    ]


def _locks(directory: str, rounds: int) -> list[dict]:
    store = FileStore(f"{directory}/file")
    sid = sids.new()
    lock_file = f"{directory}/lock"

    def ours():
        store.lock(sid, 5).release()

    def made_and_unlinked():
        os.close(os.open(lock_file, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.unlink(lock_file)

    mine, theirs = _timed(rounds, ours, made_and_unlinked)
    return [_row("lock and release", mine, "us", "lock file", theirs)]


def _timed(rounds: int, *functions, loops: int = _LOOPS) -> list[list[float]]:
    """Return, for each function, its microseconds a call in each round."""
    figures = [[] for _ in functions]
    for _ in range(rounds):
        for function, found in zip(functions, figures, strict=True):
            started = time.perf_counter()
            for _ in range(loops):
                function()
            found.append((time.perf_counter() - started) / loops * 1e6)
    return figures


def _sweep(directory: str, sessions: int) -> list[dict]:
    """Sweep in a child of its own, as a site does, and look at what it cost that child."""
    path = f"{directory}/swept"
    store = FileStore(path)
    now = time.time()
    data = Serializer("pickle").dumps(_VALUE, sids.new())
    for number in range(sessions + _EXPIRED):
        then = now if number < sessions else now - 2 * _TIMEOUT
        store.save(sids.new(), Record(data, then, then, _TIMEOUT))
    costs = fork.Queue()

    def child(expired: int) -> None:
        before, size = resource.getrusage(resource.RUSAGE_SELF), _resident()
        swept = FileStore(path).sweep(Pace.flat_out())
        after = resource.getrusage(resource.RUSAGE_SELF)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        assert swept.finished and swept.deleted == expired
        costs.put((seconds, _resident() - size))

    found = []
    for expired in (_EXPIRED, 0):
        process = fork.Process(target=child, args=(expired,))
        process.start()
        found.append(costs.get())
        process.join()
    (both, grown), (scan, _) = found
    name = f"of {sessions}"
    return [
        _held(_row(f"sweep, {_EXPIRED} expired {name}", [both], "s CPU"), 6, both <= 6),
        _row(f"sweep, nothing expired {name}", [scan], "s CPU"),
        _row("the deletions alone", [both - scan], "s CPU"),
        _held(_row("growth of the sweeping child", [grown], "MB"), 10, grown <= 10),
    ]


def _resident() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def _row(case, figures, unit, rival=None, rival_figures=None) -> dict:
    ratio = None
    if rival_figures:
        ratio = statistics.median(a / b for a, b in zip(figures, rival_figures, strict=True))
    return {
        "bench": "sessions-micro",
        "case": case,
        "value": float(statistics.median(figures)),
        "unit": unit,
        "rival": rival,
        "ratio": ratio,
        "bar": None,
        "holds": None,
    }


def _held(row: dict, bar: float, holds: bool) -> dict:
    return {**row, "bar": bar, "holds": holds}
