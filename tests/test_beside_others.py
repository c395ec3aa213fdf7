"""Beside other people's sites: in the mod_wsgi that is there, and beside mod_python's handlers."""

import contextlib
import importlib
import itertools
import pathlib
import random
import sys
import sysconfig

import pytest

from handlers.quickstart.work import shipped
from tests.servers import modules
from tests.servers.httpd import Httpd, make_images_table
from tests.support import until

PROJECT = """
import os
import sys

sys.path.insert(0, os.path.dirname(__file__))
from django.conf import settings
from django.http import HttpResponse
from django.urls import path
from django.core.wsgi import get_wsgi_application


def index(request):
    return HttpResponse(f"django {request.GET.get('who')} {request.META['wsgi.multithread']}")


def modules(request):
    return HttpResponse(" ".join(sorted(sys.path)))


urlpatterns = [path("", index), path("modules", modules)]
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x" * 40)
application = get_wsgi_application()
"""

# a thread that was in another application's interpreter does not find the main one again
MIXES_INTERPRETERS = sys.version_info >= (3, 12)
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


class Beside(Httpd):
    """A server whose mod_wsgi another configuration has loaded before the drop-in is read."""

    def __init__(self, directory, url, root, name, **options):
        super().__init__(directory, "mod_wsgi", url, root, snapshot=True, **options)
        include = f'Include "{shipped("handlers.conf")}"'
        self.edits[include] = f"LoadModule wsgi_module {modules.mod_wsgi(name)}\n{include}"
        self.is_old = name != "installed"

    def give_processes(self):
        """Let the handlers run in processes of their own from the next start on."""
        lines = (
            f'WSGISocketPrefix "{self.work.run}/wsgi"\n'
            f"WSGIDaemonProcess site processes={self.children} threads=1\n"
            "Define HANDLERS_GROUP site\nInclude"
        )
        self.edits = {old: new.replace("Include", lines) for old, new in self.edits.items()}

    def complaints(self):
        """Leave out what a mod_wsgi without levels writes as an error and is none."""
        return [
            line
            for line in super().complaints()
            if not (self.is_old and "[wsgi:error]" in line and "] [info] " in line)
        ]


@pytest.fixture(params=modules.NAMES)
def not_started(request, public_dir, pictures):
    """A site in one of the versions of mod_wsgi, with a Django application at /django."""
    django = public_dir / "project"
    django.mkdir()
    (django / "app.wsgi").write_text(PROJECT)
    root, rows = pictures
    url = make_images_table(public_dir / "images.db", rows)
    for name in ("django", "asgiref", "sqlparse"):
        (django / name).symlink_to(pathlib.Path(importlib.import_module(name).__file__).parent)
    server = Beside(
        public_dir / "site",
        url,
        root,
        request.param,
        extra=f'WSGIScriptAlias /django "{django}/app.wsgi"\n'
        f'<Directory "{django}">\nRequire all granted\n</Directory>',
    )
    with server.stopped_at_the_end():
        yield server


@pytest.fixture
def beside(not_started):
    """The site, started."""
    not_started.start()
    not_started.begin_test()
    yield not_started
    assert not not_started.complaints()


def test_site_runs_in_the_mod_wsgi_that_is_there(beside):
    cold = beside.request("/thumbs/200x200/p001.jpg")
    assert (cold.status, cold.headers["Content-Type"]) == (200, "image/jpeg")
    assert beside.request("/thumbs/200x200/p001.jpg").body == cold.body
    assert beside.request("/images/p001").status == 200
    assert beside.request("/").status == 200
    assert beside.request("/thumbs/200x200/nobody.jpg").status == 404
    level = "[info] " if beside.is_old else ""
    assert f"{level}thumbnail 200x200/p001.jpg made from 640x480 JPEG" in beside.log()
    beside.expect("thumbnail 200x200/broken.jpg")
    assert beside.request("/thumbs/200x200/broken.jpg").status == 404
    level = "[warn] " if beside.is_old else ""
    assert f"{level}thumbnail 200x200/broken.jpg: " in beside.log()


@pytest.mark.parametrize("own_processes", [True] if MIXES_INTERPRETERS else [False, True])
def test_django_beside_it_is_undisturbed(not_started, own_processes):
    if own_processes:
        not_started.give_processes()
    with undisturbed(not_started) as beside:
        for _ in range(6):
            beside.request("/thumbs/200x200/p002.jpg")
            answer = beside.request("/django/?who=ann")
            assert (answer.status, answer.body) == (200, b"django ann False")
        # made in a child that Django's interpreter is in, too
        for number in range(3, 20):
            assert beside.request("/django/?who=ann").status == 200
            assert beside.request(f"/thumbs/200x200/p{number:03d}.jpg").status == 200


@pytest.mark.skipif(not MIXES_INTERPRETERS, reason="before Python 3.12 each keeps its interpreter")
def test_interpreter_of_another_application_is_500_and_one_line(not_started):
    with undisturbed(not_started) as beside:
        beside.expect("HANDLERS_GROUP")
        assert beside.request("/thumbs/200x200/p002.jpg").status == 200
        found, numbers = [], itertools.count(3)

        def is_mixed_up():
            # in any child, whichever takes this request after those that took the others
            for _ in range(random.randrange(1, 4)):
                assert beside.request("/django/?who=ann").body == b"django ann False"
            found.append(beside.request(f"/thumbs/200x200/p{next(numbers):03d}.jpg").status)
            return found[-1] == 500

        until(is_mixed_up)
        assert set(found) <= {200, 500}
        # what is made needs no Python
        assert beside.request("/thumbs/200x200/p002.jpg").status == 200
        lines = [line for line in beside.log().splitlines() if "HANDLERS_GROUP" in line]
        assert 1 <= len(lines) <= beside.children
        assert f"Python {VERSION} mixes the two up" in lines[0]


