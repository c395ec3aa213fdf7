"""Apache's structures: their layout, and the guard before they are read."""

import ctypes
import logging
import os
import subprocess
import sys
import threading

import pytest

from handlers import faults
from handlers.mod_python import apache
from handlers.runtime import httpd_abi, includes, request_rec
from handlers.runtime.dispatch import HandlerError
from handlers.runtime.httpd_abi import ConnRec, RequestRec, ServerRec, Unusable
from handlers.runtime.request import Request
from handlers.runtime.request_rec import Gone, Life, Record
from tests.wsgi import serve

# as the C compiler lays them out for httpd 2.4 on 64-bit systems: offset and size
LAYOUT = {
    RequestRec: {
        "the_request": (48, 8),
        "proto_num": (68, 4),
        "request_time": (88, 8),
        "status": (104, 4),
        "allowed": (120, 8),
        "bytes_sent": (152, 8),
        "mtime": (160, 8),
        "chunked": (184, 4),
        "expecting_100": (196, 4),
        "remaining": (216, 8),
        "headers_in": (232, 8),
        "notes": (264, 8),
        "user": (312, 8),
        "args": (368, 8),
        "eos_sent": (380, 4),
        "output_filters": (424, 8),
        "no_local_copy": (460, 4),
        "parsed_uri": (472, 88),
        "finfo": (560, 120),
        "useragent_ip": (688, 8),
    },
    ConnRec: {
        "local_addr": (24, 8),
        "client_ip": (40, 8),
        "id": (80, 8),
        "notes": (96, 8),
        "bucket_alloc": (128, 8),
        "keepalive": (160, 4),
        "keepalives": (164, 4),
    },
    ServerRec: {
        "error_fname": (16, 8),
        "log": (32, 16),
        "defn_line_number": (72, 4),
        "is_virtual": (76, 1),
        "port": (78, 2),
        "server_hostname": (96, 8),
        "timeout": (112, 8),
        "keep_alive": (132, 4),
        "pathlen": (160, 4),
        "limit_req_fields": (172, 4),
    },
}
ENVIRON = {
    "REQUEST_METHOD": "GET",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REQUEST_URI": "/caf%C3%A9//x?q=1",
    "SCRIPT_NAME": "/caf\xc3\xa9",
    "PATH_INFO": "/x",
    "QUERY_STRING": "q=1",
    "SCRIPT_FILENAME": "/srv/caf\xe9\udce9",
    "REMOTE_ADDR": "192.0.2.1",
    "SERVER_ADDR": "192.0.2.2",
    "SERVER_ADMIN": "me@example.org",
    "HTTP_HOST": "example.org",
    "HTTP_X_TWICE": "a, b",
    "CONTENT_TYPE": "text/plain",
    "mod_wsgi.request_handler": "mod_python",
    "mod_wsgi.request_start": "1700000000.123456",
}
STRUCTURES = {"request": RequestRec, "connection": ConnRec, "server": ServerRec}


class Fake:
    """Structures as Apache has them, in the memory of this process."""

    def __init__(self):
        self._kept = []
        self.request, self.connection, self.server = (kind() for kind in STRUCTURES.values())
        self.request.pool = self.text(b"a pool")
        self.request.connection = ctypes.addressof(self.connection)
        self.request.server = ctypes.addressof(self.server)
        self.request.status = 200
        self.request.request_time = 1_700_000_000_123_456
        for part, texts in (
            (
                self.request,
                {
                    "protocol": b"HTTP/1.1",
                    "method": b"GET",
                    "handler": b"mod_python",
                    "the_request": b"GET /caf%C3%A9//x?q=1 HTTP/1.1",
                    "uri": b"/caf\xc3\xa9//x",
                    "filename": b"/srv/caf\xc3\xa9\xe9",
                    "args": b"q=1",
                    "useragent_ip": b"192.0.2.1",
                },
            ),
            (self.connection, {"local_ip": b"192.0.2.2"}),
            (
                self.server,
                {"server_admin": b"me@example.org", "server_hostname": b"example.org"},
            ),
        ):
            for name, value in texts.items():
                setattr(part, name, self.text(value))
        self.request.headers_in = self.table(
            (b"hOST", b"example.org"),
            (b"X-Twice", b"a"),
            (b"X_Under", b"1"),
            (b"x-twice", b"b"),
            (b"Authorization", b"Basic x"),
        )
        self.request.subprocess_env = self.table((b"SERVER_ADDR", b"192.0.2.2"))
        self.request.notes = self.table()

    def text(self, value: bytes) -> int:
        self._kept.append(ctypes.create_string_buffer(value))
        return ctypes.addressof(self._kept[-1])

    def table(self, *rows) -> int:
        cells = (ctypes.c_void_p * max(1, 3 * len(rows)))()
        for number, (key, value) in enumerate(rows):
            cells[3 * number], cells[3 * number + 1] = self.text(key), self.text(value)
        array = httpd_abi.Array(None, 24, len(rows), len(rows) + 2, ctypes.addressof(cells))
        self._kept += [cells, array]
        return ctypes.addressof(array)

    def check(self, environ=ENVIRON):
        """Look at it as a child does that does not know yet whether the addresses are right."""
        probe = httpd_abi.Probe()
        try:
            address = ctypes.addressof(self.request)
            request_rec.check(Record(RequestRec, address, Life(), probe), environ)
        finally:
            probe.close()

    def record(self, life=None) -> Record:
        return Record(RequestRec, ctypes.addressof(self.request), life or Life())

    def capsule(self):
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, (ctypes.c_void_p,) * 3
        return new(ctypes.addressof(self.request), None, None)


