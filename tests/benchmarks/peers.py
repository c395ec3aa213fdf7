"""Whole servers against each other over HTTP: cold thumbnails, a storm on one of them, memory.

All servers run at once and are asked in turn, round after round. CPU time is that of all processes
of a server, and each ratio the median of those within the rounds; below 1, ours takes less.
"""

import concurrent.futures
import contextlib
import http.client
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from handlers.cache import purge
from tests.benchmarks import _peers
from tests.benchmarks._load import ratio, row
from tests.servers import httpd
from tests.support import photograph

CLIENTS = 64
_CHILDREN = 8
#: Pictures of a round, each of its own name.
_EACH = 8
_FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WebP"}
_SHAPES = (("jpg", "fit", 200), ("jpg", "crop", 400), ("png", "fit", 200), ("webp", "fit", 200))
_CASES = [(*shape, clients) for shape in _SHAPES for clients in (1, 4)]
_OURS = "ours"


def run(args):
    """Return the rows of the benchmark."""
    with contextlib.ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="handlers-bench-")))
        base.chmod(0o755)
        pictures = base / "pictures"
        pictures.mkdir()
        photo = photograph(4000, 3000)
        for ext, format in _FORMATS.items():
            photo.save(pictures / f"0.{ext}", format, quality=90)
            for number in range(1, _EACH):
                os.link(pictures / f"0.{ext}", pictures / f"{number}.{ext}")
        servers = {_OURS: stack.enter_context(_ours(base, pictures))}
        for name, start in _peers.ALL.items():
            try:
                servers[name] = stack.enter_context(start(base, pictures))
            except _peers.LeftOut as error:
                print(f"left out: {name}: {error}", file=sys.stderr)
        return [*_cold(servers, args.rounds), *_storm(servers, args.rounds), *_memory(servers)]


@contextlib.contextmanager
def _ours(base, pictures):
    """Run this package as it is installed, with a cache that each round empties."""
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
        if id == "0":
            # the first of a round
            purge(site.work.cache, rows)
        size = f"{side}x{side}{'-crop' if kind == 'crop' else ''}"
        return f"/thumbs/{size}/{id}-{ext}.jpg"

    with site:
        parent = httpd.httpd.running(site.work)
        yield _peers.Peer(site.port, path, lambda: _peers.tree(parent) + site.maker_pids())


def _cold(servers, rounds):
    rows = []
    for ext, kind, side, clients in _CASES:
        names = [f"{number}.{ext}" for number in range(_EACH)]
        used = {name: [] for name in servers}
        for _ in range(rounds):
            for name, peer in servers.items():
                # what is started on demand is started by then
                _ask(peer, [peer.path(kind, side, picture) for picture in names[:clients]], clients)
                paths = [peer.path(kind, side, picture) for picture in names]
                before = _cpu_seconds(peer.pids())
                statuses, _ = _ask(peer, paths, clients)
                spent = _cpu_seconds(peer.pids()) - before
                if statuses != Counter({200: _EACH}):
                    raise RuntimeError(f"{name}: {paths[0]}: {statuses}")
                used[name].append(spent / _EACH)
        own = statistics.median(used[_OURS]) * 1000
        case = f"cold {ext} {kind} {side}, {clients} clients"
        for name in servers.keys() - {_OURS}:
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
    """Return the CPU time of processes, all their threads, and those of them that have ended."""
    used = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            used += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return used


def _pss(pids):
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) << 10
    return total
