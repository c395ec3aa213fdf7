"""What of Apache's configuration holds: files included, variables replaced, conditions decided.

The files are read in Apache's order, with Include, Define, UnDefine, LoadModule, ServerRoot,
``${VARIABLE}``, ``<IfDefine>``, ``<IfModule>``, ``<IfFile>`` and ``<IfVersion>``
(https://httpd.apache.org/docs/2.4/mod/core.html). Every ``<IfDirective>`` and ``<IfSection>`` is
taken to hold unless it is negated, since only httpd knows its directives. Expressions are left
unevaluated and macros unexpanded, and no ``.htaccess`` file is read.
"""

import glob
import operator
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from .text import Line, Malformed, Section, parse

# compiled into httpd, or into that of Debian: apache2 -l
_BUILT_IN = (
    *("core.c", "core_module", "http_core.c", "http_module", "mod_so.c", "so_module"),
    *("mod_log_config.c", "log_config_module", "mod_logio.c", "logio_module"),
    *("mod_unixd.c", "unixd_module", "mod_version.c", "version_module"),
    *("mod_watchdog.c", "watchdog_module"),
)
# that of Debian 12; nothing that is asked for in practice tells it from any later 2.4
_VERSION = (2, 4, 62)
_COMPARED = {
    "=": operator.eq,
    "==": operator.eq,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
# a variable within the name of another is not replaced
_VARIABLE = re.compile(r"\$\{([^}]+)\}")


@dataclass
class Configuration:
    """What httpd makes of its files."""

    #: ServerRoot.
    root: str
    #: The names that ``-D`` and Define have set.
    defines: set[str]
    #: The directives that hold, those of included files in their place, without comments. The
    #: names of conditions are gone; Include, Define and LoadModule are still there.
    tree: Section = field(default_factory=lambda: Section("", "", 0))
    #: The modules that LoadModule loads: name, as ``alias_module``, and file as it is written.
    modules: dict[str, str] = field(default_factory=dict)


def read(
    path: str,
    root: str,
    defines: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
    skip_unreadable: bool = False,
) -> Configuration:
    """Read the file *path* and all that it includes.

    :param root: what stands for ServerRoot until the files name one.
    :param defines: the names that httpd was given by ``-D``.
    :param environment: what ``${VARIABLE}`` may name besides Define; by default that of this
        process.
    :param skip_unreadable: leave out included files that this process has no right to read.
    :raises OSError: for a file that cannot be read.
    :raises Malformed: for a text that Apache refuses.
    """
    reader = _Reader(root, defines, os.environ if environment is None else environment)
    reader.skip_unreadable = skip_unreadable
    reader.read(path, reader.found.tree)
    return reader.found


def included(pattern: str) -> list[str]:
    """Return the files that ``Include`` takes for an absolute path or pattern, in Apache's order.

    Of a directory it takes every file, those of its subdirectories too.
    """
    return [file for path in sorted(glob.glob(pattern)) for file in _files(path)]


def _files(path: str) -> Iterator[str]:
    if not os.path.isdir(path):
        yield path
        return
    for name in sorted(os.listdir(path)):
        yield from _files(os.path.join(path, name))


class _Reader:
    """The state of httpd while it reads its configuration."""

    skip_unreadable = False

    def __init__(self, root, defines, environment):
        self.found = Configuration(root, set(defines))
        self._environment = environment
        # Apache keeps them in a table, whose keys have no case
        self._values: dict[str, str] = {}
        self._modules = set(_BUILT_IN)
        self._reading: list[str] = []

    def read(self, path: str, into: Section, by: str = "") -> None:
        """Read a file into a section of the result.

        :param by: the place of the line that includes it.
        """
        real = os.path.realpath(path)
        if real in self._reading:
            raise Malformed(f"{path} is included by itself, by way of {by}")
        # as bytes that need not be UTF-8, and with the ends of lines as they are
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            tree = parse(file.read(), path)
        self._reading.append(real)
        self._take(tree, into)
        self._reading.pop()

    def _take(self, section: Section, into: Section) -> None:
        """Add the lines of a section that hold to one of the result, and do what they say."""
        for line in section.children:
            # comments have no name
            if not line.name:
                continue
            own = line.raw, line.file, line.number, into, line.name, self._replaced(line.arguments)
            if not isinstance(line, Section):
                into.children.append(Line(*own))
                self._obey(into.children[-1], into)
                continue
            inner = Section(*own)
            holds = self._condition(inner)
            if holds is None:
                into.children.append(inner)
                self._take(line, inner)
            elif holds:
                self._take(line, into)

    def _obey(self, line: Line, into: Section) -> None:
        words = line.words
        if not words:
            return
        if line.key in ("include", "includeoptional"):
            for path in included(os.path.join(self.found.root, words[0])):
                if not self.skip_unreadable or os.access(path, os.R_OK):
                    self.read(path, into, line.place)
        elif line.key == "define":
            self.found.defines.add(words[0])
            if len(words) > 1:
                self._values[words[0].lower()] = words[1]
        elif line.key == "undefine":
            self.found.defines.discard(words[0])
            self._values.pop(words[0].lower(), None)
        elif line.key == "serverroot" and os.path.isdir(words[0]):
            self.found.root = words[0]
        elif line.key == "loadmodule" and len(words) > 1:
            self.found.modules.setdefault(words[0], words[1])
            self._modules.update(_names_of_module(*words[:2]))

    def _condition(self, section: Section) -> bool | None:
        """Tell whether the lines of a section hold; None for one that is no such condition."""
        words = section.words or [""]
        is_wanted, word = not words[0].startswith("!"), words[0].removeprefix("!")
        if section.key == "ifdefine":
            return (word in self.found.defines) is is_wanted
        if section.key == "ifmodule":
            return (word in self._modules) is is_wanted
        if section.key == "iffile":
            return os.path.exists(os.path.join(self.found.root, word)) is is_wanted
        if section.key == "ifversion":
            return _is_version(word, *words[1:]) is is_wanted
        if section.key in ("ifdirective", "ifsection"):
            return is_wanted
        return None

    def _replaced(self, text: str) -> str:
        def value(found: re.Match[str]) -> str:
            name = found[1]
            own = self._values.get(name.lower())
            return self._environment.get(name, found[0]) if own is None else own

        return _VARIABLE.sub(value, text) if "${" in text else text


def _names_of_module(name: str, path: str) -> set[str]:
    """Return what ``<IfModule>`` may call a module that LoadModule loads.

    That is its name, and the file of its source: mod_alias.c, and prefork.c of mod_mpm_prefork.so.
    """
    short = name.removesuffix("_module")
    file = os.path.basename(path).partition(".")[0]
    if short.startswith("mpm_"):
        return {name, f"{short.removeprefix('mpm_')}.c"}
    return {name, f"mod_{short}.c", f"{file}.c"}


def _is_version(first: str, second: str = "", *_: str) -> bool:
    """Tell whether ``<IfVersion>`` holds: an operator and a version, or a version alone."""
    sign, version = (first, second) if second else ("=", first)
    pattern = re.fullmatch(r"/(.*)/", version)
    if sign == "~" or pattern:
        own = ".".join(map(str, _VERSION))
        return re.search(pattern[1] if pattern else version, own) is not None
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    return sign in _COMPARED and _COMPARED[sign](_VERSION, numbers + (0,) * (3 - len(numbers)))
