"""What this machine's Apache is configured to do, as far as its files tell it.

The files are read in Apache's order, with ``Include``, ``Define``, ``${...}``, ``<IfDefine>`` and
``<IfModule>`` (https://httpd.apache.org/docs/2.4/configuring.html); expressions, macros and
``.htaccess`` are not.
"""

import glob
import os
import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from handlers.commands.result import Failed

#: Where Apache's configuration lies: on Debian, and on Red Hat.
PLACES = ("/etc/apache2", "/etc/httpd")
_MODULES = (
    "/usr/lib/apache2/modules",
    "/usr/lib64/httpd/modules",
    "/usr/lib/httpd/modules",
)
# what may be compiled into httpd
_BUILT_IN = {"core", "so", "http", "log_config", "logio", "unixd", "version", "watchdog"}


class Directive(NamedTuple):
    """One directive: name and arguments, and where it stands."""

    name: str
    arguments: list[str]
    file: str
    line: int
    #: The sections around it, outermost first, as (name in lower case, arguments).
    sections: tuple[tuple[str, str], ...]

    def is_named(self, name: str) -> bool:
        """Tell whether this is the directive *name*; case does not matter to Apache."""
        return self.name.lower() == name.lower()

    @property
    def host(self) -> str:
        """The file and line of its virtual host's section, as text; empty outside of one."""
        return next((text for name, text in self.sections if name == "virtualhost"), "")


def find(directory: str | None) -> "Apache | None":
    """Return the configuration below *directory*, or that of this machine; None if it has none.

    :raises Failed: if *directory* is given and is none.
    """
    try:
        return Apache(directory)
    except Failed:
        if directory:
            raise
        return None


