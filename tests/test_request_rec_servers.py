"""``PythonOption mod_python.request_rec on``: what Apache itself says and does, on real servers."""

import http.client
import pathlib
import re
import socket

import pytest

from tests.conftest import watched
from tests.servers.modules import mod_wsgi
from tests.servers.moved import Exact, Moved
from tests.support import until

HANDLER = """
import threading

from mod_python import apache

kept = []


def handler(req):
    words = (req.args or "").split("=", 1)
    return globals()[words[0] or "hello"](req, *words[1:])


def hello(req):
    req.write("hello")
    return apache.OK


def status(req, number):
    return int(number)


def redirect(req, uri):
    req.mark = "of the first"
    req.internal_redirect(uri)
    assert req.next is not None
    req.write("nothing of this is sent")
    return apache.OK


def partly(req, uri):
    req.content_type = "text/plain"
    req.write("first ")
    req.internal_redirect(uri)
    return apache.OK


def prev(req):
    req.write(f"{req.prev.uri} {req.prev.mark} {req.main} {req.notes.get('note')}")
    return apache.OK


def share(req):
    req.notes["note"] = "Gr\\xfc\\xdfe"
    req.notes.add("note2", "2")
    req.subprocess_env["shared"] = "env"
    assert req.notes["note"] == "Gr\\xfc\\xdfe"
    assert "set" not in req.notes and req.subprocess_env["set"] == "by Apache"
    assert not [name for name in req.subprocess_env if name.startswith(("Python", "HTTP_"))]
    before = len(req.subprocess_env)
    req.add_common_vars()
    assert req.subprocess_env["SERVER_NAME"] and "REQUEST_URI" not in req.subprocess_env
    req.add_cgi_vars()
    assert len(req.subprocess_env) > before and req.subprocess_env["REQUEST_URI"] == req.uri
    req.notes["gone"] = "1"
    del req.notes["gone"]
    assert "gone" not in req.notes
    return apache.OK


def line(req):
    req.write(f"{req.the_request}|{req.header_only}|{req.method}|{req.bytes_sent}", 0)
    return apache.OK


def keep(req):
    kept.append(req)
    req.write(req.protocol)
    return apache.OK


def look(req):
    other, said = kept.pop(), [kept_protocol(kept, req)]
    for read in (
        lambda: other.headers_in["Host"],
        lambda: other.bytes_sent,
        lambda: other.notes["a"],
        lambda: other.connection.aborted,
        lambda: other.server.timeout,
        lambda: other.log_error("x"),
        lambda: other.internal_redirect("/"),
        lambda: other.construct_url("/"),
        lambda: other.prev,
    ):
        try:
            said.append(repr(read()))
        except RuntimeError as error:
            said.append(type(error).__name__)
    req.write(f"{other.protocol} {said}")
    return apache.OK


def kept_protocol(kept, req):
    said = []

    def read():
        try:
            said.append(req.bytes_sent)
        except RuntimeError as error:
            said.append(str(error))

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    return "on a thread: " + said[0]


def large(req):
    req.notes["note"] = "x" * 1000
    for _ in range(200):
        req.write(b"x" * 65536)
    return apache.OK


def conn(req):
    connection, server = req.connection, req.server
    req.write(
        f"{connection.keepalives} {connection.aborted} {connection.local_addr[1]} "
        f"{connection.client_addr == req.useragent_addr} {connection.base_server.port} "
        f"{server.names} {server.timeout} {server.limit_req_line} {server.error_fname} "
        f"{server.keep_alive} {server.is_virtual} {server.loglevel} {server.my_generation} "
        f"{req.request_time - server.restart_time}"
    )
    return apache.OK


def options(req):
    of_connection = req.connection.base_server.get_options()
    req.write(f"{req.get_options()['where']} {of_connection['where']}")
    return apache.OK


def close(req):
    req.connection.keepalive = apache.AP_CONN_CLOSE
    req.write("closed")
    return apache.OK


def about(req):
    req.write(
        f"{req.auth_type()} {req.auth_name()} {req.construct_url('/x')} {req.get_remote_host()} "
        f"{req.get_remote_host(apache.REMOTE_NOLOOKUP, 1)} {req.finfo.size} {req.content_type} "
        f"{req.document_root()}"
    )
    return apache.OK


def password(req):
    password = req.get_basic_auth_pw()
    req.write(f"{req.user} {password} {req.ap_auth_type}")
    return apache.OK


def conditions(req):
    req.update_mtime(1_600_000_000)
    req.set_last_modified()
    req.headers_out["ETag"] = '"own"'
    result = req.meets_conditions()
    if result == apache.OK:
        req.write("body")
    return result


def broken(req):
    raise ValueError("of the handler")


def loop(req):
    req.internal_redirect(req.unparsed_uri)
    return apache.OK


def fill(req):
    req.ssi_globals = {"data": "of the handler"}
    return apache.OK
"""
SITE = """
ServerAdmin me@example.org
PythonOption where server
DocumentRoot "{directory}/docs"
LogFormat "%>s %{note}n %{shared}e %u %U" notes
CustomLog logs/notes.log notes
LimitInternalRecursion 5
KeepAlive On
# a test may be stalled between two requests
KeepAliveTimeout 60
<Directory "{directory}/docs">
    Require all granted
    PythonPath "['{directory}/code'] + sys.path"
</Directory>
<Directory "{directory}/docs/h">
    SetHandler mod_python
    PythonHandler rec
    PythonOption where section
    ErrorDocument 404 /plain.txt
    ErrorDocument 403 /h/x?line
    AuthType Basic
    AuthName "the site"
    SetEnv set "by Apache"
</Directory>
<Directory "{directory}/docs/closed">
    Require all denied
</Directory>
<Directory "{directory}/docs/ssi">
    Options +Includes
    AddType text/html .shtml
    AddOutputFilter INCLUDES .shtml
    PythonFixupHandler rec::fill
</Directory>
<Directory "{directory}/docs/noexec">
    Options +IncludesNOEXEC
    AddType text/html .shtml
    AddOutputFilter INCLUDES .shtml
    PythonFixupHandler rec::fill
</Directory>
"""
MODULES = ("auth_basic", "authn_core", "env", "include")
SSI = (
    """<!--#python eval="data" --> <!--#set var="x" value="mod_include" --><!--#echo var="x" -->"""
)


