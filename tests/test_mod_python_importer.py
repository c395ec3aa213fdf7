"""Modules of handlers: by directory, apart from each other, and read again."""

import builtins
import importlib.machinery
import os
import sys
import threading
import types

import pytest

from handlers.mod_python import apache
from handlers.runtime import importer
from tests.wsgi import serve

PAGE = """
from mod_python import apache
import of_this_site_only

def handler(req):
    import of_this_site_later
    req.content_type = "text/plain"
    req.write(f"{WHERE} {of_this_site_only.WHERE} {of_this_site_later.WHERE}", 0)
    return apache.OK
"""


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Import nothing for the tests that follow, and look at files without a pause."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(importer, "_PAUSE", 0.0)
    for name in ("_places", "_by_directory", "_python_paths"):
        monkeypatch.setattr(importer, name, {})
    monkeypatch.setattr(builtins, "__import__", builtins.__import__)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def sites(tmp_path):
    """Directories of two sites whose modules have the same names."""
    found = []
    for name in ("first", "second"):
        directory = tmp_path / name
        directory.mkdir()
        (directory / "page_of_site.py").write_text(f"WHERE = {name!r}\n{PAGE}")
        for module in ("of_this_site_only", "of_this_site_later"):
            (directory / f"{module}.py").write_text(f"WHERE = {name!r}\n")
        found.append(directory)
    return found


def by_directory(directory, name="page_of_site", **more):
    return serve(PythonHandler=name, **{"PythonHandler.directory": f"{directory}/"} | more)


def by_path(directory, name="page_of_site", **more):
    return serve(PythonHandler=name, PythonPath=f"[{str(directory)!r}] + sys.path", **more)


def change(path, text):
    path.write_text(text)
    # a time of its own, whatever the file system's clock
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 10**9))


@pytest.mark.parametrize("get", [by_directory, by_path])
def test_handlers_import_what_lies_beside_them(sites, get):
    assert get(sites[0]).body == b"first first first"
    assert str(sites[0]) in [path.rstrip("/") for path in sys.path]


@pytest.mark.parametrize("get", [by_directory, by_path])
def test_modules_of_one_name_are_kept_apart(sites, get):
    for _ in range(3):
        for directory in sites:
            assert get(directory).body == b" ".join([directory.name.encode()] * 3)


def test_directory_does_not_count_where_a_python_path_is_in_force(sites):
    answer = by_path(sites[0], **{"PythonHandler.directory": f"{sites[1]}/"})
    assert answer.body == b"first first first"
    assert str(sites[1]) not in [path.rstrip("/") for path in sys.path]


@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True])
def test_threads_that_import_at_once_get_the_whole_module(sites, fails, monkeypatch):
    """The second one has found nothing yet when the first one begins to run it."""
    (sites[0] / "of_both.py").write_text("")
    monkeypatch.setitem(sys.modules, "of_both", types.ModuleType("of_both"))
    (sites[1] / "of_both.py").write_text("import builtins\nbuiltins.of_both_runs()\nWHOLE = True\n")
    place = importer.place_at((str(sites[1]),))
    runs, looks, found = [], threading.Event(), []
    find_spec = importlib.machinery.PathFinder.find_spec

    def late(name, path=None, target=None):
        spec = find_spec(name, path, target)
        if name == "of_both" and threading.current_thread() is second:
            looks.set()
            assert started.wait(60)
        return spec

    def run():
        runs.append(threading.current_thread())
        if len(runs) == 1:
            started.set()
            # the other one comes to it now, and waits
            second.join(0.3)
            if fails:
                raise ValueError("for now")

    def load():
        try:
            found.append(hasattr(place.import_module("of_both"), "WHOLE"))
        except ValueError:
            assert fails and threading.current_thread() is not second

    started = threading.Event()
    monkeypatch.setattr(builtins, "of_both_runs", run, raising=False)
    monkeypatch.setattr(importlib.machinery.PathFinder, "find_spec", staticmethod(late))
    second = threading.Thread(target=load)
    second.start()
    assert looks.wait(60)
    first = threading.Thread(target=load)
    first.start()
    for thread in (first, second):
        thread.join(60)
    assert found == [True] * (2 - fails)
    assert len(runs) == 1 + fails


def test_packages_of_one_name_are_an_error_that_names_both(sites, caplog):
    for directory in sites:
        package = directory / "package_of_site"
        package.mkdir()
        (package / "__init__.py").write_text(PAGE.replace("WHERE}", "__file__}", 1))
    assert by_directory(sites[0], "package_of_site").status == "200 OK"
    for _ in range(2):
        assert by_directory(sites[1], "package_of_site").status[:3] == "500"
    (line,) = caplog.messages
    for directory in sites:
        assert f"{directory}/package_of_site/__init__.py" in line
    assert "WSGIApplicationGroup" in line


