"""The scripts that a converted configuration names: their texts, and names that follow from these.

A name holds a fingerprint of its text, so that the same configuration always names the same files
and a script that something still names is never changed.
"""

import hashlib
import os
import pprint

from handlers.configuration.text import quote

#: The script that answers requests.
ENTRY = "mod_python.wsgi"

_FIND = """\
import site
import sys

# the environment of the package
ENVIRONMENT = {environment!r}

try:
    import handlers.mod_python
except ModuleNotFoundError:
    version = "{{}}.{{}}".format(*sys.version_info)
    # at the end of the path, so that other applications keep their own modules
    site.addsitedir(f"{{ENVIRONMENT}}/lib/python{{version}}/site-packages")
    import handlers.mod_python

handlers.mod_python.install_as_mod_python()
"""
_ENTRY = '''\
"""Handlers written for mod_python, on mod_wsgi: what WSGIHandlerScript names."""

{find}
from handlers.runtime.entry import handle_own_request as handle_request  # noqa: E402,F401
from handlers.sessions import options  # noqa: E402

sys.argv = ["mod_python"]
# as mod_python does: a session that was given nothing is kept, and scripts may read its cookie
options.use(
    {{"mod_python.session.store_empty": "on", "mod_python.session.cookie_httponly": "off"}}
)
'''
_GATE = '''\
"""Phases of mod_python before content that mod_wsgi does not serve, as modpython-handlers convert
found them: what WSGIAccessScript, WSGIAuthUserScript and WSGIAuthGroupScript name.

Each layer is a section of the configuration: which requests it is for, and what it sets.
"""

{find}
from handlers.runtime.front import Front  # noqa: E402

front = Front(
    {layers},
    {aliases},
)
allow_access = front.allow_access
check_password = front.check_password
groups_for_user = front.groups_for_user
'''
_IMPORT = '''\
"""What PythonImport named: imported once in each child, before its first request."""

{find}
from handlers.runtime.front import import_at_start  # noqa: E402

import_at_start({handler!r}, {python_path!r})
'''
_CONNECTIONS = '''\
"""PythonConnectionHandler: what WSGIImportScript names, for each child, and what closes the HTTP
of the same ports where it does not work.
"""

{find}
from handlers.runtime.connection_handler import serve  # noqa: E402

works = serve(
    {places},
)


def allow_access(environ, host):
    """Let nobody in by HTTP where connections do not go to their handler first."""
    return None if works else False
'''
_DISPATCH = '''\
"""PythonInterpPerDirectory: the interpreter of a request is that of its file's directory."""

import os


def application_group(environ):
    """Return the directory of the file, with a slash at its end."""
    path = environ["SCRIPT_FILENAME"]
    directory = path if os.path.isdir(path) else os.path.dirname(path)
    return directory.rstrip("/") + "/"
'''


class Scripts:
    """The scripts of one conversion.

    :param directory: where they will lie.
    :param environment: the virtual environment of the package.
    """

    def __init__(self, directory: str, environment: str):
        self.directory = directory
        self._find = _FIND.format(environment=environment).rstrip()
        #: Text by path.
        self.texts: dict[str, str] = {}
        #: Values of options that must not be read by everybody, by path.
        self.secrets: dict[str, str] = {}

    def entry(self) -> str:
        """Return the path of the script that answers requests."""
        path = os.path.join(self.directory, ENTRY)
        self.texts[path] = _ENTRY.format(find=self._find)
        return path

    def gate(self, layers: list[dict], aliases: list[list[str]]) -> str:
        """Return the path of a script that runs phases before other content.

        :param layers: as :class:`handlers.runtime.front.Front` takes them.
        :param aliases: the same.
        """
        values = [
            pprint.pformat(value, width=96, sort_dicts=False).replace("\n", "\n    ")
            for value in (layers, aliases)
        ]
        text = _GATE.format(find=self._find, layers=values[0], aliases=values[1])
        return self._named("front", text)

    def at_start(self, handler: str, python_path: str) -> str:
        """Return the path of a script that imports a module, and calls its function if named."""
        text = _IMPORT.format(find=self._find, handler=handler, python_path=python_path)
        return self._named("import", text)

    def connections(self, places: list[dict]) -> str:
        """Return the path of a script that lets handlers answer connections.

        :param places: as :func:`handlers.runtime.connection_handler.serve` takes them.
        """
        value = pprint.pformat(places, width=96, sort_dicts=False).replace("\n", "\n    ")
        return self._named("connections", _CONNECTIONS.format(find=self._find, places=value))

    def per_directory(self) -> str:
        """Return the path of a script that names a directory's interpreter."""
        return self._named("interpreter", _DISPATCH)

    def secret(self, option: str, value: str) -> str:
        """Return the path of a file that holds the value of an option, for Apache's user alone."""
        # named after the option alone: a fingerprint of a short secret would tell it
        safe = "".join(char if char.isalnum() or char in "._-" else "_" for char in option)
        path = os.path.join(self.directory, f"option-{safe}")
        number, free = 1, path
        while self._secret_in(free, value) != value:
            number += 1
            free = f"{path}-{number}"
        self.secrets[free] = value
        return free

    def _secret_in(self, path: str, value: str) -> str:
        """Return what a file holds or will hold; *value* if there is none."""
        if path in self.secrets:
            return self.secrets[path]
        try:
            with open(path, encoding="latin-1", newline="\n") as file:
                return file.readline().removesuffix("\n")
        except FileNotFoundError:
            return value
        except OSError:
            # another's: it may be anything
            return ""

    def _named(self, kind: str, text: str) -> str:
        fingerprint = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]
        path = os.path.join(self.directory, f"{kind}-{fingerprint}.wsgi")
        self.texts[path] = text
        return path


def named(directive: str, path: str, group: str = "", options: str = "") -> str:
    """Return the line that names a script, and the interpreter that it runs in."""
    # mod_wsgi reads a value of its options up to the next space
    where = f" application-group={quote(group) if ' ' in group else group}" if group else ""
    return f"{directive} {quote(path)}{options}{where}"