@pytest.fixture
def unchecked(monkeypatch):
    """A process that has not looked yet."""
    monkeypatch.setattr(request_rec, "_verdict", [])
    monkeypatch.setattr(faults, "_told", type(faults._told)())


@pytest.mark.parametrize(
    "kind, field", [(kind, field) for kind, fields in LAYOUT.items() for field in fields]
)
def test_field_lies_where_the_compiler_puts_it(kind, field):
    found = getattr(kind, field)
    assert (found.offset, found.size) == LAYOUT[kind][field]


def test_structures_that_agree_pass():
    Fake().check()
    # HEAD is GET for a handler whose output is filtered
    fake = Fake()
    fake.request.method = fake.text(b"HEAD")
    fake.check()
    # an ErrorDocument begins with the status of the error
    fake.request.status = 404
    fake.check({**ENVIRON, "REDIRECT_STATUS": "404"})


@pytest.mark.parametrize(
    "part, field",
    [
        *(("request", name) for name in ("protocol", "method", "handler", "the_request", "uri")),
        *(("request", name) for name in ("filename", "args", "useragent_ip")),
        ("connection", "local_ip"),
        ("server", "server_admin"),
    ],
)
def test_text_that_differs_fails(part, field):
    fake = Fake()
    setattr(getattr(fake, part), field, fake.text(b"other"))
    with pytest.raises(Unusable, match=field):
        fake.check()


@pytest.mark.parametrize("address", [1, 8, 4096, 1 << 46, (1 << 64) - 8])
@pytest.mark.parametrize(
    "part, field",
    [
        *(("request", name) for name in ("connection", "server", "protocol", "the_request", "uri")),
        *(("request", name) for name in ("headers_in", "subprocess_env", "notes", "useragent_ip")),
        ("connection", "local_ip"),
        ("server", "server_hostname"),
    ],
)
def test_address_that_leads_nowhere_fails_and_does_not_crash(part, field, address):
    fake = Fake()
    setattr(getattr(fake, part), field, address)
    with pytest.raises(Unusable):
        fake.check()


@pytest.mark.parametrize("field", ["connection", "server", "pool", "protocol", "the_request"])
def test_null_where_a_pointer_must_be_fails(field):
    fake = Fake()
    setattr(fake.request, field, None)
    with pytest.raises(Unusable):
        fake.check()


@pytest.mark.parametrize(
    "part, field, value",
    [
        ("request", "status", 404),
        ("request", "request_time", 5),
        ("connection", "aborted", 77),
        ("connection", "keepalives", -5),
        ("server", "limit_req_line", -1),
    ],
)
def test_number_that_differs_fails(part, field, value):
    fake = Fake()
    setattr(getattr(fake, part), field, value)
    with pytest.raises(Unusable):
        fake.check()


def test_header_field_that_differs_fails():
    with pytest.raises(Unusable, match="HOST"):
        Fake().check({**ENVIRON, "HTTP_HOST": "example.net"})


def test_structure_moved_by_one_field_fails():
    """As if a field had been put in before the others."""
    fake = Fake()
    shifted = ctypes.create_string_buffer(ctypes.sizeof(RequestRec) + 8)
    ctypes.memmove(ctypes.addressof(shifted) + 8, ctypes.addressof(fake.request), 696)
    probe = httpd_abi.Probe()
    with pytest.raises(Unusable):
        request_rec.check(Record(RequestRec, ctypes.addressof(shifted), Life(), probe), ENVIRON)
    probe.close()


def test_table_that_is_none_is_not_read():
    fake = Fake()
    array = httpd_abi.Array(None, 8, 3, 5, fake.text(b"not rows"))
    fake.request.notes = ctypes.addressof(array)
    with pytest.raises(Unusable, match="table"):
        fake.record().rows("notes")


def test_other_magic_number_is_refused():
    httpd_abi.check_magic(20120211)
    for version in (20051115, 20211221, 0):
        with pytest.raises(Unusable, match=str(version)):
            httpd_abi.check_magic(version)


