"""Servers and pictures that the tests share. Whatever a test starts, it stops by process id.

``--unit`` leaves out the tests that start a server or take seconds. Tests of the handlers on
mod_python are left out where mod_python is not installed, and the last line of the run says how
many those are.
"""

import contextlib
import functools
import importlib
import logging
import os
import pathlib
import signal
import tempfile

import pytest
from PIL import Image

from handlers import faults, state_directory
from handlers.maker import client
from handlers.mod_python import install_as_mod_python
from tests.parts import is_no_unit_test, is_wholly_slow, needs_mod_python
from tests.servers.httpd import Httpd, has_mod_python, make_images_table, makers_of
from tests.servers.mariadb import MariaDB
from tests.servers.pair import FILE, start_pair
from tests.servers.quickstart import Quickstart
from tests.servers.recording import Recording
from tests.support import remove, until

# Handlers import mod_python by its own name, as they do in a server.
install_as_mod_python()
# The runtime routes the package's log when it is imported; tests look at it by caplog instead.
importlib.import_module("handlers.runtime.entry")
logging.getLogger("handlers").handlers.clear()
logging.getLogger("handlers").setLevel(logging.NOTSET)

SERVERS = ("mod_wsgi", "mod_python")
_NOT_COLLECTED = pytest.StashKey[int]()


def pytest_addoption(parser):
    """Add the options that ``tests/run`` documents."""
    parser.addoption("--unit", action="store_true", help="only quick tests that start no server")
    parser.addoption(
        "--whole", action="append", default=[], metavar="FILE", help="with --unit: all of FILE, too"
    )
    parser.addoption(
        "--record-oracle", action="store_true", help="record what real mod_python answers"
    )
    parser.addoption(
        "--record-pictures", action="store_true", help="record what Chromium shows of pictures"
    )


def pytest_configure(config):
    """Give what the tests start the usual signals, and refuse to record what is not there.

    A shell that starts the run in the background has it, and all it starts, ignore two of them,
    and nohup a third, from which the run itself stays safe.
    """
    usual = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGQUIT: signal.SIG_DFL,
        # what has a handler here has none in a program that is started
        signal.SIGHUP: lambda *_: None,
    }
    for number, handler in usual.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    if hasattr(config, "workerinput"):
        # a worker of pytest-xdist ends with the process that started it
        signal.signal(signal.SIGHUP, usual[signal.SIGHUP])
    if config.getoption("--record-oracle") and not has_mod_python():
        raise pytest.UsageError("--record-oracle: mod_python is not installed on this machine")


def pytest_ignore_collect(collection_path, config):
    """Do not even import a file of which the quick part takes nothing."""
    if config.getoption("--unit") and collection_path.suffix == ".py":
        whole = {config.rootpath / name for name in config.getoption("--whole")}
        if collection_path not in whole and is_wholly_slow(collection_path):
            return True
    return None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Leave out what the part or the machine has no place for; count what the machine has not."""
    if config.getoption("--unit"):
        whole = {config.rootpath / name for name in config.getoption("--whole")}
        _leave_out(lambda item: item.path not in whole and is_no_unit_test(item), config, items)
    if not has_mod_python():
        count = config.stash[_NOT_COLLECTED] = _leave_out(needs_mod_python, config, items)
        if hasattr(config, "workeroutput"):
            # for pytest_testnodedown
            config.workeroutput["not collected"] = count


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """Take the number of tests that are not collected from a worker, which all have the same."""
    # one that has crashed has no output
    output = getattr(node, "workeroutput", {})
    node.config.stash[_NOT_COLLECTED] = output.get("not collected", 0)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session):
    """Say at the very end, after pytest's own summary, what was not collected."""
    result = yield
    count = session.config.stash.get(_NOT_COLLECTED, 0)
    if count and not hasattr(session.config, "workeroutput"):
        print(
            f"{count} tests of the handlers on mod_python were not collected:"
            " this machine has no mod_python"
        )
    return result


@pytest.fixture
def cache(monkeypatch):
    """A cache directory whose makers stay for the test, and are gone after it."""
    monkeypatch.setattr(client, "_not_before", {})
    monkeypatch.setattr(client, "IDLE", 600.0)
    with tempfile.TemporaryDirectory() as directory:
        state_directory.ensure(directory)
        yield directory
        for pid in makers_of(directory):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # what still runs may write into the directory that is removed
        until(lambda: not makers_of(directory))


@pytest.fixture(autouse=True)
def nothing_told():
    """Let a test see what the package logs of a fault that an earlier test met, too."""
    faults._told.clear()


