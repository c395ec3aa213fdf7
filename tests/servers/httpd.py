"""A real Apache prefork with the shipped drop-in, on a free port, in a directory of its own."""

import configparser
import contextlib
import fcntl
import functools
import http.client
import os
import pathlib
import random
import re
import socket
import sqlite3
import tempfile
import time
from typing import NamedTuple

from handlers.quickstart import httpd
from handlers.quickstart.work import SIZES, Work

#: Settings of a site on a machine that others keep busy: it turns nobody away for that, gives no
#: picture up, and takes no database for away that answers late.
PATIENT = """
thumbnail.soon = 60
thumbnail.wait = 120
thumbnail.cpu = 30
lookup.timeout = 30
lookup.connect_timeout = 30
"""
# A test server has as few children as the test needs, and more clients now and then.
_chance = random.SystemRandom()
_reserved: set[int] = set()
_ALWAYS_EXPECTED = (
    "AH00161: server reached MaxRequestWorkers",
    # a busy machine takes more than two seconds to end Python
    r"AH00045: child process \d+ still did not exit, sending a SIGTERM",
    # a thumbnail was deleted between Apache's look at it and its opening
    r"\(2\)No such file or directory: .*AH00132",
)
# a handler that only computes, in another interpreter than the main one, keeps the GIL until then
_OF_MOD_PYTHON = (r"AH0004[56]: child process \d+ still did not exit",)


