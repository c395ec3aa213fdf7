"""What tests of several parts do alike: wait, run a command, open a lookup, paint a photograph."""

import contextlib
import gc
import inspect
import os
import random
import shutil
import subprocess
import sys
import threading
import time

from PIL import Image, ImageChops

from handlers.lookup import Lookup

_GRAIN = 3.5  # standard deviation
_PAUSES = (0.002, 0.05)  # seconds between two looks, the first and the longest
_LOOK, _LONGEST_LOOK = 0.02, 0.1  # seconds between two looks at the clock, and what one counts for


def restart(service="apache2"):
    """Return what starts Apache anew on this machine; most containers have no systemd."""
    has_systemd = os.path.isdir("/run/systemd/system")
    return f"systemctl restart {service}" if has_systemd else "apachectl restart"


def until(claim, within=90, despite=()):
    """Wait until *claim* holds, and return what it has returned.

    :param within: seconds; they may be many, as only a test that fails waits for their end.
    :param despite: exceptions of *claim* that mean "not yet".
    """
    deadline = time.monotonic() + within
    pause, longest = _PAUSES
    while True:
        with contextlib.suppress(despite):
            if held := claim():
                return held
        assert time.monotonic() < deadline, f"not within {within} s: {_source(claim)}"
        time.sleep(pause)
        pause = min(pause * 1.3, longest)


@contextlib.contextmanager
def stopwatch():
    """Yield a function that returns the seconds since then.

    Those count that this process could run in: a machine that stands still keeps nobody waiting.
    """
    passed, stopped = [0.0], threading.Event()

    def count():
        last = time.monotonic()
        while not stopped.wait(_LOOK):
            now = time.monotonic()
            passed[0] += min(now - last, _LONGEST_LOOK)
            last = now

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    try:
        yield lambda: passed[0]
    finally:
        stopped.set()
        thread.join()


def remove(directory):
    """Remove a directory in which a process that is about to end may still write."""

    def is_gone():
        shutil.rmtree(directory, ignore_errors=True)
        return not os.path.exists(directory)

    until(is_gone)


def command_line(settings, *arguments) -> list[str]:
    """Return what runs ``modpython-handlers`` with *arguments* and a settings file."""
    return [sys.executable, "-m", "handlers", "--settings", str(settings), *arguments]


def run_command(settings, *arguments, **options) -> subprocess.CompletedProcess:
    """Run :func:`command_line` to its end; it has ``stdout`` and ``stderr`` then, as text.

    :param options: of :func:`subprocess.run`.
    """
    # root becomes the owner of the cache, who need not be able to read the checkout
    places = {"cwd": "/", "timeout": 600}
    line = command_line(settings, *arguments)
    return subprocess.run(line, capture_output=True, text=True, **(places | options))


def open_lookup(url, **options) -> Lookup:
    """Return a Lookup of the database at *url*, with *options* named without their section."""
    given = {f"lookup.{name}": str(value) for name, value in options.items()}
    return Lookup.from_options({"lookup.database": url, **given})


@contextlib.contextmanager
def lookups(url=None, **defaults):
    """Yield :func:`open_lookup` with *defaults*; all that it opens is closed after the block."""
    with contextlib.ExitStack() as opened:

        def open_one(url=url, **options):
            lookup = open_lookup(url, **{**defaults, **options})
            return opened.enter_context(contextlib.closing(lookup))

        yield open_one


@contextlib.contextmanager
def nothing_left():
    """Fail if this process has a file or a child at the end of the block that it had not before.

    What an earlier test has left may go meanwhile.
    """

    def held():
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
            return {("child", pid) for pid in file.read().split()} | {
                ("descriptor", number) for number in os.listdir("/proc/self/fd")
            }

    gc.collect()
    before = held()
    yield
    assert held() <= before


def photograph(width, height, seed=1) -> Image.Image:
    """Return a picture with a photograph's statistics: detail at every size, and grain.

    As a JPEG of quality 90 it has about 2 bits a pixel.
    """
    chance = random.Random(seed)
    picture, rows = None, 4
    while rows < min(width, height) // 4:
        noise = Image.frombytes("RGB", (rows, rows), chance.randbytes(rows * rows * 3))
        octave = noise.resize((width, height), Image.Resampling.BICUBIC)
        picture = octave if picture is None else Image.blend(picture, octave, 0.2)
        rows = int(rows * 2.5)
    grain = Image.effect_noise((width, height), _GRAIN).convert("RGB")
    return ImageChops.add(picture, grain, 1, -128)


def _source(claim) -> str:
    try:
        return inspect.getsource(claim).strip()
    except (OSError, TypeError):
        return repr(claim)
