"""Children that are stopped or restarted while Python runs in them."""

import concurrent.futures
import contextlib
import http.client
import os
import signal
import time

import pytest

from handlers.quickstart import httpd
from tests.conftest import SERVERS, watched
from tests.servers import modules
from tests.servers.httpd import Httpd, at_work_on, make_images_table
from tests.support import stopwatch, until

# far less than a request lasts; httpd kills a child after nine seconds, and says so
SOON = 30.0
KILLED = "AH00046"
CODE = """
import contextlib, os, pathlib, signal, sys, threading, time
from mod_python import apache

def handler(req):
    seconds = float(req.args or 0)
    name = req.uri.rpartition("/")[2]
    (pathlib.Path(__file__).parent / "begun" / f"{os.getpid()}").touch()
    req.write(globals()[name](seconds))
    return apache.OK

def sleep(seconds):
    time.sleep(seconds)
    return f"slept in {os.getpid()}"

def allocate(seconds):
    # malloc takes a lock where there are threads, and blocks of this size come from it each time
    ended = threading.Event()
    threading.Thread(target=ended.wait, args=(seconds,), daemon=True).start()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        [bytes(size) for size in range(2000, 60000, 1000)]
    return "allocated"

def count(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return "counted"

def steal(seconds):
    # as asyncio's add_signal_handler does
    signal.set_wakeup_fd(-1)
    time.sleep(seconds)
    return "stolen"

def fork(seconds):
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(1)
    os.kill(pid, signal.SIGTERM)
    status = os.waitpid(pid, 0)[1]
    time.sleep(seconds)
    return f"{os.WTERMSIG(status)} in {os.getpid()}"

def thread(seconds):
    from handlers import elected
    def work(lock, worker):
        while worker.rest(0.01):
            pass
        apache.log_error(f"{os.getpid()} has ended its thread", apache.APLOG_NOTICE)
    elected.Worker("test", contextlib.nullcontext, work).start()
    return f"started in {os.getpid()}"
"""


def make_server(name, public_dir, pictures):
    """Return a server of two children whose handlers take their time."""
    python = public_dir / "python"
    python.mkdir()
    (python / "slow.py").write_text(CODE)
    set_env, interpreter = "SetEnv ", ""
    if name == "mod_python":
        # nothing else lets another thread run while a handler does nothing but compute
        set_env, interpreter = "", "PythonInterpreter main_interpreter"
    extra = f"""<Location /slow>
        SetHandler mod_python
        {set_env}PythonHandler slow
        {set_env}PythonPath "['{python}'] + sys.path"
    </Location>
    <LocationMatch "^/slow/(allocate|count|steal|fork|thread)$">
        {interpreter}
    </LocationMatch>"""
    root, rows = pictures
    url = make_images_table(public_dir / "images.db", rows)
    server = Httpd(public_dir / "site", name, url, root, children=2, extra=extra)
    # where a handler says that it has begun
    server.begun = python / "begun"
    server.begun.mkdir()
    server.begun.chmod(0o777)
    return server


@pytest.fixture(params=SERVERS)
def server(request, public_dir, pictures):
    """A running server of two children whose handlers take their time."""
    server = make_server(request.param, public_dir, pictures)
    with server.stopped_at_the_end():
        server.start(warm=False)
        yield from watched(server)


@contextlib.contextmanager
def in_python(server, *paths):
    """Send a request for each path at once; yield their futures when all are in Python."""
    with concurrent.futures.ThreadPoolExecutor(len(paths)) as pool:
        asked = [pool.submit(server.request, path) for path in paths]
        until(lambda: len(list(server.begun.iterdir())) == len(paths))
        yield asked


def stop_server(server):
    server.stop()


def restart_server(server):
    before = server.child_pids()
    os.kill(httpd.running(server.work), signal.SIGHUP)
    until(lambda: not set(before) & set(server.child_pids()))