def free_port() -> int:
    """Return a port that is free, below those that the kernel gives to clients.

    It is this process's until it ends, on all of this machine where tests run: a server can be
    stopped and started again, and no other worker of pytest takes its port meanwhile.
    """
    while True:
        port = _chance.randrange(10_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            # one byte a port; the kernel drops the locks of a process that has ended
            fcntl.lockf(_reservations(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            if port not in _reserved:
                _reserved.add(port)
                probe.bind(("", port))
                return port


@functools.cache
def _reservations():
    path = os.path.join(tempfile.gettempdir(), f"modpython-handlers-ports-{os.geteuid()}")
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def has_mod_python() -> bool:
    """Tell whether mod_python is installed here (Debian 12 has it, Debian 13 has not)."""
    return os.path.exists("/usr/lib/apache2/modules/mod_python.so")


class Answer(NamedTuple):
    """What a server said."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Httpd:
    """One httpd and its log; its settings begin with :data:`PATIENT`.

    :param directory: its work directory; Apache's user must be able to reach it.
    :param server: ``mod_wsgi`` or ``mod_python``.
    :param url: the database's URL.
    :param root: the pictures' directory.
    :param extra: directives added to the configuration.
    :param snapshot: whether the children share a snapshot, or each has a dict of its own.
    """

    def __init__(
        self,
        directory,
        server,
        url,
        root,
        *,
        children=3,
        extra="",
        sizes=SIZES,
        snapshot=False,
    ):
        self.work = Work(str(directory))
        self.server = server
        self.port = free_port()
        self.children = children
        self.extra = extra
        #: What httpd has in its environment beside what it has anyhow.
        self.environment: dict[str, str] = {}
        #: Texts of the configuration, and what stands in their place from the next start on.
        self.edits: dict[str, str] = {}
        self.work.make()
        self.write_settings(url, root, snapshot=snapshot, sizes=sizes)
        self._expected: list[str] = []
        self._mark = 0

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc_info):
        if self.running:
            self.stop()

    @contextlib.contextmanager
    def stopped_at_the_end(self):
        """Stop the server at the end of a with block if it was started in it."""
        try:
            yield
        finally:
            self.__exit__()

    @property
    def site_part(self) -> str:
        """The directives of the site part in the configuration."""
        return httpd.site_part(self.work.settings, self.work.cache)

    @property
    def running(self) -> bool:
        """Whether the server runs."""
        return httpd.running(self.work) is not None

    def start(self, warm=True) -> None:
        """Start it and wait for its first answer, and for all children to be *warm*."""
        httpd.write_configuration(self.work, self.port, self.children, self.server, self.extra)
        path = pathlib.Path(self.work.configuration)
        text = path.read_text(encoding="utf-8")
        for old, new in self.edits.items():
            assert old in text, old
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")
        started = self._log_size()
        httpd.start(self.work, {**httpd.environment(self.server), **self.environment})
        httpd.wait_until_answers(self.work, self.port)
        if warm:
            self._wait_for_children(started)

    def stop(self) -> None:
        """Stop it and wait until it is gone."""
        httpd.stop(self.work)

    def write_settings(self, url, root, private=None, **options) -> None:
        """Write settings.ini anew; *options* are those of :meth:`Work.write_settings`."""
        self.work.write_settings(url, str(root), private, **options)
        self.settings(PATIENT)

    def settings(self, text: str) -> None:
        """Set options in settings.ini, ``section.key = value`` a line, from the next start on."""
        path = os.path.join(self.work.etc, "settings.ini")
        parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
        parser.read(path, encoding="utf-8")
        for line in filter(None, text.splitlines()):
            name, _, value = line.partition("=")
            section, _, key = name.strip().rpartition(".")
            if not parser.has_section(section):
                parser.add_section(section)
            parser.set(section, key, value.strip())
        with open(path, "w", encoding="utf-8") as file:
            parser.write(file)

    def request(
        self, path, method="GET", headers=None, body=None, timeout=180, source=None
    ) -> Answer:
        """Send one request on a connection of its own.

        :param source: the loopback address that it comes from.
        """
        headers = dict(headers or {})
        if source is not None:
            # the server closes first, or the bound port would be in use for a minute
            headers["Connection"] = "close"
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=timeout, source_address=source and (source, 0)
        )
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def raw(self, data: bytes, timeout=180) -> tuple[int, bytes]:
        """Send *data* as it is, on a connection of its own, and no more; return what comes back.

        :return: the status, 0 if nothing came that has one, and all bytes.
        """
        received = []
        with socket.create_connection(("127.0.0.1", self.port), timeout) as connection:
            # a server that has refused the rest resets the connection
            with contextlib.suppress(ConnectionError):
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                while block := connection.recv(65536):
                    received.append(block)
        answer = b"".join(received)
        status = re.match(rb"HTTP/1\.[01] ([0-9]{3}) ", answer)
        return int(status[1]) if status else 0, answer

    def get(self, target: bytes, *fields: bytes, method=b"GET", body=b"") -> int:
        """Return the status of a request whose target and header fields are any bytes."""
        head = b"%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" % (method, target)
        return self.raw(head + b"".join(b"%s\r\n" % field for field in fields) + b"\r\n" + body)[0]

    def child_pids(self) -> list[int]:
        """Return the process ids of the children."""
        parent = httpd.running(self.work)
        with open(f"/proc/{parent}/task/{parent}/children", encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]

    def maker_pids(self) -> list[int]:
        """Return the process ids of the makers of this site's cache, by the names that ps shows."""
        return makers_of(self.work.cache)

    def log(self, start: int | None = None) -> str:
        """Return what the error log holds since the test began, or from the byte *start* on."""
        with open(self.work.error_log, encoding="utf-8", errors="replace") as file:
            file.seek(self._mark if start is None else start)
            return file.read()

    def expect(self, pattern: str) -> None:
        """Announce that this test causes warnings or errors that match *pattern*."""
        self._expected.append(pattern)

    def begin_test(self) -> None:
        """Forget what the log holds so far, and what was announced."""
        self._mark = self._log_size()
        self._expected = list(_ALWAYS_EXPECTED)
        if self.server == "mod_python":
            self._expected += _OF_MOD_PYTHON

    def complaints(self) -> list[str]:
        """Return the warnings and errors of this test that nobody announced."""
        return [
            line
            for line in self.log().splitlines()
            if re.search(r":(warn|error|crit|alert|emerg)\]|Traceback", line)
            and not any(re.search(pattern, line) for pattern in self._expected)
        ]

    def _log_size(self) -> int:
        path = pathlib.Path(self.work.error_log)
        return path.stat().st_size if path.exists() else 0

    def _wait_for_children(self, start: int) -> None:
        """Wait until every child has said what it warmed, or why it could not.

        Where the children share a snapshot, one of them does that for all.
        """
        settings = pathlib.Path(self.work.etc, "settings.ini").read_text(encoding="utf-8")
        count = 1 if re.search(r"(?m)^snapshot *=", settings) else self.children
        deadline = time.monotonic() + 90
        while len(set(re.findall(r"\[pid (\d+).*(?:lookup|settings)", self.log(start)))) < count:
            assert time.monotonic() < deadline, self.log(start)
            time.sleep(0.01)


def makers_of(cache) -> list[int]:
    """Return the process ids of the makers of the cache directory *cache*."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            title = os.fsdecode(entry.read_bytes()).rstrip("\0")
            if re.fullmatch(rf"modpython-handlers: maker \d+ of {re.escape(str(cache))}", title):
                found.append(int(entry.parent.name))
    return found


def at_work_on(pids, source) -> list[int]:
    """Return those of the makers *pids* that have the file *source* open."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            held = [os.readlink(path) for path in pathlib.Path(f"/proc/{pid}/fd").iterdir()]
            if str(source) in held:
                found.append(pid)
    return found


def make_images_table(path, rows: dict[str, str], private=()) -> str:
    """Make an SQLite database with a table ``images`` of *rows*; return its URL.

    :param private: ids whose column ``private`` is true.
    """
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE images (id TEXT PRIMARY KEY, path TEXT NOT NULL, private INTEGER)"
        )
        connection.executemany(
            "INSERT INTO images VALUES (?, ?, ?)",
            [(id, path, id in private) for id, path in rows.items()],
        )
    connection.close()
    os.chmod(path, 0o644)
    return f"sqlite:///{path}"
