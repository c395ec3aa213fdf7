"""A configuration written for mod_python on a real Apache: on mod_python, or converted."""

import pathlib
import subprocess
import sys

from handlers.quickstart import httpd
from tests.servers.httpd import Httpd

_MODULES = "/usr/lib/apache2/modules"
_BASE = """\
ServerRoot "{directory}"
ServerName localhost
Listen 127.0.0.1:{port}
PidFile run/httpd.pid
DefaultRuntimeDir run
{loads}
{user}
StartServers {children}
MinSpareServers {children}
MaxSpareServers {children}
ServerLimit {children}
MaxRequestWorkers {children}
KeepAliveTimeout 1
ErrorLog logs/error.log
LogLevel warn
TypesConfig /etc/mime.types
"""
_LOADS = ("mpm_prefork", "unixd", "authz_core", "log_config", "alias", "mime", "dir")


class Moved(Httpd):
    """One httpd whose configuration is *text*, written for mod_python.

    :param directory: its work directory; ``{directory}`` in the text stands for it.
    :param server: ``mod_python`` leaves the text alone, ``mod_wsgi`` converts it.
    :param modules: Apache's modules that the text needs, without ``mod_`` and ``.so``.
    """

    def __init__(self, directory, server, text, *, modules=(), children=2):
        super().__init__(directory, server, "sqlite:////nowhere", "/", children=children)
        user = self.work.user
        self.scripts = pathlib.Path(directory, "scripts")
        self.said = ""
        self.status = 0
        base = _BASE.format(
            directory=directory,
            port=self.port,
            loads="\n".join(
                f"<IfModule !{name}_module>\n"
                f"LoadModule {name}_module {_MODULES}/mod_{name}.so\n</IfModule>"
                for name in (*_LOADS, *modules)
            ),
            user=f"User {user.pw_name}\nGroup #{user.pw_gid}" if user else "",
            children=children,
        )
        load = f"LoadModule python_module {_MODULES}/mod_python.so\n"
        text = text.replace("{directory}", str(directory)).replace("{port}", str(self.port))
        self.text = base + load + text

    def start(self, warm=False):
        """Write the configuration, as it is or converted, check it and start."""
        text = self.text
        if self.server == "mod_wsgi":
            text = self.convert(text)
        path = pathlib.Path(self.work.configuration)
        path.write_text(text)
        checked = subprocess.run(
            [httpd.binary(), "-t", "-f", path], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stderr + text
        httpd.start(self.work, httpd.environment(self.server))
        httpd.wait_until_answers(self.work, self.port)

    def convert(self, text: str, *options: str) -> str:
        """Return the text converted by the command, and keep what it said and its status."""
        done = subprocess.run(
            [
                *(sys.executable, "-m", "handlers", "convert", "--scripts", self.scripts),
                *("--mod-wsgi", httpd.mod_wsgi_location(), *options),
            ],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in (0, 3), done.stderr
        self.said, self.status = done.stderr, done.returncode
        return done.stdout


class Exact(Moved):
    """A converted configuration whose handlers read Apache's structures.

    :ivar edit: changes the converted text.
    """

    edit = staticmethod(lambda text: text)

    def convert(self, text, *options):
        return self.edit(super().convert(text, "--request-rec", *options))