@contextlib.contextmanager
def undisturbed(server):
    """Start *server*; afterwards its log has no unannounced line, and Django only its own path."""
    server.start()
    server.begin_test()
    yield server
    path = server.request("/django/modules").body.decode().split()
    assert not [place for place in path if place.startswith(f"{sys.prefix}/lib")]
    assert not server.complaints()


@pytest.fixture
def old_site(public_dir, pictures):
    """A mod_python site with handlers in directories of its own, not started; ours beside it."""
    documents = public_dir / "old"
    for name in "ab":
        (documents / name).mkdir(parents=True)
        # a name of its own: mod_python mixes up modules of one name
        (documents / name / f"page_{name}.py").write_text(
            "from mod_python import apache, Session\n\n\ndef handler(req):\n"
            "    req.content_type = 'text/plain'\n"
            f"    req.write('{name} ' + apache.interpreter + ' ' + Session.__file__)\n"
            "    return apache.OK\n"
        )
    (documents / "published.py").write_text("def index(req):\n    return 'published'\n")
    # in the place of a .pth file in the system's own directory
    packages = public_dir / "dist-packages"
    packages.mkdir()
    (packages / "sitecustomize.py").write_text(
        f"import site\nsite.addsitedir({sysconfig.get_path('purelib')!r})\n"
    )
    root, rows = pictures
    url = make_images_table(public_dir / "images.db", rows)
    sections = "".join(
        f'<Directory "{documents}/{name}">\nPythonHandler page_{name}\n</Directory>\n'
        for name in "ab"
    )
    server = Httpd(
        public_dir / "site",
        "mod_python",
        url,
        root,
        extra=f'Alias /old "{documents}"\n<Directory "{documents}">\nRequire all granted\n'
        f"SetHandler mod_python\nPythonHandler mod_python.publisher\n</Directory>\n{sections}",
    )
    server.environment = {"PYTHONPATH": str(packages)}
    with server.stopped_at_the_end():
        yield server


@pytest.mark.mod_python
def test_mod_python_site_beside_it_is_as_it_was(old_site):
    """Its handlers are found beside their pages, in its own interpreter, with its own Session."""
    drop_in = {
        f'Include "{shipped("handlers-mod_python.conf")}"': (
            "LoadModule python_module ${HANDLERS_MODULES}/mod_python.so"
        ),
        old_site.site_part: "",
        "CustomLog logs/access.log handlers": "",
    }
    old_site.edits = drop_in
    old_site.start(warm=False)
    before = answers(old_site)
    assert [status for status, _ in before] == [200, 200, 200, 404]
    old_site.stop()
    old_site.edits = {}
    old_site.start()
    assert answers(old_site) == before
    assert old_site.request("/thumbs/200x200/p001.jpg").status == 200, old_site.log(0)
    old_site.begin_test()
    assert answers(old_site) == before
    assert not old_site.complaints()


def answers(server):
    found = [server.request(f"/old/{path}") for path in ("a/x", "b/x", "published", "published/no")]
    return [(answer.status, answer.body) for answer in found]


@pytest.fixture(params=modules.NAMES)
def lost(request, public_dir, pictures):
    """A site, not started, whose entry script names an environment without the package."""
    root, rows = pictures
    url = make_images_table(public_dir / "images.db", rows)
    server = Beside(public_dir / "site", url, root, request.param)
    entry = pathlib.Path(server.work.etc, "handlers.wsgi")
    environment = public_dir / "environment"
    entry.write_text(entry.read_text().replace(repr(sys.prefix), repr(str(environment))))
    server.packages = environment / f"lib/python{VERSION}/site-packages"
    with server.stopped_at_the_end():
        yield server


def test_environment_of_another_python_is_500_and_one_line(lost):
    (lost.packages.parent.parent / "python3.9/site-packages").mkdir(parents=True)
    said = complaints_of_lost(lost)
    assert f"runs Python {VERSION} and there is no {lost.packages}" in said
    assert "modpython-handlers setup" in said


def test_environment_without_the_package_is_500_and_one_line(lost):
    lost.packages.mkdir(parents=True)
    assert f"modpython-handlers: not installed in {lost.packages}" in complaints_of_lost(lost)


def test_other_package_of_the_same_name_is_500_and_one_line(lost):
    (lost.packages / "handlers").mkdir(parents=True)
    (lost.packages / "handlers" / "__init__.py").write_text("")
    said = complaints_of_lost(lost)
    assert f"{lost.packages}/handlers/__init__.py is another package of the name handlers" in said


def complaints_of_lost(server):
    """Start it, ask all children; return the one line that each of them has written."""
    server.start(warm=False)
    for _ in range(9):
        assert server.request("/thumbs/200x200/p001.jpg").status == 500
    lines = [line for line in server.log(0).splitlines() if ":error]" in line]
    assert 1 <= len(lines) <= server.children, "\n".join(lines)
    return lines[0]
