"""Whole servers against each other over HTTP: hot and cold thumbnails, a storm on one, memory.

All servers run at once and are asked in turn, round after round. CPU time is that of all processes
of a server, and each ratio the median of those within the rounds; below 1, ours takes less.
"""

import concurrent.futures
import contextlib
import http.client
import os
import statistics
import sys
import time
from collections import Counter
from pathlib import Path

from handlers.cache import purge
from tests.benchmarks import _peers
from tests.benchmarks._load import ratio, request_rate, row, workplace
from tests.servers import httpd
from tests.support import photograph

CLIENTS = 64
_CHILDREN = 8
#: Pictures of a round, each of its own name.
_EACH = 8
_STORMS = 3
_HOT_SECONDS = 1.0
_HOT_CONNECTIONS = 4
_FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WebP"}
_SHAPES = (("jpg", "fit", 200), ("jpg", "crop", 400), ("png", "fit", 200), ("webp", "fit", 200))
_CASES = [(*shape, clients) for shape in _SHAPES for clients in (1, 4)]
_PARTS = ("hot", "cold", "storm", "memory")
_OURS = "ours"
# posix-cpu-timers.c: the clock of a process's CPU time, with that of its ended threads
_CLOCK_OF_PROCESS = 2


def add_arguments(parser):
    """Add what only this benchmark takes."""
    parser.add_argument("--rivals", type=Path, help="keep what is installed in this directory")
    parser.add_argument("--only", choices=_PARTS, nargs="+", default=_PARTS, help="these parts")
    formats = {"choices": _FORMATS, "nargs": "+", "default": list(_FORMATS)}
    parser.add_argument("--formats", **formats, help="cold pictures of these formats")


def run(args):
    """Return the rows of the benchmark."""
    with contextlib.ExitStack() as stack:
        base = stack.enter_context(workplace())
        pictures = base / "pictures"
        pictures.mkdir()
        photo = photograph(4000, 3000)
        for ext, format in _FORMATS.items():
            photo.save(pictures / f"0.{ext}", format, quality=90)
            for number in range(1, _EACH):
                os.link(pictures / f"0.{ext}", pictures / f"{number}.{ext}")
        servers = {_OURS: stack.enter_context(_ours(base, pictures))}
        for name, start in _peers.ALL.items():
            directory = (args.rivals or base / "rivals").absolute() / name.replace(" ", "-")
            try:
                servers[name] = stack.enter_context(start(directory, pictures))
            except _peers.LeftOut as error:
                print(f"left out: {name}: {error}", file=sys.stderr)
        cases = [case for case in _CASES if case[0] in args.formats]
        parts = {
            "hot": lambda: _hot(servers, args.rounds),
            "cold": lambda: _cold(servers, cases, args.rounds),
            "storm": lambda: _storm(servers, min(args.rounds, _STORMS)),
            "memory": lambda: _memory(servers),
        }
        for peer in servers.values():
            # each process of a server loads its code with the first request that it gets
            _ask(peer, [peer.path("fit", 200, "0.jpg")] * CLIENTS, CLIENTS)
        return [row for name in _PARTS if name in args.only for row in parts[name]()]


@contextlib.contextmanager
def _ours(base, pictures):
    """Run this package as it is installed."""
    rows = {f"{path.stem}-{path.suffix[1:]}": path.name for path in pictures.iterdir()}
    url = httpd.make_images_table(base / "images.db", rows)
    site = httpd.Httpd(base / "site", "mod_wsgi", url, pictures, children=_CHILDREN)
    # what the others do not limit
    site.settings(
        "thumbnail.sizes = 200x200 400x400-crop\nthumbnail.memory = 1G\nthumbnail.cpu = 60\n"
        "thumbnail.wait = 120\nthumbnail.waiters = 1000"
    )

    def path(kind, side, name):
        id, _, ext = name.partition(".")
        size = f"{side}x{side}{'-crop' if kind == 'crop' else ''}"
        return f"/thumbs/{size}/{id}-{ext}.jpg"

    with site:
        parent = httpd.httpd.running(site.work)
        yield _peers.Peer(
            site.port,
            path,
            lambda: _peers.tree(parent) + site.maker_pids(),
            lambda: purge(site.work.cache, rows),
        )


