"""Handlers through the runtime, against bare WSGI callables that do the same and real mod_python.

Compared is the CPU time of the children for each request, since other work on the machine disturbs
it least; a ratio of 0.8 says that the rival takes 0.8 of our time. ``hello`` writes a line,
``publisher`` is a published function with an argument, ``page`` a PSP page with a loop, ``file``
one of 3 KB behind an access handler, which the bare callable has not got; ``upload`` reads a form
with a file of a megabyte. The bare callable for the upload only looks for the boundary
in the body, which it reads into memory.

An untouched bare callable is one on a server of its own, whose children import nothing of this
package, and so lack what it spares mod_wsgi.
"""

import contextlib
import functools
import statistics
from typing import NamedTuple

from tests.benchmarks._load import cpu_seconds, ratio, request_rate, rounds, row, workplace
from tests.servers.httpd import Httpd, make_images_table

_SECONDS = 2

# What is sent at once has no Content-Length, neither from the handler nor from the bare callable.
_HELLO = """from mod_python import apache, util


def handler(req):
    req.content_type = "text/plain"
    req.write("Hello, world")
    return apache.OK


def with_length(req):
    req.content_type = "text/plain"
    req.write("Hello, world", 0)
    return apache.OK


def access(req):
    return apache.OK if req.headers_in.get("Host") else apache.HTTP_FORBIDDEN


def upload(req):
    form = util.FieldStorage(req)
    form["file"].file.seek(0, 2)
    req.content_type = "text/plain"
    req.write(f"{form.getfirst('name').decode()} {form['file'].file.tell()}", 0)
    return apache.OK
"""
_PUBLISHED = """def hello(req, name="world"):
    return f"Hello, {name}"
"""
_PAGE = """<html><ul>
<%
for number in range(10):
%><li><%= number %></li>
<%
# end
%></ul></html>
"""
_BARE = """from urllib.parse import parse_qs


def handle_request(environ, start_response):
    name = (environ["SCRIPT_NAME"] + environ["PATH_INFO"]).rpartition("/")[2]
    return _BY_NAME[name.removeprefix("bare-")](environ, start_response)


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello, world"]


def hello_length(environ, start_response):
    return _whole("Hello, world", "text/plain", start_response)


def publisher(environ, start_response):
    name = parse_qs(environ["QUERY_STRING"])["name"][0]
    return _whole(f"Hello, {name}", "text/plain", start_response)


def page(environ, start_response):
    lines = "".join(f"<li>{number}</li>\\n" for number in range(10))
    return _whole(f"<html><ul>\\n{lines}</ul></html>\\n", "text/html", start_response)


def upload(environ, start_response):
    body = environ["wsgi.input"].read()
    boundary = environ["CONTENT_TYPE"].partition("boundary=")[2].encode()
    _, name, file, _ = body.split(b"--" + boundary)
    name = name.partition(b"\\r\\n\\r\\n")[2][:-2].decode()
    size = len(file.partition(b"\\r\\n\\r\\n")[2]) - 2
    return _whole(f"{name} {size}", "text/plain", start_response)


def file(environ, start_response):
    opened = open(environ["SCRIPT_FILENAME"], "rb")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return environ["wsgi.file_wrapper"](opened, 65536)


def _whole(text, kind, start_response):
    body = text.encode()
    start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]


_BY_NAME = {
    "hello": hello,
    "hello-length": hello_length,
    "publisher": publisher,
    "page": page,
    "upload": upload,
    "file.txt": file,
}
"""
_UPLOAD = """wrk.method = "POST"
wrk.headers["Content-Type"] = "multipart/form-data; boundary=XX"
local part = '--XX\\r\\nContent-Disposition: form-data; name="name"\\r\\n\\r\\nAnna\\r\\n'
local head = '--XX\\r\\nContent-Disposition: form-data; name="file"; filename="f"\\r\\n\\r\\n'
wrk.body = part .. head .. string.rep("0123456789abcdef", 65536) .. "\\r\\n--XX--\\r\\n"
"""


_PHASES = (
    "WSGIHandlerScript python-phases ${HANDLERS_ETC}/handlers.wsgi application-group=%{GLOBAL}\n"
)


class Case(NamedTuple):
    """What is asked for on both servers, the bare callable's path, and the bars against it.

    *bar* is for the callable in the same children, *untouched* for the one of a server whose
    children never import this package.
    """

    name: str
    path: str
    bare: str
    bar: float | None = None
    untouched: float | None = None
    script: str | None = None


CASES = (
    Case("hello handler", "/hello", "/bare/hello", 0.9, 0.95),
    Case("hello handler, with length", "/hello-length", "/bare/hello-length", 0.9, 0.95),
    Case("publisher", "/code/published/hello?name=Anna", "/code/bare-publisher?name=Anna", 0.6),
    Case("PSP page", "/code/page.psp", "/code/bare-page"),
    Case("phase before a static file", "/guarded/file.txt", "/files/bare-file.txt"),
    Case("form with a file of 1 MB", "/upload", "/bare/upload", script=_UPLOAD),
)


