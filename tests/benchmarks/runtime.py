"""A hello handler through the runtime, against a bare WSGI callable and real mod_python."""

import contextlib
import pathlib
import shutil
import statistics
import tempfile

from tests.benchmarks._load import ratio, request_rate, rounds, row
from tests.servers.httpd import Httpd, make_images_table

BAR = 0.85

# What is sent at once has no Content-Length, neither from the handler nor from the bare callable.
_HELLO = """from mod_python import apache


def handler(req):
    req.content_type = "text/plain"
    req.write("Hello, world")
    return apache.OK


def with_length(req):
    req.content_type = "text/plain"
    req.write("Hello, world", 0)
    return apache.OK
"""
_BARE = """def handle_request(environ, start_response):
    headers = [("Content-Type", "text/plain")]
    if environ["SCRIPT_NAME"].endswith("length"):
        headers.append(("Content-Length", "12"))
    start_response("200 OK", headers)
    return [b"Hello, world"]
"""


def run(args):
    """Return the rows of the benchmark."""
    base = pathlib.Path(tempfile.mkdtemp(prefix="handlers-bench-"))
    base.chmod(0o755)
    try:
        return _run(base, args.rounds)
    finally:
        shutil.rmtree(base)


def _run(base, count):
    (base / "hello.py").write_text(_HELLO)
    (base / "bare.wsgi").write_text(_BARE)
    url = make_images_table(base / "images.db", {})
    path = f"PythonPath \"['{base}'] + sys.path\"\n"
    ours = (
        f"WSGIHandlerScript bare {base}/bare.wsgi application-group=%{{GLOBAL}}\n"
        "<LocationMatch ^/bare>\nSetHandler bare\n</LocationMatch>\n"
        f"<LocationMatch ^/hello>\nSetHandler mod_python\nSetEnv {path}</LocationMatch>\n"
        "<Location /hello>\nSetEnv PythonHandler hello\n</Location>\n"
        "<Location /hello-length>\nSetEnv PythonHandler hello::with_length\n</Location>\n"
    )
    theirs = (
        f"<LocationMatch ^/hello>\nSetHandler mod_python\n{path}</LocationMatch>\n"
        "<Location /hello>\nPythonHandler hello\n</Location>\n"
        "<Location /hello-length>\nPythonHandler hello::with_length\n</Location>\n"
    )
    with contextlib.ExitStack() as stack:
        sites = {
            server: stack.enter_context(Httpd(base / server, server, url, base, extra=extra))
            for server, extra in (("mod_wsgi", ours), ("mod_python", theirs))
        }
        rates = rounds(
            count,
            {
                name: lambda server=server, path=path: (
                    request_rate(sites[server].port, path).per_second
                )
                for name, server, path in (
                    ("hello handler", "mod_wsgi", "/hello"),
                    ("bare WSGI callable", "mod_wsgi", "/bare"),
                    ("mod_python", "mod_python", "/hello"),
                    ("hello handler, with length", "mod_wsgi", "/hello-length"),
                    ("bare WSGI callable, with length", "mod_wsgi", "/bare-length"),
                    ("mod_python, with length", "mod_python", "/hello-length"),
                )
            },
        )
    rows = [
        row("runtime", name, statistics.median(values), "requests/s")
        for name, values in rates.items()
    ]
    for length in ("", ", with length"):
        hello = rates["hello handler" + length]
        for rival, bar in (("bare WSGI callable" + length, BAR), ("mod_python" + length, None)):
            against = ratio(hello, rates[rival])
            rows.append(
                row(
                    "runtime",
                    "hello handler" + length,
                    statistics.median(hello),
                    "requests/s",
                    rival,
                    against,
                    f">= {bar}" if bar else None,
                    against >= bar if bar else None,
                )
            )
    return rows