def start(directory, edit=None, children=1):
    server = Exact(directory, "mod_wsgi", SITE, modules=MODULES, children=children)
    docs = directory / "docs"
    for name in ("h", "closed", "ssi", "noexec"):
        (docs / name).mkdir(parents=True)
    (docs / "plain.txt").write_text("plain\n")
    (docs / "closed" / "x.txt").write_text("secret\n")
    (docs / "h" / "x").write_text("12 bytes...\n")
    for name in ("ssi", "noexec"):
        (docs / name / "page.shtml").write_text(SSI)
    (directory / "code").mkdir()
    (directory / "code" / "rec.py").write_text(HANDLER)
    if edit is not None:
        server.edit = edit
    server.start()
    return server


@pytest.fixture(scope="module")
def shared(base):
    directory = base / "exact"
    directory.mkdir()
    server = start(directory)
    yield server
    server.stop()


@pytest.fixture
def server(shared):
    yield from watched(shared)


def body(server, what, **options):
    answer = server.request(f"/h/x?{what}", **options)
    assert answer.status == 200, answer
    return answer.body.decode()


def wait_for_line(server, pattern):
    path = pathlib.Path(server.work.error_log.replace("error.log", "notes.log"))
    return until(lambda: re.findall(pattern, path.read_text("utf-8"), re.MULTILINE))


def test_error_documents_are_files_and_handlers(server):
    answer = server.request("/h/x?status=404")
    assert (answer.status, answer.body) == (404, b"plain\n")
    answer = server.request("/h/x?status=403")
    assert answer.status == 403
    assert answer.body.decode().startswith("GET /h/x?status=403 HTTP/1.1|")


def test_exception_is_apaches_500(server):
    server.expect("docs/h/x")
    answer = server.request("/h/x?broken")
    assert answer.status == 500 and b"me@example.org" in answer.body