def run(args):
    """Return the rows of the benchmark."""
    with workplace() as base:
        return _run(base, args.rounds)


def _run(base, count):
    code = base / "code"
    code.mkdir()
    (code / "hello.py").write_text(_HELLO)
    (code / "published.py").write_text(_PUBLISHED)
    (code / "page.psp").write_text(_PAGE)
    (base / "files").mkdir()
    for name in ("file.txt", "bare-file.txt"):
        (base / "files" / name).write_text("x" * 3000)
    (base / "bare.wsgi").write_text(_BARE)
    url = make_images_table(base / "images.db", {})
    with contextlib.ExitStack() as stack:
        sites = {
            server: stack.enter_context(
                Httpd(base / server, server, url, base, extra=_configuration(server, base))
            )
            for server in ("mod_wsgi", "mod_python")
        }
        # nobody asks it for more than the bare callable
        sites["untouched"] = stack.enter_context(
            Httpd(base / "untouched", "mod_wsgi", url, base, extra=_configuration("mod_wsgi", base))
        )
        measured = {}
        for case in CASES:
            rivals = {
                case.name: ("mod_wsgi", case.path),
                f"bare WSGI callable: {case.name}": ("mod_wsgi", case.bare),
                f"untouched bare callable: {case.name}": ("untouched", case.bare),
                f"mod_python: {case.name}": ("mod_python", case.path),
            }
            for name, (server, path) in rivals.items():
                measured[name] = functools.partial(_turn, sites[server], path, case.script)
        turns = rounds(count, measured)
    rows = []
    for case in CASES:
        for kind, bar in (
            ("bare WSGI callable", case.bar),
            ("untouched bare callable", case.untouched),
            ("mod_python", None),
        ):
            rival = f"{kind}: {case.name}"
            against = ratio(_cpu(turns[rival]), _cpu(turns[case.name]))
            held = against >= bar if bar else None
            rows.append(_row(rival, turns[rival]))
            rows.append(
                _row(case.name, turns[case.name], kind, against, f">= {bar}" if bar else None, held)
            )
    for name, found in turns.items():
        rates = [turn.per_second for turn in found]
        rows.append(row("runtime", name, statistics.median(rates), "requests/s"))
    return rows


class _Turn(NamedTuple):
    per_second: float
    cpu: float


def _turn(site, path, script) -> _Turn:
    """Ask for *path* for a while; return requests per second, and microseconds of CPU for each."""
    # each child has imported its handlers before time is taken
    request_rate(site.port, path, 1, script=script)
    children = site.child_pids()
    used = sum(map(cpu_seconds, children))
    rate = request_rate(site.port, path, _SECONDS, script=script).per_second
    used = sum(map(cpu_seconds, children)) - used
    return _Turn(rate, used / (rate * _SECONDS) * 1e6)


def _cpu(turns):
    return [turn.cpu for turn in turns]


def _row(name, turns, *against):
    return row("runtime", name, statistics.median(_cpu(turns)), "us CPU a request", *against)


def _configuration(server, base):
    directive = "SetEnv " if server == "mod_wsgi" else ""
    bare = (
        f"WSGIHandlerScript bare {base}/bare.wsgi application-group=%{{GLOBAL}}\n"
        "<LocationMatch /bare>\nSetHandler bare\n</LocationMatch>\n"
    )
    handlers = "".join(
        f"<Location {path}>\nSetHandler mod_python\n{directive}PythonHandler {handler}\n"
        f"{directive}PythonPath \"['{base}/code'] + sys.path\"\n</Location>\n"
        for path, handler in (
            ("/hello", "hello"),
            ("/hello-length", "hello::with_length"),
            ("/upload", "hello::upload"),
        )
    )
    return (
        (bare + _PHASES if server == "mod_wsgi" else "")
        + handlers
        + f"Alias /guarded {base}/files\nAlias /files {base}/files\n"
        + f"<Directory {base}/files>\nRequire all granted\n</Directory>\n<Location /guarded>\n"
        + ("SetHandler python-phases\n" if server == "mod_wsgi" else "")
        + f"{directive}PythonAccessHandler hello::access\n"
        + f"{directive}PythonPath \"['{base}/code'] + sys.path\"\n</Location>\n"
        + f"Alias /code {base}/code\n<Directory {base}/code>\nRequire all granted\n"
        + f"SetHandler mod_python\n{directive}PythonHandler mod_python.publisher\n"
        + f"<Files page.psp>\n{directive}PythonHandler mod_python.psp\n</Files>\n</Directory>\n"
    )
