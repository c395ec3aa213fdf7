"""Foreign handlers on a real server: two virtual hosts in one interpreter, phases, filters."""

import os

import pytest

from tests.conftest import watched
from tests.servers.httpd import Httpd, make_images_table
from tests.support import until

PAGE = """
from mod_python import apache
import settings_of_site

def handler(req):
    import lazily_of_site
    req.content_type = "text/plain"
    req.write(f"{settings_of_site.NAME} {lazily_of_site.NAME}\\n")
    return apache.OK

def accesshandler(req):
    return apache.OK if req.args == "open" else apache.HTTP_FORBIDDEN

def guarded(req):
    return handler(req)

def outputfilter(filter):
    text = filter.read()
    while text:
        filter.write(text.upper())
        text = filter.read()
    if text is None:
        filter.close()

def memory(req):
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1])
    req.content_type = "text/plain"
    for number in range(110_000):
        if number == 10_000:
            before = resident()
        req.write("x")
    req.write(f" {resident() - before}")
    return apache.OK
"""
SITE = """
<VirtualHost *:{port}>
    ServerName {name}.test
    DocumentRoot "{directory}"
    <Directory "{directory}">
        Require all granted
        SetHandler mod_python
        SetEnv PythonHandler page_of_site
        SetEnv PythonHandler.directory "{directory}/"
    </Directory>
    <Location /path>
        SetEnv PythonPath "['{directory}'] + sys.path"
    </Location>
    <Location /memory>
        SetEnv PythonHandler page_of_site::memory
    </Location>
    <Location /closed>
        SetHandler python-phases
        SetEnv PythonHandler ""
        SetEnv PythonAccessHandler page_of_site
        SetEnv PythonAccessHandler.directory "{directory}/"
        SetEnv PythonOutputFilter.upper page_of_site
        SetEnv PythonOutputFilter.directory "{directory}/"
        SetEnv PythonSetOutputFilter upper
    </Location>
</VirtualHost>
"""


@pytest.fixture(scope="module")
def running(base):
    """A server with two virtual hosts, first.test and second.test, in the main interpreter."""
    place = base / "foreign"
    place.mkdir()
    url = make_images_table(place / "images.db", {})
    server = Httpd(place / "site", "mod_wsgi", url, place, children=1)
    server.extra = "WSGIHandlerScript python-phases ${HANDLERS_ETC}/handlers.wsgi"
    server.extra += " application-group=%{GLOBAL} pass-authorization=On\n"
    for name in ("first", "second"):
        directory = place / name
        (directory / "closed").mkdir(parents=True)
        (directory / "closed" / "file.txt").write_text(f"file of {name}\n")
        (directory / "page_of_site.py").write_text(PAGE)
        for module in ("settings_of_site", "lazily_of_site"):
            (directory / f"{module}.py").write_text(f"NAME = {name!r}\n")
        server.extra += SITE.format(port=server.port, name=name, directory=directory)
    with server.stopped_at_the_end():
        server.start()
        yield server, place


@pytest.fixture
def site(running):
    """The server; a test fails if it left an error in the log that it did not announce."""
    yield from watched(running[0])


def get(server, name, path="/page"):
    return server.request(path, headers={"Host": f"{name}.test"})


@pytest.mark.parametrize("path", ["/page", "/path"])
def test_two_sites_of_one_interpreter_never_answer_for_each_other(site, path):
    for number in range(100):
        name = ("first", "second")[number % 2]
        assert get(site, name, path).body.decode() == f"{name} {name}\n"


def test_phases_and_filters_stand_in_front_of_a_file(site):
    for name in ("first", "second"):
        assert get(site, name, "/closed/file.txt").status == 403
        answer = get(site, name, "/closed/file.txt?open")
        assert (answer.status, answer.body.decode()) == (200, f"FILE OF {name.upper()}\n")


def test_changed_module_is_read_again(site, running):
    module = running[1] / "second" / "settings_of_site.py"
    try:
        module.write_text("NAME = 'changed'\n")
        os.utime(module, (1, 1))
        until(lambda: get(site, "second").body == b"changed second\n")
        assert get(site, "first").body == b"first first\n"
    finally:
        module.write_text("NAME = 'second'\n")
        os.utime(module, (2, 2))
    until(lambda: get(site, "second").body == b"second second\n")


def test_many_writes_leave_memory_unchanged(site):
    answer = get(site, "first", "/memory")
    pages = int(answer.body.rpartition(b" ")[2])
    assert answer.body.count(b"x") == 110_000
    # a page or two are the allocator's
    assert pages < 100