def stop_child(server):
    (name,) = (path.name for path in server.begun.iterdir())
    os.kill(int(name), signal.SIGTERM)
    until(lambda: int(name) not in server.child_pids())


# mod_python's httpd does not survive a restart
ENDS = [(name, end) for name in SERVERS for end in (stop_server, stop_child)]
ENDS.append(("mod_wsgi", restart_server))
by_ends = pytest.mark.parametrize(("server", "end"), ENDS, indirect=["server"])


@by_ends
def test_request_is_answered_before_its_child_ends(server, end):
    with in_python(server, "/slow/sleep?0.5") as (asked,):
        end(server)
        assert asked.result().status == 200
        assert asked.result().body.startswith(b"slept")


def test_request_is_answered_though_the_machine_stands_still_meanwhile(server):
    with in_python(server, "/slow/sleep?1") as (asked,):
        (name,) = (path.name for path in server.begun.iterdir())
        os.kill(int(name), signal.SIGTERM)
        # the child has begun to wait for its request
        time.sleep(0.3)
        os.kill(int(name), signal.SIGSTOP)
        time.sleep(3)
        os.kill(int(name), signal.SIGCONT)
        assert asked.result().status == 200
    until(lambda: int(name) not in server.child_pids())


@pytest.mark.parametrize("work", ["allocate", "count", "sleep", "steal"])
@by_ends
def test_request_that_does_not_end_keeps_nobody_waiting(server, work, end):
    with in_python(server, f"/slow/{work}?60") as (asked,):
        with stopwatch() as seconds:
            end(server)
            assert seconds() < SOON
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            asked.result()
    assert KILLED not in server.log()


def end_child_in_good_order(server):
    (name,) = (path.name for path in server.begun.iterdir())
    # as httpd does for graceful, and a child of MaxConnectionsPerChild to itself
    os.kill(int(name), signal.SIGUSR1)
    until(lambda: int(name) not in server.child_pids())


@pytest.mark.parametrize("end", [stop_server, stop_child, end_child_in_good_order])
def test_child_ends_its_threads_before_it_exits(server, end):
    pid = server.request("/slow/thread").body.decode().rpartition(" ")[2]
    end(server)
    assert f"{pid} has ended its thread" in server.log()


@pytest.mark.parametrize("name", modules.NAMES)
def test_each_mod_wsgi_lets_a_request_be_answered(public_dir, pictures, name):
    server = make_server("mod_wsgi", public_dir, pictures)
    installed, other = httpd.mod_wsgi_location(), modules.mod_wsgi(name)
    server.edits[f'HANDLERS_MOD_WSGI "{installed}"'] = f'HANDLERS_MOD_WSGI "{other}"'
    with server:
        with in_python(server, "/slow/sleep?0.5") as (asked,):
            stop_child(server)
            assert asked.result().status == 200
        with stopwatch() as seconds:
            server.stop()
            assert seconds() < SOON
    assert KILLED not in server.log(0)


def test_connection_that_is_kept_idle_keeps_nobody_waiting(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", "/slow/sleep")
        assert connection.getresponse().read()
        with stopwatch() as seconds:
            server.stop()
            assert seconds() < SOON
    assert KILLED not in server.log()


def test_maker_outlives_the_signals_of_a_stop(server, pictures):
    source = pictures[0] / "large.jpg"
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(server.request, "/thumbs/400x400/large.jpg")
        until(lambda: at_work_on(server.maker_pids(), source) or asked.done())
        makers = server.maker_pids()
        server.stop()
        # a machine that is too slow to make it within two seconds gets no answer
        with contextlib.suppress(http.client.RemoteDisconnected, ConnectionError):
            assert asked.result().status == 200
    until(lambda: not set(makers) & set(server.maker_pids()))


def test_process_forked_by_a_handler_ends_alone(server):
    answer = server.request("/slow/fork?1")
    number, _, pid = answer.body.decode().partition(" in ")
    assert int(number) == signal.SIGTERM
    assert int(pid) in server.child_pids()
