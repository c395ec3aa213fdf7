"""The lookup of ROWS rows by many children: dict, snapshot, memcached, a query per request."""

import contextlib
import dataclasses
import json
import os
import pathlib
import random
import resource
import shutil
import statistics
import subprocess
import sys
import time

from handlers.lookup import Lookup, state
from handlers.lookup import options as lookup_options
from handlers.lookup.refresh import Refresher
from handlers.quickstart import httpd
from handlers.restart import server_start
from tests.benchmarks._load import row, workplace
from tests.servers.httpd import Httpd, free_port
from tests.servers.mariadb import MariaDB

# a dict of more would not fit into a machine's memory more than a few times
_DICT_ROWS = 1_000_000
_ASKED = 100_000
# short, so that the median leaves out those in which the machine did something else
_BATCH = 5
_MEMCACHED_ROWS = 200_000
# rows that change before each of so many refreshes
_CHANGED, _CHANGES = 100, 5


def add_arguments(parser):
    """Add the benchmark's own arguments."""
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows (%(default)s)")
    parser.add_argument("--children", type=int, default=32, help="children (%(default)s)")


def run(args):
    """Return the rows of the benchmark."""
    options = ("--innodb-buffer-pool-size=512M", "--innodb-flush-log-at-trx-commit=0")
    with workplace() as base, MariaDB(base / "mariadb", options=options) as server:
        _fill(server, args.rows)
        return list(_measure(base, server, args.rows, args.children))


def _fill(server, count):
    server.execute(
        "CREATE DATABASE site",
        "CREATE TABLE site.images (id VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin"
        " PRIMARY KEY, path VARCHAR(255),"
        " changed TIMESTAMP NOT NULL DEFAULT '2020-01-01 00:00:00', KEY (changed))",
        "INSERT INTO site.images (id, path) SELECT CONCAT('p', LPAD(seq, 8, '0')), CONCAT('2019/',"
        f" seq MOD 365, '/picture-', seq, '.jpg') FROM site.seq_0_to_{count - 1}",
    )


def _measure(base, server, count, children):
    cache = base / "cache"
    cache.mkdir()
    given = {
        "lookup.database": server.url("site"),
        "lookup.snapshot": str(cache / "snapshot"),
        "lookup.refresh": "0",
    }
    yield from _warm_up(given, count)
    yield from _ready(given)
    yield from _gets(given, count)
    yield from _memcached(count)
    yield from _memory(given, count, children)
    yield from _first_answer(base, server, count, children)
    yield from _changes(server, given, count)


def _warm_up(given, count):
    done = _alone("warm_up", given, count)
    yield row("lookup", f"warm-up of {count} rows", done["seconds"], "s")
    yield row("lookup", "warm-up, peak memory", done["peak"], "MB")
    size = os.path.getsize(given["lookup.snapshot"]) / 1e6
    yield row("lookup", "snapshot, size", size, "MB")


def _ready(given):
    took = _alone("ready", given, 0)["milliseconds"]
    value = statistics.median(took)
    yield row("lookup", "child ready after fork", value, "ms", bar="<= 50", holds=value <= 50)


def _gets(given, count):
    took = _alone("gets", given, count)
    dictionary = took["dict"]
    bars = {"dict": 0.3, "snapshot": 5.0}
    for name, value in took.items():
        bar = bars.get(name)
        yield row(
            "lookup",
            f"get, {name}",
            value,
            "us",
            "dict",
            value / dictionary,
            f"<= {bar:g}" if bar else None,
            value <= bar if bar else None,
        )


def _changes(server, given, count):
    """Change some rows several times, and refresh a snapshot that goes by ``lookup.updated``."""
    path = given["lookup.snapshot"] + "-of-changes"
    given = {
        **given,
        "lookup.snapshot": path,
        "lookup.refresh": "1",
        "lookup.updated": "changed",
        "lookup.overlap": "0",
    }
    refresher = Refresher(lookup_options.from_mapping(given))
    _work(refresher)
    found = []
    for turn in range(_CHANGES + 1):
        first = random.randrange(count - _CHANGED * 1000 - 1) if count > _CHANGED * 1000 else 0
        ids = ", ".join(f"'{_id(first + number)}'" for number in range(_CHANGED))
        server.execute(
            f"UPDATE site.images SET path = 'changed-{turn}.jpg', changed = NOW()"
            f" WHERE id IN ({ids})"
        )
        # a refresh is due a second after the last one
        time.sleep(1.1)
        before = _written()
        started = time.monotonic()
        _work(refresher)
        found.append((time.monotonic() - started, (_written() - before) / 1e6))
    # the first one also counts all rows, as a hundredth of the time may go into that
    seconds, written = (statistics.median(values) for values in zip(*found[1:], strict=True))
    name = f"refresh of {_CHANGED} changed rows among {count}"
    yield row("lookup", f"{name}, with a count of all rows", found[0][0], "s")
    yield row("lookup", name, seconds, "s", bar="<= 1", holds=seconds <= 1)
    yield row("lookup", f"{name}, written", written, "MB", bar="<= 1", holds=written <= 1)


