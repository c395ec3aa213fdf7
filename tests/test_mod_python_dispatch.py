import logging
import sys

import pytest

from handlers.mod_python import apache
from handlers.runtime.dispatch import find_handler, parse_handlers
from handlers.runtime.importer import use_python_path
from tests.wsgi import named, serve


def writes(text, result=apache.OK):
    def handler(req):
        req.content_type = "text/plain"
        req.write(text, 0)
        return result

    return handler


def raises(error):
    def handler(req):
        raise error

    return handler


def test_text_of_python_handler_is_parsed():
    assert parse_handlers("a b::c d::e.f | .html .py") == (
        ["a", "b::c", "d::e.f"],
        (".html", ".py"),
    )
    assert parse_handlers("a") == (["a"], ())
    assert parse_handlers("") == ([], ())


def test_list_runs_while_handlers_return_ok():
    assert serve(writes("a"), writes("b")).body == b"ab"


@pytest.mark.parametrize("result, body", [(apache.DONE, b"a"), (apache.HTTP_CREATED, b"a")])
def test_first_other_result_ends_the_list(result, body):
    assert serve(writes("a", result), writes("b")).body == body


def test_declined_ends_the_list_too():
    answer = serve(writes("a", apache.DECLINED), writes("b"))
    assert answer.status == "404 Not Found"
    assert b"ab" not in answer.body


def test_handlers_share_one_request():
    def first(req):
        req.remark = 5
        return apache.OK

    def second(req):
        req.content_type = "text/plain"
        req.write(str(req.remark))
        return apache.OK

    assert serve(first, second).body == b"5"


def test_status_returned_is_the_status():
    answer = serve(writes("dropped", apache.HTTP_NOT_FOUND))
    assert answer.status == "404 Not Found"
    assert b"dropped" not in answer.body
    assert answer["Content-Length"] == str(len(answer.body))


def test_server_return_carries_the_result():
    assert serve(raises(apache.SERVER_RETURN(403))).status == "403 Forbidden"
    assert serve(raises(apache.SERVER_RETURN(apache.OK)), writes("b")).body == b"b"


def test_server_return_with_two_arguments_sets_the_status():
    answer = serve(raises(apache.SERVER_RETURN(apache.DONE, apache.HTTP_FORBIDDEN)))
    assert (answer.status, answer.body) == ("403 Forbidden", b"")


@pytest.mark.parametrize(
    "error",
    [
        apache.SERVER_RETURN,
        apache.SERVER_RETURN("x"),
        apache.SERVER_RETURN((403,)),
        ValueError("no"),
        SystemExit(3),
        KeyboardInterrupt(),
    ],
)
def test_what_a_handler_raises_is_logged_once_and_answered_500(caplog, error):
    answer = serve(raises(error))
    assert answer.status == "500 Internal Server Error"
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.ERROR
    assert "PythonHandler handlers_of_test_" in caplog.records[0].getMessage()
    assert b"Traceback" not in answer.body


@pytest.mark.parametrize("result", [None, "text", True, 404.0])
def test_result_that_is_no_int_is_500(caplog, result):
    assert serve(lambda req: result).status == "500 Internal Server Error"
    assert "int" in caplog.text


@pytest.mark.parametrize("result", [1, 100, 299, 600, -5])
def test_result_that_is_no_status_is_500(caplog, result):
    assert serve(lambda req: result).status == "500 Internal Server Error"
    assert f"invalid result {result}" in caplog.text


def test_python_debug_shows_the_traceback_in_the_page():
    answer = serve(raises(ValueError("a < b")), PythonDebug="On")
    assert answer.status == "500 Internal Server Error"
    assert b"Traceback" in answer.body
    assert b"ValueError: a &lt; b" in answer.body


def test_failure_after_the_first_byte_appends_the_page():
    def handler(req):
        req.content_type = "text/plain"
        req.write("started ")
        raise ValueError

    answer = serve(handler)
    assert answer.status == "200 OK"
    assert answer.body.startswith(b"started <!DOCTYPE")


def test_failure_within_an_announced_length_sends_nothing_more():
    def handler(req):
        req.content_type = "text/plain"
        req.set_content_length(100)
        req.write("started ")
        raise ValueError

    assert serve(handler).body == b"started "