@pytest.mark.parametrize(
    "uri, status, body",
    [
        ("/plain.txt", 200, b"plain\n"),
        ("/h/x", 200, b"hello"),
        ("/closed/x.txt", 403, None),
        ("/nowhere", 404, None),
        ("/h/x?prev", 200, b"/h/x of the first None None"),
    ],
)
def test_redirect_leads_anywhere(server, uri, status, body):
    server.expect("AH01630")
    answer = server.request(f"/h/x?redirect={uri}")
    assert answer.status == status
    assert body is None or answer.body == body
    assert b"nothing of this" not in answer.body and b"secret" not in answer.body


def test_redirect_after_some_output(server):
    assert body(server, "partly=/plain.txt") == "first plain\n"


def test_redirects_in_a_circle_end(server):
    server.expect("AH00124")
    assert server.request("/h/x?loop").status == 500


def test_connection_goes_on_after_what_apache_has_sent(server):
    """Nothing more goes out than the one response, or the next would not be understood."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    said = []
    for what in ("redirect=/plain.txt", "status=404", "partly=/plain.txt", "hello", "conn") * 3:
        connection.request("GET", f"/h/x?{what}")
        answer = connection.getresponse()
        said.append((answer.status, answer.read()))
    assert said[:4] * 3 == [each for each in said if not re.match(rb"\d", each[1])]
    assert said[4][1].startswith(b"4 0 ") and said[9][1].startswith(b"9 0 ")
    connection.close()


def test_connection_is_closed_where_the_handler_asks(server):
    assert server.request("/h/x?close").headers["Connection"] == "close"
    assert server.request("/h/x").headers["Connection"] != "close"


def test_tables_are_apaches_own(server):
    body(server, "share")
    assert wait_for_line(server, r"^200 (.*) env - /h/x$") == [r"Gr\xc3\xbc\xc3\x9fe"]


def test_user_of_the_password_is_logged(server):
    fields = {"Authorization": "Basic YW5uOnBhOnNz"}
    assert body(server, "password", headers=fields) == "ann pa:ss Basic"
    assert wait_for_line(server, r"^200 - - ann /h/x$")
    answer = server.request("/h/x?password")
    assert answer.body == b"None None None"
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="the site"'


def test_what_apache_knows(server):
    path = f"{server.work.directory}/docs"
    said = body(server, "about")
    assert said.startswith("Basic the site ")
    assert said.split(" ", 3)[3] == (
        f"http://127.0.0.1:{server.port}/x 127.0.0.1 ('127.0.0.1', 1) 12 None {path}"
    )


def test_request_line_and_head(server):
    assert body(server, "line") == "GET /h/x?line HTTP/1.1|0|GET|0"
    answer = server.request("/h/x?line", "HEAD")
    assert (answer.status, answer.body) == (200, b"")
    got = server.raw(b"GET   /h/x?line HTTP/1.0\r\nhOST: a\r\n\r\n")
    assert got[0] in (200, 400)


def test_options_of_the_server_are_not_those_of_a_section(server):
    assert body(server, "options") == "section server"


def test_connection_and_server(server):
    said = body(server, "conn").split()
    assert said[:4] == ["0", "0", str(server.port), "True"]
    assert said[5:8] == ["()", "60.0", "8190"]
    assert said[8] == "logs/error.log" and said[9:13] == ["1", "0", "4", "0"]
    assert 0 <= float(said[13]) < 3600


def test_conditions(server):
    date = "Sun, 13 Sep 2020 12:26:40 GMT"
    answer = server.request("/h/x?conditions")
    assert (answer.status, answer.headers["ETag"]) == (200, '"own"')
    assert answer.headers.get_all("Last-Modified") == [date]
    for fields, status in (
        ({"If-None-Match": '"own"'}, 304),
        ({"If-Modified-Since": date}, 304),
        ({"If-None-Match": '"other"'}, 200),
        ({"If-Match": '"other"'}, 412),
    ):
        assert server.request("/h/x?conditions", headers=fields).status == status, fields


def test_kept_request_raises(server):
    assert body(server, "keep") == "HTTP/1.1"
    said = body(server, "look")
    assert said.startswith("HTTP/1.1 ['on a thread: members of a request")
    assert said.count("'Gone'") == 9


def test_python_in_a_page_runs_where_options_allow_it(server):
    assert server.request("/ssi/page.shtml").body == b"of the handler mod_include"
    server.expect("unknown directive|python")
    assert b"of the handler" not in server.request("/noexec/page.shtml").body


def test_thousands_of_requests_leave_the_child_as_it_is(server):
    server.expect("AH01630|AH00124")

    def memory():
        (child,) = server.child_pids()
        with open(f"/proc/{child}/statm", encoding="ascii") as file:
            return child, int(file.read().split()[1]) * 4

    def round_of_requests(count):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        for number in range(count):
            if number % 10 == 0:
                # a client that goes away in the middle; there is one child
                connection.close()
                with socket.create_connection(("127.0.0.1", server.port), 60) as gone:
                    gone.sendall(b"GET /h/x?large HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    gone.recv(100)
            for what in ("share", "status=404", "redirect=/h/x?prev", "keep", "conn", "look"):
                connection.request("GET", f"/h/x?{what}")
                answer = connection.getresponse()
                answer.read()
                assert answer.status in (200, 404)
        connection.close()

    round_of_requests(60)
    child, before = memory()
    round_of_requests(300)
    same, after = memory()
    assert same == child
    assert after - before < 1024, f"{after - before} KiB more"


# -- where it is not to be had ---------------------------------------------------------------------


def _daemon(text):
    end = text.index("WSGIHandlerScript mod_python ")
    line = text[end:].partition("\n")[0]
    daemon = f"{line} process-group=daemons application-group=%{{GLOBAL}}"
    return text.replace(line, f"WSGIDaemonProcess daemons processes=1 threads=2\n{daemon}", 1)


@pytest.mark.parametrize(
    "edit, why",
    [
        (_daemon, "a daemon process has no structures"),
        (
            lambda text: text.replace("WSGIPassApacheRequest On", "WSGIPassApacheRequest Off"),
            "WSGIPassApacheRequest On does not hold",
        ),
    ],
    ids=["daemon", "no capsule"],
)
def test_without_it_requests_are_answered_and_one_line_says_why(public_dir, edit, why):
    server = start(public_dir, edit)
    try:
        server.begin_test()
        for _ in range(3):
            assert body(server, "line").startswith("GET /h/x?line HTTP/1.1|0|GET|")
        found = re.findall(r"mod_python\.request_rec is not used.*", server.log(0))
        assert len(found) == 1 and why in found[0]
    finally:
        server.stop()


def test_debians_mod_wsgi_tells_and_does_not_route(public_dir):
    module = mod_wsgi("debian")
    server = start(
        public_dir, lambda text: re.sub(r"(LoadModule wsgi_module ).*", rf'\1"{module}"', text)
    )
    try:
        server.begin_test()
        assert body(server, "line") == "GET /h/x?line HTTP/1.1|0|GET|0"
        # it can't be entered twice, so errors and redirects are as without the option: a document
        # that is open to everybody is sent, and a status without one has a page of ours
        answer = server.request("/h/x?status=404")
        assert (answer.status, answer.body) == (404, b"plain\n")
        answer = server.request("/h/x?status=409")
        assert answer.status == 409 and b"<title>409" in answer.body
        assert body(server, "partly=/h/x") == "first hello"
        body(server, "share")
        wait_for_line(server, r"^200 Gr\S* env - /h/x$")
        assert not server.complaints()
    finally:
        server.stop()


def test_converted_text_is_checked_and_off_without_the_option(public_dir):
    server = Moved(public_dir, "mod_wsgi", SITE, modules=MODULES)
    assert "request_rec" not in server.convert(server.text)
    text = server.convert(server.text, "--request-rec")
    assert "\nWSGIPassApacheRequest On\n" in text
    assert "\nSetEnv PythonOption.mod_python.request_rec on\n" in text
