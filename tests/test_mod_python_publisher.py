"""The publisher: objects by their URLs, what guards them, and what is never published."""

import base64
import logging
import os
import random

import pytest
from mod_python import publisher

from tests.wsgi import serve

PAGE = """
import functools
import os
from html import escape
from os.path import join
from shutil import rmtree
from mod_python import apache, util
from mod_python.util import redirect

def index(req):
    return "the index"

def hello(req, name="nobody"):
    return f"hello {name}"

def without_request(name):
    return name

def every(req, **kw):
    return repr(kw)

def upload(req, up):
    return f"{up.filename} {up.value!r}"

def nothing(req):
    pass

def html(req):
    return "<HTML></html >\\n"

def nearly_html(req):
    return "</html>" + "x" * 200

def raw(req):
    return b"\\xff</html>"

def typed(req):
    req.content_type = "text/x-own"
    return "</html>"

def status(req):
    req.status = 404
    return "gone"

def calls(req):
    return hello

def endless(req):
    return endless

text = "some text"
words = ["a", "b"]
number = 0
_private = "secret"
generated = (x for x in "ab")
chosen = functools.partial(hello, name="partial")

class Page:
    attribute = "of a class"
    _hidden = 1
    def method(self, req, name="1"):
        return f"method {name}"
    def __call__(self, req):
        return "called"

class Meta(type):
    pass

class Odd(metaclass=Meta):
    pass

page = Page()
"""


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "page.py").write_text(PAGE)
    (tmp_path / "index.py").write_text(
        "def index(req):\n    return 'root'\ndef other(req):\n    return 'root other'\n"
    )
    (tmp_path / "_hidden.py").write_text("def index(req):\n    return 'hidden'\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "page.py").write_text("def index(req):\n    return 'page of sub'\n")
    return tmp_path


@pytest.fixture
def ask(tree):
    """Ask for a path of the tree, as Apache maps it: to a file, whether or not it is there."""

    def ask(path, query="", method="GET", body=b"", **variables):
        directory = tree
        parts = path.split("/")
        while len(parts) > 1 and os.path.isdir(directory / parts[0]):
            directory /= parts.pop(0)
        rest = "".join(f"/{part}" for part in parts[1:])
        given = {"SCRIPT_FILENAME": f"{directory}/{parts[0]}", "PATH_INFO": rest}
        given |= {"REQUEST_METHOD": method, "QUERY_STRING": query, "REQUEST_URI": f"/{path}"}
        return serve(publisher.handler, body=body, **given, **variables)

    return ask


def basic(user, password):
    credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"HTTP_AUTHORIZATION": f"Basic {credentials}"}


@pytest.mark.parametrize(
    "path, body",
    [
        ("page", b"the index"),
        ("page.py", b"the index"),
        ("page/", b"the index"),
        ("page/index", b"the index"),
        ("page/hello", b"hello nobody"),
        ("page/hello/", b"hello nobody"),
        ("page/text", b"some text"),
        ("page/words", b"['a', 'b']"),
        ("page/number", b"0"),
        ("page/page", b"called"),
        ("page/page/method", b"method 1"),
        ("page/page.method", b"method 1"),
        ("page/page/attribute", b"of a class"),
        ("page/calls", b"hello nobody"),
        ("page/chosen", b"hello partial"),
        ("", b"root"),
        ("other", b"root other"),
        ("sub/page", b"page of sub"),
    ],
)
def test_object_is_published(ask, path, body):
    answer = ask(path)
    assert (answer.status, answer.body) == ("200 OK", body)
    assert answer["Content-Length"] == str(len(body))


@pytest.mark.parametrize(
    "path, status",
    [
        *((f"page/{name}", "403 Forbidden") for name in ("os", "apache", "Page", "Odd", "escape")),
        *(
            (f"page/{name}", "403 Forbidden")
            for name in ("join", "rmtree", "redirect", "functools")
        ),
        *((f"page/{name}", "403 Forbidden") for name in ("_private", "__doc__", "words/append")),
        *(
            (f"page/{name}", "403 Forbidden")
            for name in ("page/_hidden", "page/__init__", "os/path")
        ),
        *((f"page/{name}", "403 Forbidden") for name in ("hello/name", "os.system", "text/upper")),
        ("page/chosen/func/index", "403 Forbidden"),
        ("_hidden", "403 Forbidden"),
        ("_hidden/index", "403 Forbidden"),
        *((f"page/{name}", "404 Not Found") for name in ("none", "page/none", "a..b", ".", "//")),
        *((name, "404 Not Found") for name in ("none", "none/x", ".htaccess", "sub", "sub/none")),
    ],
)
def test_what_is_never_published(ask, path, status):
    assert ask(path).status == status


def test_refusal_is_logged_with_its_reason(ask, caplog):
    ask("page/_private")
    ask("page/os")
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert "Cannot traverse _private in /page/_private because" in caplog.text
    assert "Cannot publish os in /page/os because" in caplog.text