class _Once:
    """What an elected worker is to a refresher: it stops once there is a snapshot."""

    stopped = False

    def rest(self, seconds):
        time.sleep(seconds)
        return not self.stopped

    def stop(self):
        self.stopped = True


def _work(refresher):
    worker = _Once()
    with refresher.elect(None) as lock:
        refresher.work(lock, worker, None, worker.stop)
    assert worker.stopped, "no new snapshot was written"


def _written() -> int:
    """Return the bytes that this process has written so far."""
    with open("/proc/self/io", encoding="ascii") as file:
        return int(dict(line.split(": ") for line in file)["wchar"])


def _memcached(count):
    try:
        from pymemcache.client.base import Client
    except ImportError:
        return
    program = shutil.which("memcached", path="/usr/bin:/usr/sbin:/bin")
    if program is None:
        return
    port = free_port()
    command = [program, "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-m", "256"]
    if os.geteuid() == 0:
        command += ["-u", "nobody"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        kept = min(count, _MEMCACHED_ROWS)
        with contextlib.closing(_connected(Client, port)) as client:
            for start in range(0, kept, 5000):
                numbers = range(start, min(start + 5000, kept))
                client.set_many({_id(number): _path(number) for number in numbers}, noreply=True)
            ids = _sample(kept, 5000)
            assert client.get(ids[0]) is not None
            value = _median(client.get, ids)
        yield row("lookup", "get, memcached", value, "us")
    finally:
        process.terminate()
        process.wait()


def _connected(client_class, port):
    deadline = time.monotonic() + 10
    while True:
        client = client_class(("127.0.0.1", port))
        try:
            client.version()
            return client
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _memory(given, count, children):
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(_child("memory", given, count)) for _ in range(children)]
        for child in started:
            child.wait_until_ready()
        # all of them at once, as the pages that only one has touched count as its own
        for child in started:
            child.go()
        found = [child.result() for child in started]
    with _child("dict_memory", given, min(count, _DICT_ROWS)) as child:
        child.wait_until_ready()
        child.go()
        dictionary = child.result()
    for kind, bar in (("private", 12.0), ("proportional", None)):
        value = statistics.median(measured[kind] for measured in found)
        yield row(
            "lookup",
            f"{kind} memory of a child, {children} children",
            value,
            "MB",
            f"dict of {min(count, _DICT_ROWS)} rows",
            value / dictionary[kind],
            f"<= {bar:g}" if bar else None,
            value <= bar if bar else None,
        )
    yield row("lookup", "private memory, dict per child", dictionary["private"], "MB")


def _first_answer(base, server, count, children):
    pictures = base / "pictures"
    (pictures / "2019" / "1").mkdir(parents=True)
    (pictures / _path(1)).write_bytes(b"\xff\xd8\xff")
    site = Httpd(base / "site", "mod_wsgi", server.url("site"), pictures, children=children)
    snapshot = pathlib.Path(site.work.snapshot)
    site.settings(f"lookup.snapshot = {snapshot}")
    took = {}
    for case in ("without", "with"):
        start = time.perf_counter()
        httpd.write_configuration(site.work, site.port, children, "mod_wsgi")
        httpd.start(site.work)
        try:
            _wait_for_answer(site)
            took[case] = (time.perf_counter() - start) * 1000
            deadline = time.monotonic() + 600
            while not snapshot.exists() and time.monotonic() < deadline:
                time.sleep(0.1)
        finally:
            site.stop()
    for case, value in took.items():
        yield row("lookup", f"start of httpd to first answer, {case} a snapshot", value, "ms")


def _alone(work, given, count):
    with _child(work, given, count) as child:
        return child.result()


def _wait_for_answer(site):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(ConnectionError):
            if site.request(f"/images/{_id(1)}").status == 200:
                return
        time.sleep(0.005)
    raise RuntimeError(f"no answer:\n{site.log()[-2000:]}")


