"""The shipped drop-in where Python has threads: on the worker MPM, and in daemon processes."""

import concurrent.futures
import http.client
import io
import os
import pwd
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from handlers.quickstart import httpd
from handlers.quickstart.work import Work, shipped
from tests.servers.httpd import free_port, make_images_table
from tests.support import until

MODULES = "/usr/lib/apache2/modules"
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
WORKER = "StartServers 1\nThreadsPerChild 8\nMaxRequestWorkers 8\nMinSpareThreads 1\n"
CASES = {
    "worker": ("worker", WORKER, "%{GLOBAL}"),
    "daemon": (
        "prefork",
        "StartServers 8\nWSGIDaemonProcess site processes=1 threads=8\n",
        "site",
    ),
}


@pytest.fixture(params=CASES)
def server(request, public_dir, pictures):
    """A running httpd with eight threads of Python; yields its port and work directory."""
    mpm, directives, group = CASES[request.param]
    work = Work(str(public_dir / "work"))
    work.make()
    root, rows = pictures
    work.write_settings(make_images_table(public_dir / "images.db", rows), str(root))
    port = free_port()
    user = pwd.getpwuid(os.geteuid())
    lines = [
        f"ServerRoot {work.directory}\nServerName localhost\nListen 127.0.0.1:{port}",
        "PidFile run/httpd.pid\nDefaultRuntimeDir run\nErrorLog logs/error.log\nLogLevel warn",
        f"LoadModule mpm_{mpm}_module {MODULES}/mod_mpm_{mpm}.so",
        *(f"LoadModule {n}_module {MODULES}/mod_{n}.so" for n in ("authz_core", "alias", "env")),
        f"LoadModule mime_module {MODULES}/mod_mime.so\nTypesConfig /etc/mime.types",
        "User www-data\nGroup www-data" if user.pw_uid == 0 else "",
        f"Define HANDLERS_HOME {sys.prefix}\nDefine HANDLERS_MODULES {MODULES}",
        f"LoadModule wsgi_module {httpd.mod_wsgi_location()}\nWSGIPythonHome {sys.prefix}",
        f"WSGISocketPrefix {work.run}/wsgi\n{directives}Define HANDLERS_GROUP {group}",
        f"Define HANDLERS_ETC {work.etc}\nDocumentRoot htdocs",
        f"Include {shipped('handlers.conf')}",
        httpd.site_part(work.settings, work.cache),
    ]
    with open(work.configuration, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    command = [shutil.which("apache2", path=ENVIRONMENT["PATH"]), "-f", work.configuration]
    subprocess.run([*command, "-k", "start"], env=ENVIRONMENT, check=True)
    try:
        httpd.wait_until_answers(work, port)
        yield port, work
    finally:
        httpd.stop(work)
    with open(work.error_log, encoding="utf-8") as file:
        assert ":error]" not in file.read()


def ask(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def test_many_threads_make_and_serve_at_once(server):
    port, work = server
    paths = [f"/thumbs/200x200/p{number:03d}.jpg" for number in range(40)] * 2
    # as many as are made or waited for at a time, with room to spare; more would be turned away
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda path: ask(port, path), paths))
    assert {status for status, _ in answers} == {200}
    for _, body in answers:
        with Image.open(io.BytesIO(body)) as picture:
            assert picture.size == (200, 150)
    assert answers[:40] == answers[40:]
    until(lambda: os.path.exists(work.snapshot))
    assert ask(port, "/")[0] == 200
    assert ask(port, "/thumbs/200x200/nobody.jpg")[0] == 404
