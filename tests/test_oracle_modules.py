"""mod_python's own modules answer as the real ones do: publisher, PSP, forms, cookies and others.

On mod_python they run in an interpreter in which this package has not put its own in their place.
"""

import base64
import json
import pathlib
import re

import pytest

from tests.differences import ANSWERS
from tests.oracle import own
from tests.servers.pair import quoted

README = (pathlib.Path(__file__).parent.parent / "README.md").read_text()
# what is written as a whole goes out with its length
OF_SIZE = ("content-length", "transfer-encoding")
MULTIPART = "multipart/form-data; boundary=XX"


def basic(user, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def part(name, value, filename=None, kind=None):
    file = f'; filename="{filename}"' if filename else ""
    kind = f"\r\nContent-Type: {kind}" if kind else ""
    head = f'--XX\r\nContent-Disposition: form-data; name="{name}"{file}{kind}\r\n\r\n'
    return head.encode() + value + b"\r\n"


# -- publisher -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path, body",
    [
        *(("", b"root"), ("index.py", b"root"), ("index", b"root"), ("other", b"other of root")),
        *(("page", b"the index"), ("page.py", b"the index"), ("page/", b"the index")),
        *(("page/index", b"the index"), ("page/hello/", b"hello nobody")),
        *(("page/text", b"some text"), ("page/words", b"['a', 'b']"), ("page/number", b"0")),
        *(("page/instance", b"called"), ("page/instance/attribute", b"attribute")),
        *(("page/instance/method", b"method nobody"), ("page/instance.method", b"method nobody")),
        *(("page/page", None), ("page/nearly", None), ("page/typed", None), ("page/nothing", b"")),
        *(("page/written", b"written"), ("page/status", b"not here"), ("page/returned", None)),
        *(("page/calls", b"hello nobody"), ("sub/page", b"page of sub"), ("sub/", None)),
        *(("none", None), ("page/none", None), ("page/instance/none", None), ("sub/none", None)),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_published_object_is_the_same(pair, method, path, body):
    answer = pair.same(f"/o/published/{path}", method)
    if body is not None and method == "GET":
        assert answer.body == body


@pytest.mark.parametrize(
    "path",
    [
        *("page/_private", "page/__doc__", "page/apache", "page/Page", "page/instance/_hidden"),
        *("page/words/append", "page/hello/name", "page/instance/__init__", "page/closed"),
        *("page/text/upper", "page/apache.log_error", "_none", "page/_none/x"),
    ],
)
def test_what_may_not_be_published_is_403(pair, path):
    pair.expect("Cannot (traverse|publish)")
    assert pair.same(f"/o/published/{path}").status == 403


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_405(pair, method):
    assert pair.same("/o/published/page", method, but=("allow",)).status == 405


@pytest.mark.parametrize(
    "query", ["name=Anna", "other=Anna", "name=", "name=Anna&name=Bert", "name=a%20bc+d%21"]
)
def test_arguments_from_the_query(pair, query):
    pair.same(f"/o/published/page/hello?{query}")
    pair.same(f"/o/published/page/instance/method?{query}")
    pair.same(f"/o/published/page/every?{query}")


def test_arguments_from_a_multipart_body(pair):
    fields = {"Content-Type": MULTIPART}
    body = part("name", b"Anna") + b"--XX--\r\n"
    answer = pair.same("/o/published/page/hello", "POST", fields, body)
    assert answer.body == b"hello b'Anna'"
    body = part("upload", b"a\r\n\n--XX-b", "file.txt", "text/x-a") + b"--XX--\r\n"
    pair.same("/o/published/page/upload", "POST", fields, body)


def test_form_of_a_published_function(pair):
    answer = pair.same("/o/published/page/form?name=Anna&blank=")
    assert answer.body == b"FieldStorage ['blank', 'name']"


@pytest.mark.parametrize("path", ["page/without_request", "broken"])
def test_fault_of_a_page_is_500(pair, path):
    pair.expect("published")
    pair.expect(r"TypeError|ValueError|Traceback|File|\.handler|publish_object|\^")
    assert pair.same(f"/o/published/{path}").status == 500


@pytest.mark.parametrize("path", ["closed", "closed/none", "page/with_password/inside"])
def test_password_is_asked_for(pair, path):
    answer = pair.same(f"/o/published/{path}")
    assert answer.status == 401


# -- PSP -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        *("loops.psp", "text.psp", "form.psp?name=Anna&wxyz=", "includes.psp", "fails.psp"),
        *("apply.psp?name=Anna&wxyz=1", "status.psp", "names.psp", "none.psp", "loops.psp_"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_page_is_the_same(pair, method, path):
    pair.same(f"/o/pages/{path}", method)


@pytest.mark.parametrize("name", ["fault", "syntax"])
def test_faults_of_pages_name_their_line(pair, name):
    pair.expect(r"pages|PythonHandler mod_python\.psp|Error|Traceback|File|\^|During|exec|<%")
    answers = pair.ask(f"/o/pages/{name}.psp")
    # output that is not flushed goes out with mod_python's error
    assert [answer.status for answer in answers] == [500, 500]
    line = {"fault": 3, "syntax": 1}[name]
    pair.logged(rf'pages/{name}\.psp", line (0|{line})\b')


# -- CGI and WSGI --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["script.py?a=b", "script?a=b", "none.py"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_script_is_the_same(pair, method, path):
    answer = pair.same(f"/o/scripts/{path}", method, but=OF_SIZE)
    if method == "GET" and path != "none.py":
        assert answer.headers["X-Own"] == "1"


def test_fault_of_a_script_is_500(pair):
    pair.expect("scripts|PythonHandler mod_python.cgihandler|Error|Traceback|File")
    assert pair.same("/o/scripts/fault.py").status == 500


@pytest.mark.parametrize("path", ["/a/b%20c?d=e", "/a", "/a/?a"])
def test_application_is_the_same(pair, path):
    pair.same(f"/o/applications/application{path}", but=OF_SIZE)
    answer = pair.same(f"/o/applications/writing{path}", but=OF_SIZE)
    assert answer.body == b"first second third"


def test_application_reads_the_body(pair):
    fields = {"Content-Type": "text/x-own"}
    path = "/o/applications/application/a"
    assert pair.same(path, "POST", fields, b"one\ntwo\n", OF_SIZE).body.endswith(b"one|\n")


def test_application_that_is_not_there_is_declined(pair):
    pair.expect("declining")
    assert pair.same("/o/applications/nothing").status == 404


def test_fault_of_an_application_is_500(pair):
    pair.expect("applications|PythonHandler mod_python.wsgi|Error|Traceback|File")
    assert pair.same("/o/applications/failing").status == 500


# -- forms, cookies and the rest -----------------------------------------------------------------


@pytest.mark.parametrize("question", [name for name in own.QUESTIONS if name not in ANSWERS["own"]])
def test_questions_about_the_modules_have_the_same_answer(pair, question):
    pair.same(f"/o/own/ask/file.txt?{quoted(question)}")


@pytest.mark.parametrize(
    "body",
    [
        part("name", b"value") + part("blank", b"") + b"--XX--\r\n",
        part("name", b"a\r\n\r\n--XX-\r\nb\n") + b"--XX--\r\n",
        part("up", b"\x00\xff\r\n\n" * 9, "file.bin", "application/x-a; b=c") + b"--XX--\r\n",
        b"before\r\n" + part("name", b"one") + part("name", b"two") + b"--XX--\r\n",
        b"--XX\r\nContent-Disposition: form-data; name=plain\r\n\r\nx\r\n--XX--\r\n",
        part("name", b"value", kind="text/plain; charset=utf-8") + b"--XX--\r\n",
        b"--XX--\r\n",
    ],
    ids=range(7),
)
def test_multipart_form_is_the_same(pair, body):
    pair.same("/o/own/form/file.txt", "POST", {"Content-Type": MULTIPART}, body)


@pytest.mark.parametrize(
    "query", ["", "?name=Anna&wxyz=a+b%21&blank=&name=Bert", "?name=Anna;wxyz=1"]
)
def test_form_of_a_query_is_the_same(pair, query):
    pair.same(f"/o/own/form/file.txt{query}")


def test_form_is_the_same_mapping(pair):
    body = part("name", b"one") + part("other", b"two") + part("name", b"three") + b"--XX--\r\n"
    pair.same("/o/own/mapping/file.txt", "POST", {"Content-Type": MULTIPART}, body)


@pytest.mark.parametrize("kind, status", [("text/plain", 501), ("multipart/form-data", 400)])
def test_form_of_another_type_is_refused(pair, kind, status):
    pair.expect("answered with 400")
    assert (
        pair.same("/o/own/form/file.txt", "POST", {"Content-Type": kind}, b"x", ("allow",)).status
        == status
    )


@pytest.mark.parametrize("arguments", [("/x", 0, None), ("/x?a=b", 1, None), ("/x", 0, "text")])
def test_redirect_is_the_same(pair, arguments):
    pair.same(f"/o/own/redirect/file.txt?{quoted(list(arguments))}")


@pytest.mark.parametrize("field", ["a=b", "a=b; c=d", 'a="b"; d', "$Version=1; a=b; $Path=/", ""])
def test_cookies_are_the_same(pair, field):
    pair.same("/o/own/cookies/file.txt", headers={"Cookie": field} if field else None)


def test_cookies_are_added_the_same(pair):
    pair.same("/o/own/add_cookie/file.txt")


@pytest.mark.parametrize("module", own.MODULES)
def test_names_that_are_not_here_are_those_that_the_readme_lists(pair, module):
    ours, real = (set(json.loads(answer.body)) for answer in pair.ask(f"/o/own/names/x?{module}"))
    row = re.search(rf"^\| `{module}` \|([^|]*)\|[^|]+\|$", README, re.MULTILINE)
    assert row, f"README has no row of {module}"
    assert set(re.findall("`([^`]+)`", row[1])) == real - ours
