"""The attack files against a real child: what they cost it, and the process it makes for them."""

import os
import pathlib
import re
import threading
import time

import pytest

from tests.attacks import ATTACKS, MEGABYTE
from tests.conftest import SERVERS, watched
from tests.servers.httpd import Httpd, make_images_table

#: The bound that README states, and what Python and its libraries have beside: here 31 MB and more
#: with Python 3.11, and 44 with 3.13.
_MOST = (256 + 64) * MEGABYTE


def ids():
    return {re.sub("[^a-z0-9]", "-", name): name for name in ATTACKS}


@pytest.fixture(scope="module")
def attack_files(base):
    root = base / "attacks"
    root.mkdir()
    for id, name in ids().items():
        (root / id).write_bytes(ATTACKS[name][0]())
    yield root
    for path in root.iterdir():
        path.unlink()


@pytest.fixture(scope="module", params=SERVERS)
def victim(request, base, attack_files):
    """A site of one child, whose pictures are the attack files."""
    directory = base / f"victim-{request.param}"
    directory.mkdir()
    url = make_images_table(directory / "images.db", {id: id for id in ids()})
    server = Httpd(directory / "site", request.param, url, attack_files, children=1)
    # the limit that README states
    server.settings("thumbnail.animated = on\nthumbnail.cpu = 5")
    with server:
        yield server


class Watch(threading.Thread):
    """Follows the peak memory of a process and of those that it makes, until it is stopped."""

    def __init__(self, pid):
        super().__init__()
        self._pid = pid
        self._stopped = threading.Event()
        self.peak = self.peak_below = 0
        pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")

    def run(self):
        while not self._stopped.is_set():
            try:
                made = pathlib.Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text()
                for pid in made.split():
                    self.peak_below = max(self.peak_below, peak_of(pid))
            except OSError:
                continue
            time.sleep(0.0005)

    def __enter__(self):
        self._cpu = cpu_seconds(self._pid)
        self.start()
        return self

    def __exit__(self, *exc_info):
        self._stopped.set()
        self.join()
        self.peak = peak_of(self._pid)
        self.cpu = cpu_seconds(self._pid) - self._cpu


def peak_of(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    return int(found[1]) * 1024 if found else 0


def cpu_seconds(pid):
    """Return the CPU time of a process and of its ended children."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("id", ids())
def test_attack_costs_the_child_little(victim, id):
    expected = ATTACKS[ids()[id]][1]
    (pid,) = victim.child_pids()
    for site in watched(victim):
        site.expect(rf"thumbnail 200x200/{id}\.webp: ")
        with Watch(pid) as watch:
            answer = site.request(f"/thumbs/200x200/{id}.webp")
        assert answer.status == (200 if expected == "served" else 404)
        told = re.search(r"peak (\d+) MB", site.log())
        if told:
            assert int(told[1]) * MEGABYTE < _MOST
    assert watch.peak < _MOST
    assert watch.peak_below < _MOST
    assert watch.cpu < 5
    assert victim.child_pids() == [pid]
