"""PSP: how pages become Python, what they see, and which errors they give."""

import ast
import os
import threading
import traceback
import types

import pytest
from mod_python import apache, psp

from handlers.runtime import psp_source
from tests.linear import assert_linear_in_lines
from tests.wsgi import serve


class Written:
    """A request that only writes."""

    def __init__(self):
        self.text = ""

    def write(self, text, flush=1):
        self.text += text


def run(source, **names):
    translation = psp_source.translate(source)
    req = Written()
    exec(psp_source.compile_page(translation, "page"), {"req": req, **names})
    return req.text


@pytest.mark.parametrize(
    "source, text",
    [
        ("", ""),
        ("text", "text"),
        ("a\n<b c=\"d\" e='f'>\"\"\"\n'''", "a\n<b c=\"d\" e='f'>\"\"\"\n'''"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("<%= 1 + 1 %>", "2"),
        ("a<%= 'x'%>b", "axb"),
        ("<%= [n\n for n in (1, 2)] %>", "[1, 2]"),
        ("<% x = 1 %><%= x %>", "1"),
        ("<%x=1%>a", "a"),
        ("a<%-- <% not this %> --%>b", "ab"),
        ("a<%-- \n --%>b<%----%>", "ab"),
        ("<%@ page language='python' %>a", "a"),
        ("a < % b %> c", "a < % b %> c"),
        ("<% x = 1", ""),
        ("é€ <%= 'é' %>", "é€ é"),
        ("a\0b", "a\0b"),
        # escapes as mod_python has them
        (r"a\n\t\r", r"a\n\t\r"),
        (r"\x41\101\'", "AA'"),
        (r"\q \x4 \u12 \N{DASH} \U00119999", r"\q \x4 \u12 \N{DASH} \U00119999"),
        ("a\\", "a\\"),
        ('a\\"', 'a\\"'),
        ('a\\"""', 'a\\"""'),
        ("a\\<%= 1 %>", "a\\1"),
        ("a\\\nb", "ab"),
    ],
)
def test_page_becomes(source, text):
    assert run(source) == text


@pytest.mark.parametrize(
    "source, text",
    [
        # the last line of a block says how far the text behind it is indented
        ("<%\nfor n in (1, 2):\n%>a<%= n %>\n<%\n# end\n%>z", "a1\na2\nz"),
        ("<%\nfor n in (1, 2):\n    # begin\n%>a<%= n %><%\n# end\n%>z", "a1a2z"),
        ("<%\nfor n in (1, 2):\n    x = n\n%>a<%= x %><%\n%>z", "a1a2z"),
        ("<%\nif 0:\n%>a<%\nelse:\n%>b<%\n%>z", "bz"),
        ("<%\nif 0:\n    x\n\n%>z", "z"),
        ("<%\nif 1:\n\n%>a", "a"),
        ("<%\nfor a in 'xy':\n%><%\n\tfor b in (1, 2):\n%><%= a %><%= b %><%\n\t#\n%>,<%\n#\n%>z",
         "x1x2,y1y2,z"),
        # what stands in one line changes nothing
        ("<%\nif 0:\n%>a<% x = 1 %>b<%\n%>z", "z"),
        ("<%\nif 0:%>a\n<%\n%>z", "z"),
        ("<%\ndef f(x):\n%>[<%= x %>]<%\n%><% f(1) %><% f(2) %>", "[1][2]"),
    ],
)  # fmt: skip
def test_text_is_indented_like_the_code_before_it(source, text):
    assert run(source) == text
    assert run(source.replace("\n", "\r\n")) == text


@pytest.mark.parametrize(
    "source, line",
    [
        ("a\n<% x = = 1 %>", 2),
        ("a\n<%= ( %>", 2),
        ("<%= 1", 1),
        ("\n<%-- a", 2),
        ("<%@ include", 1),
        ("<% if 1: %>a", 1),
        ("<%\nif 1:\n    x = 1\n  %>a\n<%\n y\n%>", 6),
        ("<% \0 %>", 1),
        ("\ud800", 1),
        ("<% return %>", 1),
        ("\n\n<% " + "(" * 300 + " %>", 3),
        ("<%= " + "-" * 200_000 + "1 %>", 1),
        ("<%@ include file='x' %>", 1),
    ],
)
def test_page_that_is_not_python_is_a_syntax_error_at_its_line(source, line):
    with pytest.raises(SyntaxError) as caught:
        run(source)
    assert caught.value.lineno == line


def test_bytes_that_are_not_utf_8():
    with pytest.raises(UnicodeDecodeError):
        psp_source.translate(b"caf\xe9")


@pytest.mark.parametrize(
    "source, line",
    [
        ("\n\n<%= 1/0 %>", 3),
        ("<%-- \n\n --%>\n<%= 1/0 %>", 4),
        ("<%\nx = 0\ny = (1\n  / x)\n#\n%>", 3),
        ("<%@ page\n%>\r\n<%= 1/0 %>", 3),
        ("a\rb\r<%= 1/0 %>", 3),
    ],
)
def test_exception_names_the_line_of_the_page(source, line):
    with pytest.raises(ZeroDivisionError) as caught:
        run(source)
    assert traceback.extract_tb(caught.value.__traceback__)[-1].lineno == line


def test_python_has_the_lines_of_the_page():
    source = "a\n<%\nfor n in x:\n%>b\n<%= n %>\n<%\n# end\n%>c"
    made = psp.parsestring(source).splitlines()
    assert len(made) == len(source.splitlines())
    assert made[2] == "for n in x:" and made[6] == "# end"
    assert psp.parsestring(source.encode()) == psp.parsestring(source)


# -- files ---------------------------------------------------------------------------------------


@pytest.fixture
def ask(tmp_path):
    """Write pages, ask for one, and return the answer."""

    def ask(name="page.psp", query="", handler=psp.handler, pages=None, **variables):
        for file, text in (pages or {}).items():
            path = tmp_path / file
            before = path.stat().st_mtime_ns if path.exists() else 0
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
            os.utime(path, ns=(before + 10**9, before + 10**9))
        given = {"SCRIPT_FILENAME": str(tmp_path / name), "QUERY_STRING": query}
        given["DOCUMENT_ROOT"] = str(tmp_path)
        return serve(handler, **given, **variables)

    return ask


def test_page_is_served_as_html(ask):
    answer = ask(pages={"page.psp": "<p><%= 1 + 1 %></p>"})
    assert (answer.status, answer.body) == ("200 OK", b"<p>2</p>")
    assert (answer["Content-Type"], answer["Content-Length"]) == ("text/html", "8")


def test_page_that_is_not_there_is_404(ask):
    assert ask("none.psp").status == "404 Not Found"


def test_page_is_compiled_once_and_again_when_it_has_changed(ask, monkeypatch):
    compiled = []
    real = psp_source.compile_page
    monkeypatch.setattr(
        psp_source, "compile_page", lambda *args: compiled.append(args[1]) or real(*args)
    )
    ask(pages={"page.psp": '<%@ include file="head.txt" %>one', "head.txt": "head "})
    assert ask().body == b"head one"
    assert len(compiled) == 1
    assert ask(pages={"page.psp": '<%@ include file="head.txt" %>two'}).body == b"head two"
    assert ask(pages={"head.txt": "other "}).body == b"other two"
    assert len(compiled) == 3


def test_threads_compile_a_page_once(tmp_path, monkeypatch):
    path = tmp_path / "page.psp"
    path.write_text("page")
    compiled = []
    real = psp_source.compile_page

    def compile_page(*args):
        compiled.append(args[1])
        return real(*args)

    monkeypatch.setattr(psp_source, "compile_page", compile_page)
    codes = []
    ready = threading.Barrier(8)

    def load():
        ready.wait(60)
        codes.append(psp.PSP(types.SimpleNamespace(filename=str(path))).code)

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(codes) == 8 and len(set(map(id, codes))) == 1
    assert compiled == [str(path)]


def test_pages_that_are_kept_are_limited(monkeypatch):
    pages = psp._Strings(3)
    monkeypatch.setattr(psp, "_strings", pages)
    for number in range(5):
        psp.PSP(None, string=f"page {number}")
    assert list(pages._dict) == ["page 2", "page 3", "page 4"]
    assert psp._files._maxsize == 512


def test_error_of_a_page_does_not_outlive_it(ask, caplog):
    assert ask(pages={"page.psp": "one"}).body == b"one"
    for _ in range(2):
        assert ask(pages={"page.psp": "\n<% = %>"}).status == "500 Internal Server Error"
    assert 'page.psp", line 2' in caplog.text
    assert ask(pages={"page.psp": "two"}).body == b"two"


def test_includes(ask):
    pages = {
        "page.psp": "<%\nx = 1\n%>[<%@ include file=\"sub/a.txt\" %>]<%@include file = '/b.txt'%>",
        "sub/a.txt": 'a<%= x %><%@ include file="b.txt" %>',
        "b.txt": "b\n<%\nx = 2\n%>",
    }
    assert ask(pages=pages).body == b"[a1b\n]b\n"


def test_line_behind_an_include_is_the_pages(ask, caplog):
    pages = {"page.psp": '\n<%@ include file="a.txt" %>\n<%= 1/0 %>', "a.txt": "a\n\n\n"}
    ask(pages=pages)
    assert 'page.psp", line 3' in caplog.text
    ask(pages={"a.txt": "\n\n\n<%= nothing %>"})
    assert 'page.psp", line 2' in caplog.text


@pytest.mark.parametrize(
    "pages, message",
    [
        ({"page.psp": '<%@ include file="none.txt" %>'}, "No such file.*none.txt"),
        ({"page.psp": '<%@ include file="page.psp" %>'}, "too many includes"),
        (
            {
                "page.psp": '<%@ include file="0.txt" %>',
                **{f"{n}.txt": f'<%@ include file="{n + 1}.txt" %>' * 2 for n in range(40)},
                "40.txt": "",
            },
            "too many includes",
        ),
        ({"page.psp": b"caf\xe9"}, "UnicodeDecodeError"),
    ],
)
def test_page_that_cannot_be_read_is_an_error(ask, caplog, pages, message):
    assert ask(pages=pages).status == "500 Internal Server Error"
    assert pytest.raises(AssertionError, match=message).matches(AssertionError(caplog.text))


# -- what pages see ------------------------------------------------------------------------------


def test_form_is_made_for_pages_that_name_it(ask):
    pages = {"page.psp": "<%= form.getfirst('a').decode() %> <%= form is req.form %>"}
    assert ask(query="a=%C3%A9&b=", pages=pages).body == "é True".encode()
    assert ask(pages={"page.psp": "<%= hasattr(req, 'form') %>"}).body == b"False"


def test_session_is_made_saved_and_unlocked_for_pages_that_name_it(ask, tmp_path):
    options = {
        "PythonOption.mod_python.session.session_type": "FileSession",
        "PythonOption.mod_python.session.database_directory": str(tmp_path),
    }
    page = '<%\nsession["n"] = session.get("n", 0) + 1\n%><%= session["n"] %>'
    answer = ask(pages={"page.psp": page}, **options)
    assert answer.body == b"1"
    cookie = answer["Set-Cookie"].partition(";")[0]
    assert ask(HTTP_COOKIE=cookie, **options).body == b"2"


def test_redirect(ask):
    answer = ask(pages={"page.psp": "<% psp.redirect('/x') %>"})
    assert (answer.status, answer["Location"]) == ("302 Found", "/x")
    answer = ask(pages={"page.psp": "<% psp.redirect('/x', permanent=1) %>"})
    assert answer.status == "301 Moved Permanently"


def test_apply_data(ask):
    page = '<%\ndef f(req, a, b="2"):\n    return f"{a} {b}"\n#\n%><%= psp.apply_data(f) %>'
    assert ask(query="a=1&c=3", pages={"page.psp": page}).body == b"1 2"


def test_error_page_runs_instead_of_the_rest(ask, caplog):
    pages = {
        "page.psp": "<% psp.set_error_page('error.psp') %>a<%= 1/0 %>b",
        "error.psp": " failed: <%= exception[0].__name__ %> <%= exception[1] %>",
    }
    assert ask(pages=pages).body == b"a failed: ZeroDivisionError division by zero"
    pages["page.psp"] = "<% psp.set_error_page('/error.psp') %>a<%= 1/0 %>b"
    assert ask(pages=pages).body == b"a failed: ZeroDivisionError division by zero"
    pages["page.psp"] = "<% psp.set_error_page('none.psp') %>a<%= 1/0 %>b"
    assert ask(pages=pages).status == "404 Not Found"
    assert not caplog.records


def test_error_page_is_not_for_statuses(ask):
    pages = {
        "page.psp": "<% psp.set_error_page('error.psp') %>"
        "<% raise apache.SERVER_RETURN(apache.HTTP_FORBIDDEN) %>",
        "error.psp": "failed",
    }
    assert ask(pages=pages).status == "403 Forbidden"


def test_templates(ask):
    def handler(req):
        req.content_type = "text/plain"
        page = psp.PSP(req, filename="page.psp", vars={"a": 1, "b": 2})
        page.run({"b": 3}, flush=1)
        psp.PSP(req, string="<%= a %>|").run({"a": 4})
        psp.PSP(req, string="é<%= a %>|".encode(), vars={"a": 5}).run()
        return apache.OK

    answer = ask(handler=handler, pages={"page.psp": "<%= a %> <%= b %>|"})
    assert answer.body == "1 3|4|é5|".encode()


def test_page_as_text_runs_it(ask):
    def handler(req):
        assert str(psp.PSP(req)) == ""
        with pytest.raises(ValueError):
            psp.PSP(req, filename="a", string="b")
        return apache.OK

    answer = ask(handler=handler, pages={"page.psp": "page"})
    assert (answer.body, answer["Content-Type"]) == (b"page", "text/html")


def test_code_is_displayed_under_debug_only(ask):
    pages = {"page.psp": "<b>\n<%@ include file='a.txt' %>\n<%= 1 %>", "a.txt": "x\ny\n"}
    assert ask("page.psp_", pages=pages).status == "404 Not Found"
    shown = ask("page.psp_", PythonDebug="On").body.decode()
    assert "&lt;b&gt;" in shown and "req.write(str(&nbsp;1&nbsp;),0)" in shown
    assert "<b>" not in shown


def test_parse_finds_files(tmp_path):
    (tmp_path / "a.psp").write_text('<%@ include file="b.txt" %>')
    (tmp_path / "b.txt").write_text("b")
    made = 'req.write("""b""",0)\n'
    assert psp.parse("a.psp", f"{tmp_path}/") == psp.parse(str(tmp_path / "a.psp")) == made
    with pytest.raises(FileNotFoundError):
        psp.parse("none.psp", str(tmp_path))


# -- steps ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "piece",
    ["<%= 1 %>", "<%", "\\", '"', "a\n", "<%\nx\n%>", "<%-- --%>", "<%@ x %>", "<% \n", "\r"],
)
def test_translating_takes_steps_in_proportion(piece):
    def work(size):
        source = piece * size + "%>"
        # what is put out, and so handled by functions written in C, grows no faster either
        assert len(psp_source.translate(source).text) <= 60 * len(source)

    assert_linear_in_lines(work, 100)


def test_translation_of_a_long_page_is_python():
    source = "<%\nfor n in (1, 2):\n%>text <%= n %>\n<%\n# end\n%>\n" * 300
    ast.parse(psp_source.translate(source).text)