class Apache:
    """The configuration below *directory*: ``/etc/apache2``, ``/etc/httpd`` or one like them.

    :param directory: by default APACHE_CONFDIR of the environment, or the first of them there is.
    :raises Failed: if there is none.
    """

    def __init__(self, directory: str | None = None):
        directory = directory or os.environ.get("APACHE_CONFDIR")
        found = [directory] if directory else list(PLACES)
        self.directory = next((path for path in found if os.path.isdir(path)), "")
        if not self.directory:
            raise Failed(
                f"no Apache: {' or '.join(found)} is not there (Debian: apt install apache2)"
            )
        self.directory = os.path.abspath(self.directory)
        #: Whether it is Debian's, with a2enconf.
        self.is_debian = os.path.isdir(os.path.join(self.directory, "conf-available"))
        if not self.is_debian and not os.path.isdir(os.path.join(self.directory, "conf.d")):
            raise Failed(
                f"{self.directory} has neither conf-available nor conf.d: name it by --apache"
            )
        self._variables = _variables(os.path.join(self.directory, "envvars"))
        self._defined: set[str] = set()
        self._root = self.directory
        #: Names of the modules that are loaded, without ``_module``, and the files they come from.
        self.modules: dict[str, str] = {}
        #: The files that are being read: each is included by the one before it.
        self._reading: list[str] = []
        self.directives = list(self._read(self._main_file(), ()))

    def value(self, name: str, default: str = "") -> str:
        """Return the first argument of the last directive *name* outside of all sections."""
        found = [d for d in self.named(name) if not d.sections and d.arguments]
        return found[-1].arguments[0] if found else default

    def named(self, *names: str) -> list[Directive]:
        """Return the directives of these names, wherever they stand."""
        return [d for d in self.directives if any(map(d.is_named, names))]

    def path(self, text: str) -> str:
        """Return a path of the configuration made absolute, as Apache does it."""
        return os.path.normpath(os.path.join(self._root, text))

    @property
    def user(self) -> str:
        """The user that Apache's children run as."""
        return self.value("User", "www-data" if self.is_debian else "apache")

    @property
    def group(self) -> str:
        """The group that Apache's children run as."""
        return self.value("Group", "www-data" if self.is_debian else "apache")

    @property
    def error_log(self) -> str:
        """The server's error log."""
        log = self.value("ErrorLog", "logs/error_log")
        return log if log.startswith("|") else self.path(log)

    @property
    def module_directory(self) -> str:
        """The directory of Apache's own modules.

        :raises Failed: if it is not found.
        """
        link = os.path.join(self.directory, "modules")
        for path in (*_MODULES, link):
            if os.path.isdir(path):
                return path
        raise Failed("Apache's modules are in none of " + ", ".join(_MODULES))

    def conf_file(self, name: str) -> str:
        """Return the path of the configuration file *name* of our own."""
        folder = "conf-available" if self.is_debian else "conf.d"
        return os.path.join(self.directory, folder, name)

    def is_enabled(self, name: str) -> bool:
        """Tell whether Apache reads the configuration file *name* for the whole server."""
        folder = "conf-enabled" if self.is_debian else "conf.d"
        return os.path.exists(os.path.join(self.directory, folder, name))

    def _main_file(self) -> str:
        for name in ("apache2.conf", "httpd.conf", "conf/httpd.conf"):
            path = os.path.join(self.directory, name)
            if os.path.exists(path):
                return path
        raise Failed(f"{self.directory} has neither apache2.conf nor httpd.conf")

    def _read(self, path: str, sections: tuple) -> Iterator[Directive]:
        """Yield the directives of a file that hold, in order.

        :raises Failed: if it cannot be read, or includes itself, which Apache refuses, too.
        """
        real = os.path.realpath(path)
        if real in self._reading:
            raise Failed(f"{path} is included by itself, by way of {self._reading[-1]}")
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                text = file.read()
        except OSError as error:
            raise Failed(f"{path}: {error.strerror}") from error
        self._reading.append(real)
        yield from self._parsed(text, path, sections)
        self._reading.pop()

    def _parsed(self, text: str, path: str, sections: tuple) -> Iterator[Directive]:
        opened: list[tuple[str, str]] = []
        skipping = 0
        for number, line in _logical_lines(text):
            closing = re.match(r"</\s*(\w+)", line)
            opening = re.match(r"<\s*(\w+)\s*(.*?)>?\s*$", line)
            if skipping:
                skipping += bool(opening) - bool(closing)
                continue
            if closing:
                if opened:
                    opened.pop()
                continue
            line = self._expanded(line)
            if opening:
                name, argument = opening[1].lower(), self._expanded(opening[2])
                if name in ("ifdefine", "ifmodule") and not self._holds(name, argument):
                    skipping = 1
                    continue
                place = f"{path}:{number}" if name == "virtualhost" else argument
                opened.append((name, place))
                continue
            # conditions that hold are no sections
            around = sections + tuple(s for s in opened if s[0] not in ("ifdefine", "ifmodule"))
            directive = Directive(*_taken_apart(line), path, number, around)
            yield from self._obeyed(directive)

    def _obeyed(self, directive: Directive) -> Iterator[Directive]:
        name, arguments = directive.name.lower(), directive.arguments
        if name in ("include", "includeoptional") and arguments:
            yield directive
            for path in self._included(arguments[0]):
                yield from self._read(path, directive.sections)
            return
        if name == "define" and arguments:
            self._defined.add(arguments[0])
            if len(arguments) > 1:
                self._variables[arguments[0]] = arguments[1]
        elif name == "undefine" and arguments:
            self._defined.discard(arguments[0])
            self._variables.pop(arguments[0], None)
        elif name == "serverroot" and arguments and os.path.isdir(arguments[0]):
            self._root = arguments[0]
        elif name == "loadmodule" and len(arguments) == 2:
            self.modules.setdefault(arguments[0].removesuffix("_module"), self.path(arguments[1]))
        yield directive

    def _included(self, pattern: str) -> list[str]:
        found = sorted(glob.glob(self.path(pattern)))
        files: list[str] = []
        for path in found:
            if os.path.isdir(path):
                inner = glob.glob(os.path.join(path, "**"), recursive=True)
                files += sorted(name for name in inner if os.path.isfile(name))
            else:
                files.append(path)
        return [path for path in files if os.access(path, os.R_OK)]

    def _holds(self, section: str, argument: str) -> bool:
        wanted = argument.strip().strip('"')
        negated, wanted = wanted.startswith("!"), wanted.lstrip("!").strip()
        if section == "ifdefine":
            return (wanted in self._defined) != negated
        name = re.sub(r"^mod_|\.c$|_module$", "", wanted)
        return (name in self.modules or name in _BUILT_IN) != negated

    def _expanded(self, line: str) -> str:
        return re.sub(r"\$\{([^}]+)\}", lambda found: self._variables.get(found[1], found[0]), line)


def _variables(path: str) -> dict[str, str]:
    """Return what Debian's file of environment variables sets, without running it."""
    found = {"SUFFIX": ""}
    if os.path.exists(path):
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
        pattern = r"(?m)(?:^|[\s{])([A-Z][A-Z0-9_]*):?=(\"[^\"\n]*\"|'[^'\n]*'|[^\s;}]*)"
        for name, value in re.findall(pattern, re.sub(r"(?m)^\s*#.*", "", text)):
            value = re.sub(
                r"\$\{?(\w+)\}?", lambda inner: found.get(inner[1], ""), value.strip("\"'")
            )
            if name != "SUFFIX":
                found[name] = value
    return found


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number of its first line, line) for all that is no comment and not empty."""
    whole, first = "", 0
    # not by splitlines(): it takes a form feed and others for the end of a line
    for number, line in enumerate(text.split("\n"), 1):
        first = first if whole else number
        if line.endswith("\\") and not (not whole and line.lstrip().startswith("#")):
            whole += line[:-1] + " "
            continue
        whole = (whole + line).strip()
        if whole and not whole.startswith("#"):
            yield first, whole
        whole = ""


def _taken_apart(line: str) -> tuple[str, list[str]]:
    name, rest, *_ = *line.split(None, 1), ""
    words = shlex.shlex(rest, posix=True)
    words.whitespace_split, words.commenters, words.escape = True, "", ""
    try:
        return name, list(words)
    except ValueError:
        # a quote that is not closed
        return name, rest.split()