def _hot(servers, rounds):
    """Ask for one thumbnail over and over; some of the rivals make it anew each time."""
    used, rates = ({name: [] for name in servers} for _ in range(2))
    for _ in range(rounds):
        for name, peer in servers.items():
            path = peer.path("fit", 200, "0.jpg")
            _ask(peer, [path], 1)
            before = _cpu_seconds(peer.pids())
            script = None if peer.keeps_connections else 'wrk.headers["Connection"] = "close"'
            rate = request_rate(peer.port, path, _HOT_SECONDS, _HOT_CONNECTIONS, script).per_second
            spent = _cpu_seconds(peer.pids()) - before
            rates[name].append(rate)
            used[name].append(spent / (rate * _HOT_SECONDS))
    own = statistics.median(used[_OURS]) * 1000
    per_second = {name: statistics.median(values) for name, values in rates.items()}
    case = f"hot jpg fit 200, {per_second[_OURS]:.0f} requests/s"
    return [
        row(
            "peers",
            f"{case} (it {per_second[name]:.0f})",
            own,
            "ms CPU",
            name,
            ratio(used[_OURS], used[name]),
        )
        for name in servers
        if name != _OURS
    ]


def _cold(servers, cases, rounds):
    rows = []
    for ext, kind, side, clients in cases:
        names = [f"{number}.{ext}" for number in range(_EACH)]
        used = {name: [] for name in servers}
        for _ in range(rounds):
            for name, peer in servers.items():
                paths = [peer.path(kind, side, picture) for picture in names]
                # what is started on demand is started by then, and its code loaded
                peer.forget()
                _ask(peer, paths[:clients], clients)
                peer.forget()
                before = _cpu_seconds(peer.pids())
                statuses, _ = _ask(peer, paths, clients)
                spent = _cpu_seconds(peer.pids()) - before
                if statuses != Counter({200: _EACH}):
                    raise RuntimeError(f"{name}: {paths[0]}: {statuses}")
                used[name].append(spent / _EACH)
        own = statistics.median(used[_OURS]) * 1000
        case = f"cold {ext} {kind} {side}, {clients} clients"
        for name in servers:
            if name == _OURS:
                continue
            against = ratio(used[_OURS], used[name])
            bar = 1.0 if ext == "jpg" else None
            holds = None if bar is None else against <= bar
            rows.append(row("peers", case, own, "ms CPU", name, against, bar, holds))
    return rows


def _storm(servers, rounds):
    """Have many clients ask for one cold thumbnail; its time is that of the slowest."""
    rows = []
    for name, peer in servers.items():
        statuses, slowest = Counter(), []
        for _ in range(rounds):
            peer.forget()
            _ask(peer, [peer.path("fit", 200, "0.jpg")], 1)
            paths = [peer.path("crop", 400, "0.jpg")] * CLIENTS
            found, seconds = _ask(peer, paths, CLIENTS)
            statuses += found
            slowest.append(seconds)
        case = f"storm: {CLIENTS} clients, one cold; {dict(statuses)}"
        value = statistics.median(slowest) * 1000
        holds = (set(statuses) == {200} and value < 500) if name == _OURS else None
        bar = "< 500, all 200" if name == _OURS else None
        rows.append(row("peers", case, value, "ms, the slowest", name, None, bar, holds))
    return rows


def _memory(servers):
    return [
        row("peers", "PSS after all this", _pss(peer.pids()) / 2**20, "MB", name)
        for name, peer in servers.items()
    ]


def _ask(peer, paths, clients):
    """Ask for all *paths*; return how often each status came, and the time of the slowest."""

    def ask(path):
        started = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", peer.port, timeout=120)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            return answer.status, time.monotonic() - started
        finally:
            connection.close()

    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(ask, paths))
    return Counter(status for status, _ in answers), max(seconds for _, seconds in answers)


def _cpu_seconds(pids):
    """Return the CPU time of processes, of all their threads, and of their ended children."""
    used = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            used += time.clock_gettime(~pid << 3 | _CLOCK_OF_PROCESS)
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            used += sum(map(int, fields[13:15])) / os.sysconf("SC_CLK_TCK")
    return used


def _pss(pids):
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) << 10
    return total
