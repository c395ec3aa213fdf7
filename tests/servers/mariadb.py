"""A private MariaDB server of the distribution's mariadbd, for one test run."""

import contextlib
import os
import pathlib
import pwd
import signal
import subprocess
import time
from urllib.parse import quote

import pymysql

from tests.servers.httpd import free_port
from tests.support import until

_READY_WITHIN = 90
_STOPPED_WITHIN = 60


class MariaDB:
    """A server with its own directory, unix socket and loopback port.

    It reads no option file, runs as the user that starts it, and is stopped by its process id: the
    distribution's own service is never touched. Its data outlives :meth:`stop` and :meth:`kill`, so
    that :meth:`start` brings the same databases back on the same port.

    :param directory: made if it is not there; keep its path short (a unix socket lies in it).
    :param general_log: write every statement to a file that :meth:`statements` reads.
    :param options: further options of mariadbd, such as ``--max-connections=5``.
    """

    user = "site"
    # every character that a URL gives a meaning to
    password = "p@ss:w/o?r#d%"

    def __init__(self, directory, general_log: bool = False, options=()):
        self.directory = pathlib.Path(directory)
        self.socket = self.directory / "socket"
        self.error_log = self.directory / "error.log"
        self.port = free_port()
        self._general_log = self.directory / "general.log" if general_log else None
        self._log_start = 0
        self._options = list(options)
        self._process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc_info):
        self.stop()

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        return self._process.pid

    def start(self) -> None:
        """Start the server, with a fresh data directory the first time; return when it answers."""
        fresh = not (self.directory / "data").exists()
        if fresh:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._install()
        command = [
            "mariadbd",
            "--no-defaults",
            *self._places(),
            f"--socket={self.socket}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            f"--pid-file={self.directory / 'pid'}",
            f"--log-error={self.error_log}",
            "--skip-name-resolve",
            "--performance-schema=OFF",
            "--innodb-buffer-pool-size=16M",
            # written, not synced: what was committed outlives a kill, and no disk is waited for
            "--innodb-flush-log-at-trx-commit=2",
            "--innodb-fast-shutdown=2",
            "--key-buffer-size=1M",
            *self._options,
        ]
        if self._general_log:
            command += ["--general-log=1", f"--general-log-file={self._general_log}"]
        # A session of its own: Ctrl-C in the terminal must reach the test, not the server.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=self._environment(),
        )
        self._wait_until_ready()
        if fresh:
            self.execute(
                f"CREATE USER '{self.user}'@'%' IDENTIFIED BY '{self.password}'",
                f"GRANT ALL ON *.* TO '{self.user}'@'%'",
            )

    def stop(self) -> None:
        """Stop the server in good order; do nothing if it does not run."""
        if self._process is None:
            return
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(_STOPPED_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """Kill the server as a power cut would (SIGKILL)."""
        self._process.kill()
        self._process.wait()
        self._process = None

    def pause(self) -> None:
        """Stall the server (SIGSTOP): connections are taken by the kernel, nobody answers.

        It has stopped when this returns.
        """
        self._process.send_signal(signal.SIGSTOP)
        until(self._is_stopped)

    def resume(self) -> None:
        """End a stall."""
        self._process.send_signal(signal.SIGCONT)

    def url(self, name: str, user: str | None = None, password: str | None = None) -> str:
        """Return the URL of the database *name* over TCP, for the account with all rights."""
        user = quote(user or self.user, safe="")
        password = quote(self.password if password is None else password, safe="")
        return f"mysql://{user}:{password}@127.0.0.1:{self.port}/{name}"

    def socket_url(self, name: str) -> str:
        """Return the URL of the database *name* over the unix socket, for root."""
        return f"mysql://root@/{name}?unix_socket={quote(str(self.socket))}"

    def execute(self, *statements: str) -> list[tuple]:
        """Run *statements* as root, in one connection; return the rows of the last one."""
        with self._connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def fill(self, table: str, columns: str, rows) -> None:
        """Insert *rows* into *table* (``database.table``); *columns* as in ``"id, path"``."""
        marks = ", ".join(["%s"] * len(columns.split(",")))
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)
            connection.commit()

    def make_images_table(self, name: str, rows: dict[str, str]) -> None:
        """Make the database *name* anew, with the table ``images`` of *rows*: ``{id: path}``."""
        self.execute(
            f"DROP DATABASE IF EXISTS {name}",
            f"CREATE DATABASE {name}",
            f"CREATE TABLE {name}.images (id VARCHAR(128) PRIMARY KEY, path VARCHAR(255) NOT NULL)",
        )
        self.fill(f"{name}.images", "id, path", list(rows.items()))

    def forget_statements(self) -> None:
        """Make :meth:`statements` start from here."""
        self._log_start = self._general_log.stat().st_size

    def statements(self, containing: str = "") -> list[str]:
        """Return the lines of the general log since :meth:`forget_statements`, one a statement."""
        with self._general_log.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines()
        return [line for line in lines if containing in line]

    def connections(self) -> int:
        """Return how many clients of the account :attr:`user` are connected."""
        return len(
            self.execute(
                f"SELECT id FROM information_schema.processlist WHERE user = '{self.user}'"
            )
        )

    def _is_stopped(self) -> bool:
        states = set()
        for path in pathlib.Path(f"/proc/{self.pid}/task").glob("*/stat"):
            # a thread may end meanwhile
            with contextlib.suppress(OSError):
                states.add(path.read_text().rpartition(")")[2].split()[0])
        return states == {"T"}

    def _places(self) -> list[str]:
        return [
            f"--datadir={self.directory / 'data'}",
            f"--user={pwd.getpwuid(os.geteuid()).pw_name}",
            "--innodb-log-file-size=8M",
        ]

    def _install(self) -> None:
        subprocess.run(
            [
                "mariadb-install-db",
                "--no-defaults",
                *self._places(),
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--skip-name-resolve",
            ],
            check=True,
            capture_output=True,
            env=self._environment(),
        )

    def _connect(self):
        # PyMySQL leaks the socket if a unix socket refuses it.
        return pymysql.connect(
            host="127.0.0.1",
            port=self.port,
            user="root",
            charset="utf8mb4",
            autocommit=True,
            ssl_disabled=True,
        )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _READY_WITHIN
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(pymysql.err.OperationalError):
                self._connect().close()
                return
            time.sleep(0.02)
        self.kill()
        raise RuntimeError(f"mariadbd did not start:\n{self.error_log.read_text()[-2000:]}")

    def _environment(self) -> dict[str, str]:
        # a server that starts removes the temporary tables of all others in its TMPDIR
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "TMPDIR": str(self.directory),
        }
