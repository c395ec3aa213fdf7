"""The handlers that mod_python brings: WSGI applications, CGI scripts, the test page."""

import functools
import os
import sys
import types
from wsgiref.validate import validator

import pytest
from mod_python import cgihandler, testhandler, wsgi

from handlers.runtime.server import Server
from tests.wsgi import serve

APPLICATION = "PythonOption.mod_python.wsgi.application"
BASE = "PythonOption.mod_python.wsgi.base_uri"


@pytest.fixture
def apply(monkeypatch):
    """Serve a request by an application."""

    def apply(application, **variables):
        module = types.ModuleType("application_of_test")
        module.application = application
        monkeypatch.setitem(sys.modules, module.__name__, module)
        given = {APPLICATION: module.__name__, "SCRIPT_NAME": "", "PATH_INFO": "/app/a"}
        return serve(wsgi.handler, **given | variables)

    return apply


def test_application_is_served(apply):
    seen = []

    def application(environ, start_response):
        seen.append((environ["SCRIPT_NAME"], environ["PATH_INFO"], environ["wsgi.input"].read(2)))
        seen.append(list(environ["wsgi.input"]))
        headers = [("Content-Type", "text/x-a"), ("Set-Cookie", "a"), ("Set-Cookie", "b")]
        start_response("404 Nothing here", headers)
        return [b"one ", b"two"]

    answer = apply(validator(application), REQUEST_METHOD="POST", body=b"abc\nd")
    assert (answer.status, answer.body) == ("404 Nothing here", b"one two")
    assert answer["Content-Type"] == "text/x-a"
    assert [value for name, value in answer.headers if name == "Set-Cookie"] == ["a", "b"]
    assert seen == [("", "/app/a", b"ab"), [b"c\n", b"d"]]


def test_application_that_writes(apply):
    def application(environ, start_response):
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        write(b"one ")
        return (block for block in (b"two ", b"three"))

    answer = apply(application)
    assert answer.blocks == [b"one ", b"two ", b"three"]


@pytest.mark.parametrize(
    "base, path, seen",
    [
        ("/app", "/app/a/b", ("/app", "/a/b")),
        ("/app/", "/app/a", ("/app", "/a")),
        ("/app", "/app", ("/app", "")),
        ("", "/app/a", ("", "/app/a")),
        ("/app", "/apple/a", None),
        ("/other", "/app", None),
    ],
)
def test_base_uri_is_the_script_name(apply, caplog, base, path, seen):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        assert BASE not in environ and APPLICATION not in environ
        return [f"{(environ['SCRIPT_NAME'], environ['PATH_INFO'])}".encode()]

    answer = apply(application, PATH_INFO=path, **{BASE: base})
    if seen is None:
        assert answer.status == "404 Not Found"
        assert "does not start with mod_python.wsgi.base_uri" in caplog.text
    else:
        assert answer.body == repr(seen).encode()


def test_headers_can_be_replaced_until_they_are_sent(apply):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("X-A", "1")])
        with pytest.raises(AssertionError):
            start_response("200 OK", [])
        try:
            raise ValueError("a fault")
        except ValueError:
            start_response("500 Failed", [("Content-Type", "text/x-b")], sys.exc_info())
        yield b"failed"
        with pytest.raises(ValueError, match="a later fault"):
            try:
                raise ValueError("a later fault")
            except ValueError:
                start_response("500 Failed", [], sys.exc_info())

    answer = apply(application)
    assert (answer.status, answer["X-A"], answer["Content-Type"]) == (
        "500 Failed",
        None,
        "text/x-b",
    )


def test_response_is_closed_after_a_fault(apply, caplog):
    class Response:
        closed = False

        def __iter__(self):
            raise ValueError("a fault")

        def close(self):
            Response.closed = True

    def application(environ, start_response):
        start_response("200 OK", [])
        return Response()

    assert apply(application).status == "500 Internal Server Error"
    assert Response.closed and "a fault" in caplog.text


def test_application_that_is_not_there_is_declined(apply, caplog):
    for name in ("", "application_of_test::other"):
        assert apply(None, **{APPLICATION: name}).status == "404 Not Found"
    assert caplog.text.count("not found, declining") == 2


# -- CGI -----------------------------------------------------------------------------------------


@pytest.fixture
def script(tmp_path):
    """Run a CGI script."""

    def script(source, name="script.py", **variables):
        (tmp_path / "script.py").write_text(source)
        os.utime(tmp_path / "script.py", ns=(0, script.calls * 10**9))
        script.calls += 1
        before = dict(os.environ), sys.stdin, sys.stdout, os.getcwd(), list(sys.path), sys.argv
        answer = serve(cgihandler.handler, SCRIPT_FILENAME=str(tmp_path / name), **variables)
        assert before == (
            *(dict(os.environ), sys.stdin, sys.stdout, os.getcwd(), list(sys.path), sys.argv),
        )
        return answer

    script.calls = 1
    return script


