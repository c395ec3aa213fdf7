"""apache_conf/quickstart as a user runs it, in this test run's virtual environment."""

import http.client
import pathlib
import re
import shutil
import subprocess
import sys

from tests.servers.httpd import free_port

SCRIPT = pathlib.Path(__file__).parent.parent.parent / "apache_conf" / "quickstart"


class Quickstart:
    """The script with one work directory."""

    def __init__(self, work):
        self.work = work
        self.script = SCRIPT
        self.port = free_port()

    def command(self, *arguments):
        """Return the command line with *arguments* and this test's directories."""
        own = ("--work", self.work, "--venv", sys.prefix)
        return [str(self.script), *map(str, (*arguments, *own))]

    def copy_into(self, directory):
        """Run the script from a copy of the checkout that every user can read."""
        checkout = directory / "checkout"
        checkout.mkdir()
        for name in ("handlers", "apache_conf"):
            shutil.copytree(SCRIPT.parent.parent / name, checkout / name)
        for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(SCRIPT.parent.parent / name, checkout)
        self.script = checkout / "apache_conf" / "quickstart"

    def run(self, *arguments, **how):
        """Run it to its end; *how* is for subprocess.run."""
        return self.execute(self.command(*arguments), **how)

    def execute(self, command, **how):
        """Run *command*, some form of the script's, to its end."""
        return subprocess.run(command, capture_output=True, text=True, timeout=600, **how)

    def start(self, *arguments, **how):
        """Start the server with two children and return."""
        return self.run(*arguments, "--detach", "--port", self.port, "--children", 2, **how)

    def get(self, path, host="127.0.0.1", method="GET"):
        """Send one request; return status and body."""
        connection = http.client.HTTPConnection(host, self.port, timeout=600)
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, body

    def complaints(self):
        """Return the warnings and errors in its log."""
        log = (self.work / "logs" / "error.log").read_text()
        return [line for line in log.splitlines() if re.search(r":(warn|error|crit)\]", line)]

    def end(self):
        """Stop the server if one runs."""
        if (self.work / "run" / "httpd.pid").exists():
            self.run("--stop")


def failure(done, status=1):
    """Return the one line that *done* failed with, as it must."""
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("quickstart: ")
    return lines[0]
