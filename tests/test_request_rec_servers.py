"""``PythonOption mod_python.request_rec on``: what Apache itself says and does, on real servers."""

import http.client
import re
import socket
import time

import pytest

from handlers.mod_python import apache
from tests.conftest import watched
from tests.differences import ANSWERS
from tests.servers.httpd import free_port
from tests.servers.modules import mod_wsgi
from tests.servers.moved import Moved
from tests.servers.pair import FILE, PHASES, quoted, start_with_request_rec
from tests.servers.recording import Recording

# -- beside real mod_python ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_option(base, pictures):
    directory = base / "request-rec"
    directory.mkdir()
    recording = Recording(file_body=FILE)
    recording.load()
    with start_with_request_rec(directory, pictures, recording) as pair:
        yield pair


@pytest.fixture
def pair(with_option):
    """The runtime with the option, and what mod_python has answered."""
    yield from with_option.watched()


def test_error_document_is_asked(pair):
    answer = pair.same("/o/error-document/file.txt?404")
    assert answer.body == b"of the ErrorDocument"


@pytest.mark.parametrize("result", [200, 201, 202, 206])
def test_success_that_is_returned_is_apaches_page(pair, result):
    pair.same(f"/o/returns/result_after_pending_text/file.txt?{result}")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "result", [apache.OK, apache.DONE, 204, 301, 304, 400, 401, 403, 404, 410, 418, 425, 500, 503]
)
def test_result_gives_the_same_answer(pair, result, method):
    if result in (418, 425):
        method = "GET"
    pair.same(f"/o/returns/result/file.txt?{result}", method, but=("allow", "accept-ranges"))


@pytest.mark.parametrize("result", [apache.OK, apache.DONE, 204, 302, 304, 403, 404, 500, 503])
@pytest.mark.parametrize("when", ["text", "pending_text"])
def test_result_after_output_gives_the_same_answer(pair, result, when):
    pair.same(f"/o/returns/result_after_{when}/file.txt?{result}")


@pytest.mark.parametrize("path", ["method_not_allowed", "own_allow", "result"])
def test_allow_is_apaches(pair, path):
    path = f"/o/returns/{path}/file.txt" + ("?501" if path == "result" else "")
    ours, real = pair.ask(path)
    assert ours.status == real.status
    methods = [sorted(answer.headers["Allow"].split(",")) for answer in (ours, real)]
    assert methods[0] == methods[1]


def test_header_names_are_as_the_client_wrote_them(pair):
    pair.same("/o/addresses/header_names/file.txt", headers={"x-LOWER": "1"})


def test_password_goes_by_auth_type(pair):
    fields = {"Authorization": "Basic dXNlcjpwYXNz"}
    answer = pair.same("/o/addresses/option_only/file.txt", headers=fields)
    assert answer.body == b"None None"
    pair.same("/o/addresses/password/file.txt", headers=fields)
    pair.same("/o/addresses/password/file.txt")


@pytest.mark.parametrize(
    "question",
    [
        question
        for question, (name, _, _) in ANSWERS["questions"].items()
        if name in ("attributes", "allowed") or question == "server name"
    ],
)
def test_question_has_mod_pythons_answer(pair, question):
    name, _, real = ANSWERS["questions"][question]
    answer = pair.ours.request(f"/o/questions/ask/file.txt?{quoted(question)}")
    if question == "server name":
        # ServerName, not the name that the client asked for
        assert answer.body != b"'127.0.0.1'"
    else:
        assert answer.body.decode() == real, name


def test_directory_has_the_etag_of_mod_python(pair):
    answers = pair.ask("/o/validators/file/")
    for answer in answers:
        assert re.fullmatch(r'(W/)?"\w+-\w+"', answer.headers["ETag"])


@pytest.mark.parametrize("name", sorted(set(PHASES) - {"user-missing", "user-declined", "fault"}))
def test_phases_go_on_as_without_the_option(pair, name):
    pair.expect("files/phases")
    ours = pair.ours.request(f"/o/phases/{name}/file.txt")
    assert ours.status < 600


def test_levels_of_the_log_are_all_eight(pair):
    pair.expect("mark")
    pair.ours.request("/o/logs/levels/file.txt?mark")
    deadline = time.monotonic() + 10
    while "connection default mark" not in pair.ours.log():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    found = {
        what: level
        for level, what in re.findall(
            r"\[\w*:(\w+)\] .*client .* (\w+ \w+) mark$", pair.ours.log(), re.MULTILINE
        )
    }
    levels = {"EMERG": "emerg", "ALERT": "alert", "CRIT": "crit", "ERR": "error"}
    levels |= {"WARNING": "warn", "NOTICE": "notice", "INFO": "info"}
    assert {f"req {name}": level for name, level in levels.items()}.items() <= found.items()


# -- on a server of its own ------------------------------------------------------------------------

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