def test_submodules_of_a_package_see_their_site(sites):
    for directory in sites:
        package = directory / f"package_of_{directory.name}"
        package.mkdir()
        (package / "__init__.py").write_text("from . import part\nfrom .part import handler\n")
        (package / "part.py").write_text(f"WHERE = 'part'\n{PAGE}")
    for directory in sites * 2:
        answer = by_directory(directory, f"package_of_{directory.name}")
        assert answer.body == f"part {directory.name} {directory.name}".encode()


def test_module_whose_name_python_has_is_the_sites_own(sites):
    (sites[0] / "calendar.py").write_text(f"WHERE = 'mine'\n{PAGE}")
    assert by_directory(sites[0], "calendar").body == b"mine first first"
    import calendar

    assert calendar.__file__ != str(sites[0] / "calendar.py")


@pytest.mark.parametrize("get", [by_directory, by_path])
@pytest.mark.parametrize("index", [0, 1])
def test_changed_module_and_its_importers_are_read_again(sites, get, index):
    for directory in sites:
        get(directory)
    directory = sites[index]
    other = sites[1 - index]
    module = sys.modules["page_of_site"]
    change(directory / "of_this_site_only.py", "WHERE = 'changed'\n")
    assert get(directory).body == f"{directory.name} changed {directory.name}".encode()
    assert get(other).body == b" ".join([other.name.encode()] * 3)
    assert (sys.modules["page_of_site"] is module) == (index == 1)
    change(directory / "page_of_site.py", f"WHERE = 'new'\n{PAGE}")
    assert get(directory).body == f"new changed {directory.name}".encode()


def test_module_that_cannot_be_read_again_is_500_until_it_is_mended(sites, caplog):
    page = sites[0] / "page_of_site.py"
    assert by_directory(sites[0]).status == "200 OK"
    change(page, "def handler(req:\n")
    for _ in range(2):
        assert by_directory(sites[0]).status[:3] == "500"
    assert "SyntaxError" in caplog.text
    change(page, f"WHERE = 'mended'\n{PAGE}")
    assert by_directory(sites[0]).body == b"mended first first"


def test_nothing_is_read_again_without_auto_reload(sites):
    assert by_directory(sites[0], PythonAutoReload="Off").status == "200 OK"
    change(sites[0] / "page_of_site.py", f"WHERE = 'changed'\n{PAGE}")
    assert by_directory(sites[0], PythonAutoReload="Off").body == b"first first first"


def test_modules_of_site_packages_are_pythons_own(tmp_path):
    packages = tmp_path / "site-packages"
    packages.mkdir()
    (packages / "page_of_packages.py").write_text("def handler(req):\n    return 204\n")
    for _ in range(2):
        assert by_path(packages, "page_of_packages").status[:3] == "204"
        change(packages / "page_of_packages.py", "def handler(req):\n    return 500\n")


def test_import_module_looks_where_it_is_told(sites):
    for directory in [*sites, *sites]:
        module = apache.import_module("of_this_site_only", path=[str(directory)])
        assert directory.name == module.WHERE
        assert apache.import_module("of_this_site_only", path=[str(directory)]) is module
    change(sites[1] / "of_this_site_only.py", "WHERE = 'changed'\n")
    found = apache.import_module("of_this_site_only", autoreload=0, path=[str(sites[1])])
    assert found.WHERE == "second"
    assert apache.import_module("of_this_site_only", path=[str(sites[1])]).WHERE == "changed"
    assert apache.import_module("json", path=[str(sites[0])]).__name__ == "json"
    with pytest.raises(ModuleNotFoundError):
        apache.import_module("no_such_module_of_a_site", path=[str(sites[0])])


def test_import_module_finds_the_siblings_of_its_caller(sites):
    for directory in sites:
        (directory / "page_of_site.py").write_text(
            "from mod_python import apache\n"
            "def handler(req):\n"
            "    req.content_type = 'text/plain'\n"
            "    req.write(apache.import_module('of_this_site_only').WHERE, 0)\n"
            "    return apache.OK\n"
        )
    for directory in [*sites, *sites]:
        assert by_directory(directory).body == directory.name.encode()


def test_code_that_is_no_modules_sees_the_site_that_its_file_lies_in(sites):
    for directory in sites:
        by_directory(directory)
    for directory in sites:
        scope = {"__file__": f"{directory}/page.psp", "__builtins__": builtins}
        exec("import of_this_site_only", scope)
        assert directory.name == scope["of_this_site_only"].WHERE


def test_module_imported_by_a_function_is_read_again(sites):
    assert by_directory(sites[0]).body == b"first first first"
    change(sites[0] / "of_this_site_later.py", "WHERE = 'changed'\n")
    assert by_directory(sites[0]).body == b"first first changed"


def test_one_file_by_two_paths_is_one_module(sites, tmp_path):
    (tmp_path / "link").symlink_to(sites[0])
    assert by_path(sites[0]).body == b"first first first"
    module = sys.modules["page_of_site"]
    assert by_path(tmp_path / "link").body == b"first first first"
    assert importer.place_at((str(tmp_path / "link"),)).import_module("page_of_site") is module
