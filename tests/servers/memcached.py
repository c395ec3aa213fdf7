"""A private memcached for one test run."""

import os
import pwd
import socket
import subprocess
import time

from tests.servers.httpd import free_port

_READY_WITHIN = 90


class Memcached:
    """A memcached on a loopback port of its own, stopped by its process id.

    :param megabytes: memory for entries; what does not fit is evicted.
    """

    def __init__(self, megabytes: int = 64):
        self.port = free_port()
        self._megabytes = megabytes
        self._process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc_info):
        self.stop()

    @property
    def address(self) -> str:
        """``host:port``, as the option names it."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, empty, on the same port every time; return when it answers."""
        self._process = subprocess.Popen(
            [
                "memcached",
                f"--user={pwd.getpwuid(os.geteuid()).pw_name}",
                "--listen=127.0.0.1",
                f"--port={self.port}",
                f"--memory-limit={self._megabytes}",
            ],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + _READY_WITHIN
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", self.port)):
                    return
            time.sleep(0.01)
        self.kill()
        raise RuntimeError("memcached did not start")

    def stop(self) -> None:
        """Kill it, if it runs: it has nothing to bring to an end."""
        if self._process is not None:
            self.kill()

    def kill(self) -> None:
        """Kill it as a power cut would (SIGKILL)."""
        self._process.kill()
        self._process.wait()
        self._process = None
