"""What this machine's Apache is configured to do, as far as its files tell it."""

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from handlers.commands.result import Failed
from handlers.configuration import effective
from handlers.configuration.text import Malformed, Section

#: Where Apache's configuration lies: on Debian, and on Red Hat.
PLACES = ("/etc/apache2", "/etc/httpd")
#: It is there while systemd runs the machine, sd_booted(3); in most containers it does not.
SYSTEMD = "/run/systemd/system"
_MODULES = (
    "/usr/lib/apache2/modules",
    "/usr/lib64/httpd/modules",
    "/usr/lib/httpd/modules",
)


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


class Broken(Failed):
    """Raised for a configuration that Apache refuses."""


def find(directory: str | None) -> "Apache | None":
    """Return the configuration below *directory*, or that of this machine; None if it has none.

    :raises Failed: if *directory* is given and is none, or Apache refuses the configuration.
    """
    try:
        return Apache(directory)
    except Broken:
        raise
    except Failed:
        if directory:
            raise
        return None


class Apache:
    """The configuration below *directory*: ``/etc/apache2``, ``/etc/httpd`` or one like them.

    :param directory: by default APACHE_CONFDIR of the environment, or the first of them there is.
    :raises Failed: if there is none, or none that can be read.
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
        variables = _variables(os.path.join(self.directory, "envvars"))
        try:
            found = effective.read(
                self._main_file(), self.directory, (), variables, skip_unreadable=True
            )
        except OSError as error:
            raise Failed(f"{error.filename}: {error.strerror}") from error
        except Malformed as error:
            raise Broken(str(error)) from error
        self._root = found.root
        #: Names of the modules that are loaded, without ``_module``, and the files they come from.
        self.modules: dict[str, str] = {
            name.removesuffix("_module"): self.path(file) for name, file in found.modules.items()
        }
        self.directives = list(_directives(found.tree, ()))

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
    def service(self) -> str:
        """The name of Apache's service."""
        return "apache2" if self.is_debian else "httpd"

    @property
    def restart(self) -> str:
        """The command that starts Apache anew on this machine."""
        if os.path.isdir(SYSTEMD):
            return f"systemctl restart {self.service}"
        return "apachectl restart"

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


def _directives(section: Section, sections: tuple) -> Iterator[Directive]:
    """Yield the directives of a section, at any depth.

    :param sections: those around its lines, itself included.
    """
    for line in section.children:
        if isinstance(line, Section):
            place = line.place if line.key == "virtualhost" else line.arguments
            yield from _directives(line, (*sections, (line.key, place)))
        else:
            yield Directive(line.name, line.words, line.file, line.number, sections)


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
