"""The runtime as a WSGI application."""

import importlib
import logging
import pathlib
import pickle
import subprocess
import sys
import types

import pytest

from handlers.mod_python import apache, install_as_mod_python
from tests.wsgi import named, serve

ROOT = pathlib.Path(__file__).parent.parent


def test_handler_is_served():
    def hello(req):
        req.content_type = "text/plain; charset=utf-8"
        req.write("Grüße\n")
        return apache.OK

    answer = serve(hello)
    assert answer.status == "200 OK"
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.body == "Grüße\n".encode()


def test_star_import_gives_the_modules():
    names = {}
    exec("from mod_python import *", names)
    assert names["publisher"] is importlib.import_module("mod_python.publisher")
    assert {"apache", "cgihandler", "psp", "util", "version"} <= set(names)


def test_same_modules_are_found_under_mod_pythons_name():
    install_as_mod_python()
    install_as_mod_python()
    name = "mod_python.apache"
    assert importlib.import_module(name) is apache
    assert importlib.import_module("mod_python").apache is apache
    assert apache.__name__ == apache.__spec__.name == "handlers.mod_python.apache"
    assert len([finder for finder in sys.meta_path if type(finder).__name__ == "_SameModules"]) == 1
    util = importlib.import_module("mod_python.util")
    assert util is importlib.import_module("handlers.mod_python.util")
    assert pickle.loads(pickle.dumps(apache.SERVER_RETURN)) is apache.SERVER_RETURN


def test_module_that_is_not_there_is_not_found_under_either_name():
    install_as_mod_python()
    for name in ("mod_python.nothing", "handlers.mod_python.nothing"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(name)
    with pytest.raises(AttributeError):
        apache.nothing  # noqa: B018


def test_import_module_gives_the_innermost_module(tmp_path):
    assert apache.import_module("xml.dom").__name__ == "xml.dom"
    (tmp_path / "module_found_by_path.py").write_text("here = 1\n")
    before = list(sys.path)
    assert apache.import_module("module_found_by_path", path=[str(tmp_path)]).here == 1
    assert sys.path == before


@pytest.mark.parametrize(
    "level, expected",
    [
        (apache.APLOG_EMERG, logging.CRITICAL),
        (apache.APLOG_ALERT, logging.CRITICAL),
        (apache.APLOG_CRIT, logging.CRITICAL),
        (apache.APLOG_ERR, logging.ERROR),
        (apache.APLOG_WARNING, logging.WARNING),
        (apache.APLOG_NOTICE, logging.INFO),
        (apache.APLOG_INFO, logging.INFO),
        (apache.APLOG_DEBUG, logging.DEBUG),
    ],
)
def test_levels_of_the_log(caplog, level, expected):
    caplog.set_level(logging.DEBUG, logger="handlers")
    apache.log_error("100% sure", level)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (expected, "100% sure")
    ]


def test_log_takes_text_and_a_number(caplog):
    apache.log_error("x")
    assert caplog.records[0].levelno == logging.ERROR
    for wrong in (5, b"x", None):
        with pytest.raises(TypeError):
            apache.log_error(wrong)
    with pytest.raises(TypeError):
        apache.log_error("x", "high")


def test_handlers_may_run_in_threads():
    from concurrent.futures import ThreadPoolExecutor

    def echo(req):
        req.content_type = "text/plain"
        req.mark = req.args
        req.write(req.mark, 0)
        return apache.OK

    spec = named(echo)
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda n: serve(PythonHandler=spec, QUERY_STRING=str(n)), range(200))
        assert [answer.body for answer in answers] == [str(n).encode() for n in range(200)]


def test_objects_are_resolved_by_their_names():
    class Page:
        def __init__(self, arg):
            self.arg = arg

        def show(self):
            return self.arg

    module = types.ModuleType("some_module")
    module.Page, module.page = Page, Page(2)
    assert apache.resolve_object(module, "Page") is Page
    assert apache.resolve_object(module, "Page.show", arg=1)() == 1
    assert apache.resolve_object(module, "page.show")() == 2
    assert apache.resolve_object(module, "page.none", silent=1) is None
    for name in ("none", "page.none"):
        with pytest.raises(AttributeError, match="none"):
            apache.resolve_object(module, name)


def test_module_that_puts_another_path_in_place_is_imported(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "changes_the_path.py").write_text("import sys\nsys.path = sys.path[1:]\n")
    assert apache.import_module("changes_the_path", path=[str(tmp_path)])
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize("version", [(3, 11), (3, 13)])
def test_entry_tells_the_importer_that_mod_wsgi_is_there(version):
    """Where it was measured; other versions of Python are left as they are."""
    code = (
        "import sys, types, builtins\n"
        "sys.modules['mod_wsgi'] = server = types.ModuleType('mod_wsgi')\n"
        "import handlers.runtime.log\n"
        f"sys.version_info = (*{version}, 0)\n"
        "import handlers.runtime.entry\n"
        "found = [getattr(module.__spec__, '_initializing', None)"
        " for module in (server, builtins)]\n"
        "print(found)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert said.stdout.strip() == str([False, False] if version == (3, 11) else [None, None])