def test_script_is_run(script):
    source = """
import os, sys
print("Content-Type: text/x-cgi\\nX-A: 1\\nStatus: 202 Fine\\n")
print(__name__, os.path.basename(os.getcwd()), os.environ["QUERY_STRING"], sys.argv, end=" ")
print(os.environ["HTTP_AUTHORIZATION"], os.environ["GATEWAY_INTERFACE"], "é", end="")
"""
    answer = script(source, QUERY_STRING="a=1", HTTP_AUTHORIZATION="Basic x")
    assert (answer.status, answer["Content-Type"], answer["X-A"]) == (
        "202 Accepted",
        "text/x-cgi",
        "1",
    )
    name, directory, *rest = answer.body.decode().split()
    assert name == "script" and directory.startswith("test_script_is_run")
    assert rest == ["a=1", "[]", "Basic", "x", "Python-CGI/1.1", "é"]
    assert answer["Content-Length"] == str(len(answer.body))


def test_script_reads_the_body(script):
    text = 'import sys; print("Content-Type: a/b\\n"); print(repr(sys.stdin.readline()), end="")'
    assert script(text, REQUEST_METHOD="POST", body=b"a\r\nb").body == b"'a\\r\\n'"
    raw = 'import sys; print("Content-Type: a/b\\n"); print(sys.stdin.buffer.read(), end="")'
    assert script(raw, REQUEST_METHOD="POST", body=b"\xff" * 5).body == repr(b"\xff" * 5).encode()


def test_script_writes_bytes(script):
    source = """
import sys
for block in (b"Content-Type: a/b\\r", b"\\n\\r\\n\\n\\nx", b"\\xff"):
    sys.stdout.buffer.write(block)
"""
    assert script(source).body == b"\n\nx\xff"


@pytest.mark.parametrize(
    "source, status",
    [
        ('print("Location: /x\\n")', "302 Found"),
        ('print("Location: /x\\nStatus: 301 x\\n")', "301 Moved Permanently"),
        ('print("X-A: 1\\n")', "200 OK"),
        ('print("X-A: 1")', "200 OK"),
        ('import sys; print("X-A: 1\\n"); sys.exit()', "200 OK"),
        ("", "200 OK"),
        ("print('no header')", "500 Internal Server Error"),
        ("print('Status: x\\n')", "500 Internal Server Error"),
        ("print('X' * 70000)", "500 Internal Server Error"),
        ("1/0", "500 Internal Server Error"),
        ("import sys; sys.exit(3)", "500 Internal Server Error"),
        ("import sys; sys.exit('failed')", "500 Internal Server Error"),
    ],
)
def test_status_of_a_script(script, source, status):
    answer = script(source)
    assert answer.status == status
    if "Location" in source:
        assert answer["Location"] == "/x"


def test_script_that_is_not_there_is_404(script):
    assert script("", name="none.py").status == "404 Not Found"


def test_modules_beside_a_script_are_imported_anew(script, tmp_path):
    source = 'import beside_script; print("Content-Type: a/b\\n"); print(beside_script.x, end="")'
    for number in (1, 2):
        (tmp_path / "beside_script.py").write_text(f"x = {number}")
        os.utime(tmp_path / "beside_script.py", ns=(0, number * 10**9))
        assert script(source).body == str(number).encode()
    del sys.modules["beside_script"]


# -- the test page -------------------------------------------------------------------------------


def test_test_page_shows_what_a_handler_finds():
    asked = functools.partial(
        serve,
        testhandler.handler,
        HTTP_X_ASKED="<script>",
        SERVER_SOFTWARE="Apache/2.4",
        DOCUMENT_ROOT="/srv/htdocs",
        **{"PythonOption.some.option": "a & b"},
    )
    hidden = asked().body.decode()
    assert "some.option" in hidden and "a &amp; b" not in hidden
    assert "Server configuration tree" not in hidden
    answer = asked(PythonDebug="On")
    assert (answer.status, answer["Content-Type"]) == ("200 OK", "text/html; charset=utf-8")
    page = answer.body.decode()
    for text in ("Apache/2.4", "/srv/htdocs", "&lt;script&gt;", "some.option", "a &amp; b"):
        assert text in page
    assert "<script>" not in page and "view_log" not in page
    assert page.count("<code>Yes</code>") >= 2


def test_end_of_the_error_log_is_shown_under_debug_only(tmp_path, monkeypatch):
    log = tmp_path / "error_log"
    log.write_text("".join(f"line {number}\n" for number in range(150)))

    monkeypatch.setattr(Server, "error_fname", str(log), raising=False)
    query = {"QUERY_STRING": "view_log=1"}
    assert b"line 1" not in serve(testhandler.handler, **query).body
    shown = serve(testhandler.handler, PythonDebug="On", **query)
    assert shown["Content-Type"] == "text/plain"
    assert shown.body.splitlines() == [b"line %d" % number for number in range(50, 150)]


def test_trees_are_written_by_their_depth():
    written = []

    class Req:
        def write(self, data, flush=1):
            written.append(data)

    testhandler.write_tree(Req(), [("A", "b"), [("C", "<d>"), [("E", "f")]]], 0)
    assert b"".join(written) == b"A b\n    C &lt;d&gt;\n        E f\n"
