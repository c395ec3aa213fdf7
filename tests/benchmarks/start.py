"""What a child costs before its first request, and how soon a restarted server serves the cache."""

import os
import pathlib
import socket
import statistics
import time

from PIL import Image

from handlers.quickstart import httpd
from tests.benchmarks._load import row, workplace
from tests.servers.httpd import Httpd, make_images_table

CPU_BAR, MEMORY_BAR, RESTART_BAR = 70.0, 9.0, 1.2
# seconds after which the children are at rest
_CALM = 5.0


def add_arguments(parser):
    """Add what only this benchmark takes."""
    parser.add_argument("--children", type=int, default=64, help="children of the server (64)")
    parser.set_defaults(rounds=3)


def run(args):
    """Return the rows of the benchmark."""
    with workplace() as base:
        return _run(base, args.rounds, args.children)


def _run(base, rounds, children):
    (base / "pictures").mkdir()
    Image.effect_noise((800, 600), 40).convert("RGB").save(base / "pictures" / "a.jpg")
    url = make_images_table(base / "images.db", {f"p{number}": "a.jpg" for number in range(10_000)})
    site = Httpd(
        base / "site", "mod_wsgi", url, base / "pictures", children=children, snapshot=True
    )
    cpu, memory, restarts = [], [], []
    with site.stopped_at_the_end():
        site.start(warm=False)
        assert site.request("/thumbs/200x200/p1.jpg").status == 200
        for _ in range(rounds):
            site.stop()
            restarts.append(_first_answer(site))
            time.sleep(_CALM)
            costs = [_cost(pid) for pid in site.child_pids()]
            cpu.append(statistics.fmean(cost[0] for cost in costs))
            memory.append(statistics.fmean(cost[1] for cost in costs))
    return [
        _row(f"CPU of a child before its first request, of {children}", cpu, "ms", CPU_BAR),
        _row("memory (PSS) of a child before its first request", memory, "MB", MEMORY_BAR),
        _row("from the start of httpd to the first cached thumbnail", restarts, "s", RESTART_BAR),
    ]


def _first_answer(site):
    """Start the server; return the seconds until it answers for a cached thumbnail."""
    started = time.monotonic()
    httpd.start(site.work, httpd.environment(site.server))
    request = b"GET /thumbs/200x200/p1.jpg HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    while True:
        try:
            with socket.create_connection(("127.0.0.1", site.port), 60) as connection:
                connection.sendall(request)
                answer = connection.recv(100)
        except ConnectionError:
            time.sleep(0.005)
            continue
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        return time.monotonic() - started


def _cost(pid):
    """Return the milliseconds of CPU that a process has used, and the megabytes that it has."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    kilobytes = int(rollup.partition("\nPss:")[2].split()[0])
    return ticks * 1000 / os.sysconf("SC_CLK_TCK"), kilobytes / 1024


def _row(case, values, unit, bar):
    value = statistics.median(values)
    return row("start", case, value, unit, bar=f"<= {bar:g}", holds=value <= bar)