@pytest.mark.parametrize(
    "path, kind",
    [
        ("hello", "text/plain"),
        ("html", "text/html"),
        ("nearly_html", "text/plain"),
        ("raw", "text/html"),
        ("typed", "text/x-own"),
    ],
)
def test_content_type_is_guessed_unless_it_is_set(ask, path, kind):
    assert ask(f"page/{path}")["Content-Type"] == kind


def test_bytes_are_sent_as_they_are(ask):
    assert ask("page/raw").body == b"\xff</html>"


def test_status_that_a_page_sets_is_sent(ask):
    answer = ask("page/status")
    assert (answer.status, answer.body) == ("404 Not Found", b"gone")


def test_nothing_published_is_an_empty_page(ask, caplog):
    assert ask("page/nothing").body == b""
    assert not caplog.records
    ask("page/nothing", PythonDebug="On")
    assert "nothing to publish" in caplog.text


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_methods_that_are_published(ask, method):
    answer = ask("page/hello", method=method, CONTENT_LENGTH="0")
    assert answer.status == "200 OK"
    assert answer.body == (b"" if method == "HEAD" else b"hello nobody")


def test_other_methods_are_405(ask):
    answer = ask("page/hello", method="PUT")
    assert (answer.status, answer["Allow"]) == ("405 Method Not Allowed", "GET, POST, HEAD")


URLENCODED = "application/x-www-form-urlencoded"
PART = b'--X\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'


def test_arguments_come_from_the_form(ask):
    assert ask("page/hello", "name=Ann&other=1").body == b"hello Ann"
    assert ask("page/hello", "name=a&name=b").body == b"hello ['a', 'b']"
    assert ask("page/without_request", "name=%C3%A9").body == "é".encode()
    body = ask("page/every", "a=1&bb=2&req=3").body.decode()
    assert "'a': '1', 'bb': '2'" in body and "3" not in body
    assert ask("page/page/method", "name=x&self=y").body == b"method x"
    posted = {"method": "POST", "CONTENT_TYPE": URLENCODED}
    assert ask("page/hello", body=b"name=Ann", **posted).body == b"hello Ann"
    parts = PART % (b"name", b"Ann") + b"--X--"
    posted["CONTENT_TYPE"] = "multipart/form-data; boundary=X"
    assert ask("page/hello", body=parts, **posted).body == b"hello b'Ann'"
    parts = PART.replace(b'"%s"', b'"%s"; filename="f"') % (b"up", b"x") + b"--X--"
    assert ask("page/upload", body=parts, **posted).body == b"f b'x'"


def test_missing_argument_is_a_fault_of_the_page(ask, caplog):
    assert ask("page/without_request").status == "500 Internal Server Error"
    assert "missing 1 required positional argument: 'name'" in caplog.text


def test_endless_chain_of_calls_ends(ask, caplog):
    assert ask("page/endless").status == "500 Internal Server Error"
    assert "keeps returning" in caplog.text


def test_any_path_is_answered(ask):
    rng = random.Random(1)
    pieces = (
        "page",
        "index",
        "hello",
        "text",
        "words",
        "_private",
        "__class__",
        "os",
        "",
        ".",
        "..",
    )
    pieces += (
        "a.b",
        "%",
        "é",
        "\xff",
        "\0",
        "x" * 300,
        "page.py",
        "sub",
        "__globals__",
        "-",
        " ",
    )
    for _ in range(300):
        path = "/".join(rng.choices(pieces, k=rng.randrange(1, 5)))
        status = ask(path).status.partition(" ")[0]
        assert status in ("200", "403", "404"), path


# -- guards --------------------------------------------------------------------------------------

GUARDED = """
import functools
from types import SimpleNamespace

def plain(req):
    return "plain"

def by_function(req):
    def __auth__(req, user, password):
        return (user, password) == ("ann", "sesame")
    __auth_realm__ = 'the "realm"'
    return "in"

def by_dict(req):
    __auth__ = {"ann": "sesame", "bob": "x"}
    return "in"

def by_one(req):
    __auth__ = {"ann": "sesame"}
    return "in"

def nobody(req):
    __auth__ = 0
    return "in"

def by_list(req):
    __access__ = ["ann", "bob", "eve", "tom"]
    return "in"

def by_tuple(req):
    __access__ = ("ann",)
    return "in"

def by_access_function(req):
    def __access__(req, user):
        return user == "ann"
    return "in"

def closed(req):
    __access__ = 0
    return "in"

def both(req):
    x = 1
    __auth__ = {"ann": "sesame", "bob": "x"}
    __access__ = ["ann"]
    return "in"

def by_call(req):
    __auth__ = dict(ann="sesame")
    return "in"

def by_two(req):
    __access__ = 0
    __access__ = 1
    return "in"

def by_closure(req):
    allowed = "ann"
    def __access__(req, user):
        return user == allowed
    return "in"

def decorated_by(function):
    @functools.wraps(function)
    def wrapper(req):
        return function(req)
    return wrapper

behind_decorator = decorated_by(by_dict)

def by_attribute(req):
    return "in"
by_attribute.__auth__ = {"ann": "sesame"}

class Guarded:
    __auth__ = {"ann": "sesame"}
    inside = "in"
    def method(self, req):
        return "in"

class Method:
    def method(self, req):
        __auth__ = {"ann": "sesame"}
        return "in"

guarded = Guarded()
by_method = Method()
"""