CONNECTIONS = """
from mod_python import apache


def handler(connection):
    line = connection.readline()
    if line.startswith(b"GET"):
        connection.write("below HTTP")
        return apache.OK
    if line == b"raise\\n":
        raise ValueError("of the handler")
    if line == b"all\\n":
        connection.write(connection.read())
        return apache.OK
    server = connection.base_server
    connection.write(f"{line!r} {connection.readline(3)!r} {connection.read(2)!r}\\n")
    connection.write(f"{connection.client_ip} {connection.local_addr[1]} {connection.id}\\n")
    connection.write(f"{server.server_hostname} {dict(server.get_options().items())}")
    connection.log_error("a line of the connection", apache.APLOG_NOTICE)
    return apache.OK


def declining(connection):
    return apache.DECLINED
"""
PORTS = """
LogLevel notice
DocumentRoot "{directory}/docs"
<Directory "{directory}/docs">
    Require all granted
</Directory>
PythonOption outer 1
Listen 127.0.0.1:{other}
Listen 127.0.0.1:{third}
<VirtualHost 127.0.0.1:{other}>
    ServerName below.test
    PythonPath "['{directory}/code'] + sys.path"
    PythonOption inner 2
    PythonConnectionHandler connections::handler
</VirtualHost>
<VirtualHost *:{third}>
    PythonPath "['{directory}/code'] + sys.path"
    PythonConnectionHandler connections::declining
</VirtualHost>
"""


class Exact(Moved):
    """A converted configuration whose handlers read Apache's structures.

    :ivar edit: changes the converted text.
    """

    edit = staticmethod(lambda text: text)

    def convert(self, text, *options):
        return self.edit(super().convert(text, "--request-rec", *options))


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
    path = server.work.error_log.replace("error.log", "notes.log")
    deadline = time.monotonic() + 10
    while True:
        with open(path, encoding="utf-8") as file:
            found = re.findall(pattern, file.read(), re.MULTILINE)
        if found:
            return found
        assert time.monotonic() < deadline
        time.sleep(0.01)


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
                # a client that goes away in the middle
                with socket.create_connection(("127.0.0.1", server.port), 60) as gone:
                    gone.sendall(b"GET /h/x?large HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    gone.recv(100)
                connection.close()
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


# -- connections -----------------------------------------------------------------------------------


def start_ports(directory, edit=None):
    (directory / "docs").mkdir()
    (directory / "docs" / "x.txt").write_text("plain\n")
    (directory / "code").mkdir()
    (directory / "code" / "connections.py").write_text(CONNECTIONS)
    other, third = free_port(), free_port()
    text = PORTS.replace("{other}", str(other)).replace("{third}", str(third))
    server = Exact(directory, "mod_wsgi", text, modules=("env",), children=1)
    if edit is not None:
        server.edit = edit
    server.start()
    server.begin_test()
    return server, other, third


def say(port, data):
    """Send *data* and end; return what comes back."""
    got = []
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while block := connection.recv(65536):
            got.append(block)
    return b"".join(got)


def test_connections_are_answered_by_their_handler(public_dir):
    server, other, third = start_ports(public_dir)
    try:
        assert server.request("/x.txt").body == b"plain\n"
        for _ in range(3):
            said = say(other, b"first\nsecond\nthird").decode().splitlines()
            assert said[0] == r"b'first\n' b'sec' b'on'"
            assert said[1].startswith(f"127.0.0.1 {other} ")
            assert said[2] == "below.test {'outer': '1', 'inner': '2'}"
        assert "connection" in server.log() and ":notice]" in server.log()
        assert say(other, b"GET /x.txt HTTP/1.0\r\n\r\n") == b"below HTTP"
        data = b"x" * 300_000
        assert say(other, b"all\n" + data) == data
        assert say(other, b"").startswith(b"b'' b'' b''\n")
        server.expect("PythonConnectionHandler failed|  |of the handler|Traceback")
        server.expect(r"\w+Error: .*the connection can't be (written to|read)")
        assert say(other, b"raise\n") == b""
        # a client that never listens does no harm
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", other), 60) as gone:
                gone.sendall(b"first\n")
        answer = say(third, b"GET /x.txt HTTP/1.0\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"plain\n")
        assert not server.complaints()
    finally:
        server.stop()


def test_ports_are_closed_where_connections_cannot_be_answered(public_dir):
    def without_import(text):
        lines = [line for line in text.splitlines() if "WSGIImportScript" not in line]
        broken = "from handlers.runtime import httpd_abi; httpd_abi.MAGIC = 1\n"
        for path in re.findall(r"WSGIAccessScript (\S+)", text)[:1]:
            with open(path, encoding="utf-8") as file:
                script = file.read()
            with open(path, "w", encoding="utf-8") as file:
                file.write(script.replace("\nworks = ", f"\n{broken}works = "))
        return "\n".join(lines) + "\n"

    server, other, _ = start_ports(public_dir, without_import)
    try:
        answer = say(other, b"GET /x.txt HTTP/1.0\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert "does not work, its ports are closed: its module magic number" in server.log()
        assert server.request("/x.txt").status == 200
    finally:
        server.stop()


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