@pytest.fixture(scope="session")
def base():
    """A directory that Apache's user can reach, gone after the run."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="handlers-"))
    directory.chmod(0o755)
    yield directory
    remove(directory)


@pytest.fixture
def public_dir(base, request):
    """A directory of this test that Apache's user can reach."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="t-", dir=base))
    directory.chmod(0o755)
    return directory


@pytest.fixture(scope="session")
def pictures(base):
    """A folder of pictures, and what the table ``images`` says of them: ``(root, {id: path})``."""
    root = base / "pictures"
    (root / "sub").mkdir(parents=True)
    rows = {}
    for number in range(130):
        path = f"sub/p{number:03d}.jpg"
        picture = Image.new("RGB", (640, 480), (number * 2 % 256, 90, 255 - number))
        picture.paste((255, 255, 255), (40, 40, 300, 200))
        picture.save(root / path, quality=80)
        # a source younger than two seconds gives its thumbnail a time of its own
        os.utime(root / path, (1.7e9, 1.7e9))
        rows[f"p{number:03d}"] = path
    grain = Image.effect_noise((4000, 3000), 60)
    Image.merge("RGB", (grain, grain.rotate(180), grain)).save(root / "large.jpg", quality=85)
    rows["large"] = "large.jpg"
    Image.new("RGBA", (500, 700), (10, 200, 30, 128)).save(root / "alpha.png")
    rows["alpha"] = "alpha.png"
    (root / "text.jpg").write_text("this is no picture")
    rows["broken"] = "text.jpg"
    (root / "page.html").write_text("<script>alert(1)</script>")
    rows["page"] = "page.html"
    rows["gone"] = "sub/gone.jpg"
    rows["outside"] = "../secret.jpg"
    rows["url"] = "http://127.0.0.1/p.jpg"
    rows["absolute"] = str(base / "secret.jpg")
    os.mkfifo(root / "fifo.jpg")
    rows["fifo"] = "fifo.jpg"
    (root / "out.jpg").symlink_to(base / "secret.jpg")
    rows["link"] = "out.jpg"
    (base / "secret.jpg").write_bytes((root / "sub/p000.jpg").read_bytes())
    return root, rows


@pytest.fixture(scope="session")
def shared_sites(base, pictures):
    """Return the running site of a server by its name; it is started when a test first asks."""
    root, rows = pictures
    with contextlib.ExitStack() as running:

        @functools.cache
        def shared(server):
            directory = base / f"site-{server}"
            directory.mkdir()
            site = Httpd(directory, server, make_images_table(directory / "images.db", rows), root)
            return running.enter_context(site)

        yield shared


@pytest.fixture(params=SERVERS)
def site(request, shared_sites):
    """A running site on SQLite that tests share, once on each server.

    A test fails if it left an error in the log that it did not announce.
    """
    yield from watched(shared_sites(request.param))


@pytest.fixture(params=SERVERS)
def own_site(request, public_dir, pictures):
    """A site of the test's own, not started yet, once on each server."""
    root, rows = pictures
    url = make_images_table(public_dir / "images.db", rows)
    server = Httpd(public_dir / "site", request.param, url, root)
    with server.stopped_at_the_end():
        yield from watched(server)


@pytest.fixture
def quickstart(public_dir):
    """The script apache_conf/quickstart with a work directory of the test's own."""
    script = Quickstart(public_dir / "work")
    yield script
    script.end()


@pytest.fixture(scope="session")
def mariadb(base):
    """A running MariaDB."""
    with MariaDB(base / "mariadb", general_log=True) as server:
        yield server


@pytest.fixture(scope="session")
def oracle(request, base, pictures):
    """The runtime's server and real mod_python's, both with the handlers of tests/oracle.

    Real mod_python's answers are compared with the recording, or taken from it.
    """
    directory = base / "oracle"
    directory.mkdir()
    recording = Recording(file_body=FILE)
    renew = request.config.getoption("--record-oracle")
    if not renew:
        recording.load()
    with start_pair(directory, pictures, recording, renew) as pair:
        yield pair
    if renew and not request.session.testsfailed:
        recording.save()


@pytest.fixture
def pair(oracle):
    """Both servers; a test fails if one of them left an error in its log that was not announced."""
    yield from oracle.watched()


def _leave_out(unwanted, config, items) -> int:
    """Take the *unwanted* tests out of *items*, as pytest's own options do; return their number."""
    left_out = [item for item in items if unwanted(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    return len(left_out)


def watched(server: Httpd):
    """Yield *server*, then look at its error log."""
    server.begin_test()
    yield server
    complaints = server.complaints()
    assert not complaints, "unannounced in the error log:\n" + "\n".join(complaints)