def test_process_that_is_no_httpd_is_refused(unchecked):
    environ = {**ENVIRON, "apache.request_rec": Fake().capsule()}
    for _ in range(2):
        with pytest.raises(Unusable, match="no httpd"):
            request_rec.open_request(environ)


@pytest.mark.parametrize(
    "more, why",
    [
        ({}, "WSGIPassApacheRequest On does not hold"),
        ({"mod_wsgi.process_group": "daemons"}, "daemon process"),
        ({"apache.request_rec": "text"}, "no address"),
    ],
)
def test_request_stays_as_it_is_and_one_line_says_why(unchecked, caplog, more, why):
    kinds = []

    def hello(req):
        kinds.append(type(req))
        req.write(req.method)
        return apache.OK

    environ = {"PythonOption.mod_python.request_rec": "on", **more}
    with caplog.at_level(logging.WARNING):
        answers = [serve(hello, **environ) for _ in range(3)]
    assert [answer.status for answer in answers] == ["200 OK"] * 3
    assert kinds == [Request] * 3
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("mod_python.request_rec is not used") and why in line


def test_without_the_option_nothing_of_it_is_imported():
    code = (
        "import sys\n"
        "from handlers.mod_python import install_as_mod_python\n"
        "install_as_mod_python()\n"
        "from tests.wsgi import serve\n"
        "answer = serve(lambda req: req.write('x') or 0)\n"
        "assert answer.status == '200 OK'\n"
        "print([name for name in sys.modules if name.endswith(('exact', 'request_rec'))])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout == "[]\n"


def test_nothing_is_read_after_the_request():
    life = Life()
    record = Fake().record(life)
    assert record.text("protocol") == b"HTTP/1.1"
    life.end()
    for read in (
        lambda: record.text("protocol"),
        lambda: record.get("status"),
        lambda: record.rows("notes"),
        lambda: record.change("notes", "apr_table_set", b"a", b"b"),
        lambda: record.log("ap_log_rerror_", 3, b"x"),
        lambda: record.die(404),
        lambda: record.address,
        lambda: record.strings(1),
    ):
        with pytest.raises(Gone, match="over"):
            read()


def test_nothing_is_read_on_another_thread():
    record = Fake().record()
    raised = []

    def read():
        try:
            record.text("protocol")
        except Gone as error:
            raised.append(str(error))

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert len(raised) == 1 and "thread" in raised[0]


def test_rows_are_in_order_with_their_case_and_without_what_is_no_text():
    fake = Fake()
    fake.request.notes = fake.table(
        (b"B", b"1"), (b"ap-mime-exceptions-list", b"\x01"), (b"a", b""), (b"b", b"2")
    )
    assert fake.record().rows("notes") == [(b"B", b"1"), (b"a", b""), (b"b", b"2")]
    fake.request.notes = None
    assert fake.record().rows("notes") == []


# -- Python in server side includes ----------------------------------------------------------------


def included(page, **scope):
    """Return what a page becomes, given in blocks of seven bytes."""

    class Page:
        filename = "/page.shtml"

    Page.ssi_globals = scope
    part = includes.Includes(Page())
    data = page.encode()
    got = b"".join(part.process(data[at : at + 7], False) for at in range(0, len(data), 7))
    return (got + part.process(b"", True)).decode()


@pytest.mark.parametrize(
    "page, expected",
    [
        ("plain", "plain"),
        ("<!--#python eval=\"'ok'\" -->", "ok"),
        ("a<!--#python eval='1 + 1'-->b<!--#echo var=\"X\" -->", 'a2b<!--#echo var="X" -->'),
        ('<!--#python eval="None" -->', ""),
        ('<!--#python exec="\nfilter.write(data[:1])\nfilter.write(data[1:])\n"-->', "test"),
        ('<!--#python exec="x = 1" --><!--#python eval="x" -->', "1"),
        (r"""<!--#python eval="\"a\" + 'b'" -->""", "ab"),
        ('<!--#python eval="&quot;a&quot; * 2" -->', "aa"),
        ("<!--#python eval=\"'-->'\" -->", "-->"),
        ('<!--#python eval="1" eval="2" -->', "12"),
        ("<!--#python eval=1 -->", "<!--#python eval=1 -->"),
        ('<!--#python eval="1"', '<!--#python eval="1"'),
        ("<!--#python eval=\"'Gr\xfc\xdfe'\" -->", "Gr\xfc\xdfe"),
    ],
)
def test_code_of_a_page_is_replaced(page, expected):
    assert included(page, data="test") == expected


@pytest.mark.parametrize("code", ["1 / 0", "1 +", "nothing"])
def test_code_that_fails_is_an_error_of_the_page(code):
    with pytest.raises(HandlerError, match=r"page\.shtml"):
        included(f'<!--#python eval="{code}" -->')