@pytest.fixture
def guarded(tree, ask):
    (tree / "guarded.py").write_text(GUARDED)
    return lambda name, **variables: ask(f"guarded/{name}", **variables)


WITH_PASSWORD = [
    *("by_function", "by_dict", "by_one", "behind_decorator", "by_attribute", "both"),
    *("guarded/inside", "guarded/method", "by_method/method"),
]


@pytest.mark.parametrize("name", WITH_PASSWORD)
def test_password_is_asked_for(guarded, name):
    for given in ({}, basic("ann", "wrong"), basic("", "sesame"), basic("eve", "sesame")):
        answer = guarded(name, **given)
        assert answer.status == "401 Unauthorized"
        realm = r'"the \"realm\""' if name == "by_function" else '"unknown"'
        assert answer["WWW-Authenticate"] == f"Basic realm={realm}"
    answer = guarded(name, **basic("ann", "sesame"))
    assert (answer.status, answer.body) == ("200 OK", b"in")


@pytest.mark.parametrize("name", ["by_list", "by_tuple", "by_access_function"])
def test_access_is_for_those_who_are_named(guarded, name):
    assert guarded(name).status == "403 Forbidden"
    assert guarded(name, **basic("mallory", "")).status == "403 Forbidden"
    assert guarded(name, **basic("ann", "")).body == b"in"


def test_access_is_asked_after_the_password(guarded):
    assert guarded("both", **basic("bob", "x")).status == "403 Forbidden"


def test_constants_that_let_nobody_in(guarded):
    assert guarded("closed", **basic("ann", "sesame")).status == "403 Forbidden"
    assert guarded("nobody", **basic("ann", "sesame")).status == "401 Unauthorized"


@pytest.mark.parametrize("name", ["by_call", "by_two", "by_closure"])
def test_guard_that_only_a_call_would_make_lets_nobody_in(guarded, name, caplog):
    assert guarded(name, **basic("ann", "sesame")).status == "500 Internal Server Error"
    assert "is made by a call, so the publisher cannot know it: nobody gets in" in caplog.text


@pytest.mark.parametrize(
    "field, status",
    [
        ("Basic ====x", 400),
        ("Basic YW5u", 400),
        ("basic  YW5uOnNlc2FtZQ==", 200),
        ("Bearer YW5uOnNlc2FtZQ==", 401),
        ("Basic", 400),
        ("", 401),
    ],
)
def test_credentials(guarded, field, status):
    answer = guarded("by_dict", HTTP_AUTHORIZATION=field)
    assert answer.status.startswith(str(status))


def test_guards_of_the_module_hold_for_all_of_it(tree, ask):
    (tree / "closed.py").write_text(
        "__auth__ = {'ann': 'sesame'}\n__auth_realm__ = 'page'\n__access__ = ['ann']\n"
        "def index(req):\n    return 'in'\n"
    )
    answer = ask("closed")
    assert (answer.status, answer["WWW-Authenticate"]) == (
        "401 Unauthorized",
        'Basic realm="page"',
    )
    # nobody learns what is there and what is not
    assert ask("closed/none").status == "401 Unauthorized"
    assert ask("closed", **basic("ann", "sesame")).body == b"in"


# -- modules -------------------------------------------------------------------------------------


def rewrite(path, text):
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text)
    os.utime(path, ns=(before + 10**9, before + 10**9))


def test_changed_module_is_read_again(tree, ask, caplog):
    caplog.set_level(logging.INFO)
    rewrite(tree / "page.py", "def index(req):\n    return 'one'\n")
    assert ask("page").body == b"one"
    rewrite(tree / "page.py", "def index(req):\n    return 'two'\n")
    assert ask("page", PythonDebug="On").body == b"two"
    assert "Publisher loading page" in caplog.text


def test_module_that_fails_does_so_until_it_is_mended(tree, ask, caplog):
    assert ask("page").body == b"the index"
    rewrite(tree / "page.py", "def index(req):\n    return 'one\n")
    for _ in range(2):
        assert ask("page").status == "500 Internal Server Error"
    rewrite(tree / "page.py", "def index(req):\n    return 'mended'\n")
    assert ask("page").body == b"mended"
    assert "page.py" in caplog.text and "line 2" in caplog.text


def test_modules_of_one_name_in_two_directories_are_two(tree, ask):
    assert ask("page").body == b"the index"
    assert ask("sub/page").body == b"page of sub"
    assert ask("page").body == b"the index"


def test_extensions_that_the_configuration_names_are_cut_off(ask):
    assert ask("page.html").status == "404 Not Found"
    exts = {"PythonOption.mod_python.addhandler_exts": ".html .htm"}
    assert ask("page.html", **exts).body == b"the index"