def test_handler_is_the_default_object(tmp_path, monkeypatch):
    (tmp_path / "module_with_handler.py").write_text(
        "def handler(req):\n    req.content_type = 'text/plain'\n    req.write('x')\n    return 0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert serve(PythonHandler="module_with_handler").body == b"x"


class Handlers:
    def __init__(self, req):
        self.seen = req

    def method(self, req):
        req.content_type = "text/plain"
        req.write(str(self.seen is req))
        return apache.OK


def test_class_on_the_way_is_made_an_instance_for_each_request():
    spec = named(Handlers) + ".method"
    assert serve(PythonHandler=spec).body == b"True"
    assert serve(PythonHandler=spec).body == b"True"


def test_attributes_of_objects_are_followed():
    spec = named(Handlers(None)) + ".method"
    assert find_handler(spec).__name__ == "method"
    assert serve(PythonHandler=spec).body == b"False"


@pytest.mark.parametrize("spec", ["handlers::nothing", "handlers"])
def test_handler_that_cannot_be_found_is_500_every_time(caplog, spec):
    for _ in range(2):
        assert serve(PythonHandler=spec).status == "500 Internal Server Error"
    assert len(caplog.records) == 2


def test_handler_that_cannot_be_found_counts_when_its_turn_comes(caplog):
    ending = named(lambda req: (req.write("x"), apache.DONE)[1])
    assert serve(PythonHandler=f"{ending} no_module_of_this_name").body == b"x"
    assert not caplog.records
    assert serve(PythonHandler=f"no_module_of_this_name {ending}").status.startswith("500")


def test_handler_that_is_none_is_500(caplog):
    assert serve(None).status.startswith("500")
    assert "is None, no handler" in caplog.text


def test_handler_of_no_name_is_500(caplog):
    def adding(req):
        req.add_handler("PythonHandler", "")
        return apache.OK

    assert serve(adding).status.startswith("500")


def test_extensions_restrict_the_handlers():
    spec = named(writes("a")) + " | .foo .bar"
    assert serve(PythonHandler=spec, SCRIPT_FILENAME="/no/x.bar").body == b"a"
    assert serve(PythonHandler=spec, SCRIPT_FILENAME="/no/x.txt").status == "404 Not Found"
    assert serve(PythonHandler=spec, SCRIPT_FILENAME="/no.foo/x").status == "404 Not Found"


def test_matching_extension_is_told():
    def handler(req):
        req.content_type = "text/plain"
        req.write(req.extension)
        return apache.OK

    assert (
        serve(PythonHandler=named(handler) + "|.foo", SCRIPT_FILENAME="/no/x.foo").body == b".foo"
    )


def test_no_handler_declines():
    assert serve(PythonHandler="").status == "404 Not Found"


def test_python_path_is_evaluated_once_for_each_text(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "module_on_python_path.py").write_text("def handler(req):\n    return 204\n")
    value = f"[{str(tmp_path)!r}] + sys.path"
    before = list(sys.path)
    for _ in range(2):
        assert serve(PythonHandler="module_on_python_path", PythonPath=value).status[:3] == "204"
        use_python_path(value)
    assert sys.path == [str(tmp_path), *before]


def test_python_path_that_is_no_list_is_500(caplog):
    answer = serve(writes("x"), PythonPath="'/x'")
    assert answer.status == "500 Internal Server Error"
    assert "PythonPath is not a list" in caplog.text


@pytest.mark.parametrize(
    "name",
    [
        *("PythonConnectionHandler", "PythonImport", "PythonInterpreter", "PythonOptimize"),
        *("PythonSomethingNew", "PythonAccessHandler.more", "PythonInputFilter"),
        *("PythonSetOutputFilter", "PythonSetInputFilter", "PythonAddOutputFilter"),
        *("pythonaccesshandler", "PYTHONAUTHENHANDLER", "pythonHandler", "pythonloghandler"),
        *("pythonoption.a", "pythonPath", "PYTHONADDOUTPUTFILTER", "pythonoptionfile.a"),
    ],
)
def test_variable_that_asks_for_what_is_not_supported_is_500_and_one_line(name, caplog):
    for _ in range(3):
        answer = serve(writes("secret"), **{name: "x"})
        assert answer.status == "500 Internal Server Error"
        assert b"secret" not in answer.body
    (line,) = caplog.messages
    assert f"SetEnv {name.replace('Add', 'Set')} is not supported on mod_wsgi" in line


@pytest.mark.parametrize("value", ["", " ", "| .py", " ; x | .py"])
@pytest.mark.parametrize(
    "name", ["PythonAccessHandler", "PythonAuthzHandler", "PythonHandlerModule"]
)
def test_phase_that_names_no_handler_is_500_and_one_line(name, value, caplog):
    for _ in range(3):
        answer = serve(writes("secret"), **{name: value})
        assert answer.status == "500 Internal Server Error"
        assert b"secret" not in answer.body
    (line,) = caplog.messages
    assert f"SetEnv {name} names no handler" in line


def test_variables_of_others_change_nothing():
    for name in ("PYTHONPATH", "PYTHONHASHSEED", "Path", "P", "pythonic", "HTTP_PYTHON"):
        assert serve(writes("x"), **{name: "1"}).body == b"x"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("no_such_module", "no module no_such_module on Python's path; add its directory"),
        ("no_such_module::f", "no module no_such_module on Python's path"),
        ("no_such.module", "no module no_such on Python's path"),
    ],
)
def test_module_that_is_not_there_is_500_and_one_line(spec, said, caplog):
    for _ in range(3):
        assert serve(PythonHandler=spec).status == "500 Internal Server Error"
    (line,) = caplog.messages
    assert spec in line and said in line and "\n" not in line


def test_module_that_a_handler_imports_and_is_not_there_is_a_traceback(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "imports_nothing.py").write_text("import no_such_module_either\n")
    assert serve(PythonHandler="imports_nothing").status == "500 Internal Server Error"
    assert "Traceback" in caplog.text and "no_such_module_either" in caplog.text