class _child:
    """A process of its own that runs one of the functions below."""

    def __init__(self, work, given, count):
        root = str(pathlib.Path(__file__).parents[2])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.lookup", work, str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
        )
        print(json.dumps(given), file=self._process.stdin, flush=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def wait_until_ready(self):
        assert self._process.stdout.readline() == "ready\n"

    def go(self):
        print(file=self._process.stdin, flush=True)

    def result(self):
        return json.loads(self._process.stdout.readline())


def warm_up(given, count):
    """Write the snapshot."""
    start = time.monotonic()
    done = Refresher(lookup_options.from_mapping(given)).refresh(lock_timeout=0)
    assert done.read == count
    return {
        "seconds": time.monotonic() - start,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def ready(given, count):
    """Fork, and measure how long the child takes to its first row."""
    pictures = Lookup.from_options(given)
    took = []
    for _ in range(21):
        read, write = os.pipe()
        start = time.perf_counter()
        child = os.fork()
        if child == 0:
            try:
                pictures.warm()
                assert pictures[_id(1)].path == _path(1)
                os.write(write, str(time.perf_counter() - start).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        took.append(float(os.read(read, 100)) * 1000)
        os.close(read)
        os.close(write)
    return {"milliseconds": took}


def gets(given, count):
    """Measure one get, by where its answer comes from."""
    pictures = _refreshed({**given, "lookup.queries": "1000"})
    # so that the pages are in this process's tables, as they are in a child that has run a while
    for id in _sample(count, _ASKED, seed=1):
        assert pictures[id] is not None
    snapshot = _median(pictures.get, _sample(count, _ASKED, seed=2))
    hot = _sample(count, 5000, seed=3)
    for _ in range(2):
        dictionary = _median(pictures.get, hot)
    unknown = [f"none{number}" for number in range(500)]
    for id in unknown:
        assert pictures.get(id) is None
    missing = _median(pictures.get, unknown)
    read = lookup_options.from_mapping(given)
    database = Lookup(dataclasses.replace(read, snapshot=None))
    query = _median(database.get, _sample(count, 3000, seed=4))
    for found in (pictures, database):
        found.close()
    return {
        "dict": dictionary,
        "snapshot": snapshot,
        "missing id, remembered": missing,
        "query to the database": query,
    }


def memory(given, count):
    """Measure what the lookup adds to a child's memory."""
    before = _used()
    pictures = _refreshed(given)
    for id in _sample(count, _ASKED, seed=os.getpid()):
        assert pictures[id] is not None
    _wait_for_go()
    return {kind: value - before[kind] for kind, value in _used().items()}


def dict_memory(given, count):
    """Measure the same of a dict of all rows."""
    query = f"SELECT id, path FROM images LIMIT {count}"
    pictures = Lookup.from_options(
        {
            "lookup.database": given["lookup.database"],
            "lookup.query": query,
            "lookup.query_one": "SELECT id, path FROM images WHERE id = :id",
        }
    )
    before = _used()
    assert pictures.warm() == count
    _wait_for_go()
    return {kind: value - before[kind] for kind, value in _used().items()}


def _refreshed(given):
    """Open and warm a Lookup; return it when none of the children reads the table any more."""
    pictures = Lookup.from_options(given)
    pictures.warm()
    deadline = time.monotonic() + 600
    while True:
        found = state.read(given["lookup.snapshot"] + ".state")
        if found is not None and found.knows(server_start()):
            return pictures
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _wait_for_go():
    print("ready", flush=True)
    sys.stdin.readline()


def _used():
    found = {"private": 0.0, "proportional": 0.0}
    with open("/proc/self/smaps_rollup", encoding="ascii") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name in ("Private_Clean", "Private_Dirty"):
                found["private"] += int(value.split()[0]) / 1024
            elif name == "Pss":
                found["proportional"] = int(value.split()[0]) / 1024
    return found


def _median(get, ids):
    clock = time.perf_counter
    took = []
    for start in range(0, len(ids), _BATCH):
        batch = ids[start : start + _BATCH]
        begun = clock()
        for id in batch:
            get(id)
        took.append((clock() - begun) / len(batch))
    return statistics.median(took) * 1e6


def _sample(count, number, seed=0):
    chosen = random.Random(seed)
    return [_id(chosen.randrange(count)) for _ in range(number)]


def _id(number):
    return f"p{number:08d}"


def _path(number):
    return f"2019/{number % 365}/picture-{number}.jpg"


def _main():
    works = {work.__name__: work for work in (warm_up, ready, gets, memory, dict_memory)}
    work, count = works[sys.argv[1]], int(sys.argv[2])
    given = json.loads(sys.stdin.readline())
    print(json.dumps(work(given, count)), flush=True)
    # a page that another child let go of would count as one's own
    sys.stdin.read()


if __name__ == "__main__":
    _main()
