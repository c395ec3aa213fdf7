"""The running httpd's own configuration: its command line, and the files that it was started with.

Only :func:`config_tree`, :func:`server_root`, :func:`exists_config_define`, :func:`mpm_query` and
members of ``req.server`` need it; nothing that a request is answered with does. The files are read
at the first call in a process, with the rights of Apache's user.
"""

import fnmatch
import functools
import glob
import os
import re
from typing import NamedTuple

from . import constants

_PLACES = (
    ("/etc/apache2", "apache2.conf"),
    ("/etc/httpd", "conf/httpd.conf"),
    ("/usr/local/apache2", "conf/httpd.conf"),
)
# httpd has done these when it has read them, so they are in no tree
_DONE_WHEN_READ = frozenset(
    (
        "loadmodule",
        "loadfile",
        "include",
        "includeoptional",
        "define",
        "undefine",
        "serverroot",
        "defaultruntimedir",
    )
)
# compiled into every httpd, or into that of Debian
_BUILT_IN = frozenset(
    f"{name}.c"
    for name in ("core", "mod_so", "http_core", "mod_unixd", "mod_log_config", "mod_version")
)
_VARIABLE = re.compile(r"\$\{([^}:]+)\}")
_SECTION = re.compile(r"<(/?)([A-Za-z]+)\s*(.*?)\s*>?\Z", re.DOTALL)
_ADDRESS = re.compile(r"(\[[^]]*\]|[^:]*):?(.+)?")
_DEEPEST = 64  # included files in included files


class Unreadable(OSError):
    """Raised when a file of the configuration cannot be read."""


class Host(NamedTuple):
    """A virtual host, or the server outside of all of them.

    :ivar file: the file that begins it, empty for the server; ``line`` is the line there.
    :ivar addresses: those of ``<VirtualHost>``.
    :ivar tree: its directives, as :func:`config_tree` returns them.
    """

    file: str
    line: int
    addresses: tuple[str, ...]
    tree: list

    def words(self, *names: str) -> list[list[str]]:
        """Return the arguments of each directive of these names, in lower case, in order."""
        return [
            split(directive[1])
            for directive in self.tree
            if isinstance(directive, tuple) and directive[0].lower() in names
        ]

    def answers_to(self, name: str) -> bool:
        """Return whether ServerName or ServerAlias is *name*."""
        own = [words[0].rpartition("//")[2] for words in self.words("servername") if words]
        if own and own[-1].partition(":")[0].lower() == name.lower():
            return True
        aliases = [alias for words in self.words("serveralias") for alias in words]
        return any(fnmatch.fnmatch(name.lower(), alias.lower()) for alias in aliases)


class Httpd(NamedTuple):
    """What is known of the httpd that this process belongs to.

    :ivar root: ServerRoot.
    :ivar defines: names of ``-D`` and Define.
    :ivar main: what is outside of all virtual hosts; its tree is the whole one.
    :ivar hosts: the virtual hosts.
    """

    root: str
    defines: frozenset[str]
    main: Host
    hosts: list[Host]

    @property
    def tree(self) -> list:
        """The directives, as :func:`config_tree` returns them."""
        return self.main.tree


def server_root() -> str:
    """Return ServerRoot, or the ``-d`` of the command line.

    :raises Unreadable: if the configuration cannot be read.
    """
    return _httpd().root


def exists_config_define(name: str) -> bool:
    """Return whether *name* was given to httpd with ``-D``, or by a ``Define`` in its files.

    :raises Unreadable: if the configuration cannot be read.
    """
    if not isinstance(name, str):
        raise TypeError(f"argument 1 must be str, not {type(name).__name__}")
    return name in _httpd().defines


def config_tree() -> list:
    """Return the directives of httpd's files: (name, arguments) for each.

    What a section holds is a list behind it. As in mod_python, the tree has what httpd keeps:
    Include, IfModule and their like are replaced by what they hold. Files named ``.htaccess`` are
    not in it.

    :raises Unreadable: if a file cannot be read.
    """
    return _copied(_httpd().tree)


def main_host() -> Host:
    """Return the server outside of all virtual hosts.

    :raises Unreadable: if a file cannot be read.
    """
    return _httpd().main


def virtual_hosts(ip: str, port: str) -> list[Host]:
    """Return the virtual hosts for an address of this machine, in Apache's order.

    The first one is that of a connection; for a name that none has it answers, too.

    :raises Unreadable: if a file cannot be read.
    """
    exact, wild = [], []
    for host in _httpd().hosts:
        for address in host.addresses:
            its, its_port = _ADDRESS.match(address).groups("*")
            if its_port not in ("*", port):
                continue
            if its.strip("[]") == ip:
                exact.append(host)
            elif its in ("*", "_default_"):
                wild.append(host)
    return exact or wild


def mpm_query(code: int) -> int:
    """Return what the server says to one of ``AP_MPMQ_*``: numbers of processes and threads.

    :raises ValueError: for another number.
    """
    processes, threads = _numbers()
    dynamic = not _process_group()
    answers = {
        constants.AP_MPMQ_MAX_DAEMON_USED: processes,
        constants.AP_MPMQ_IS_THREADED: int(threads > 1),
        constants.AP_MPMQ_IS_FORKED: (
            constants.AP_MPMQ_DYNAMIC if dynamic else constants.AP_MPMQ_STATIC
        ),
        constants.AP_MPMQ_HARD_LIMIT_THREADS: threads,
        constants.AP_MPMQ_MAX_THREADS: threads,
        constants.AP_MPMQ_MAX_DAEMONS: processes,
    }
    if code in answers:
        return answers[code]
    directives = {
        constants.AP_MPMQ_HARD_LIMIT_DAEMONS: (("serverlimit",), 256),
        constants.AP_MPMQ_MIN_SPARE_DAEMONS: (("minspareservers",), 5),
        constants.AP_MPMQ_MAX_SPARE_DAEMONS: (("maxspareservers",), 10),
        constants.AP_MPMQ_MIN_SPARE_THREADS: (("minsparethreads",), 0),
        constants.AP_MPMQ_MAX_SPARE_THREADS: (("maxsparethreads",), 0),
        constants.AP_MPMQ_MAX_REQUESTS_DAEMON: (
            ("maxconnectionsperchild", "maxrequestsperchild"),
            0,
        ),
    }
    if code not in directives:
        raise ValueError(f"no AP_MPMQ_ constant is {code!r}")
    names, value = directives[code]
    for directive in _httpd().tree:
        if isinstance(directive, tuple) and directive[0].lower() in names:
            value = int(directive[1])
    return value


def split(arguments: str) -> list[str]:
    """Return the words of a directive, without their quotes."""
    return [word.strip("\"'") for word in re.findall(r'"[^"]*"|\S+', arguments)]


def _numbers() -> tuple[int, int]:
    try:
        import mod_wsgi

        return mod_wsgi.maximum_processes, mod_wsgi.threads_per_process
    except (ImportError, AttributeError):
        # no server
        return 1, 1


def _process_group() -> str:
    try:
        import mod_wsgi

        return mod_wsgi.process_group
    except (ImportError, AttributeError):
        return ""


def _command_line() -> list[str]:
    for process in ("self", os.getppid()):
        with open(f"/proc/{process}/cmdline", encoding="utf-8", errors="surrogateescape") as file:
            words = file.read().split("\0")
        # a daemon process may have a name of its own instead
        if not words[0].startswith("(wsgi"):
            break
    return words


@functools.cache
def _httpd() -> Httpd:
    return read(_command_line())


def read(words: list[str]) -> Httpd:
    """Read the files of the httpd whose command line is *words*.

    :raises Unreadable: if one cannot be read.
    """
    options: dict[str, list[str]] = {"-d": [], "-f": [], "-D": []}
    for place, word in enumerate(words):
        if word[:2] in options:
            value = word[2:] or (words[place + 1] if place + 1 < len(words) else "")
            options[word[:2]].append(value)
    places = [place for place in _PLACES if os.path.isdir(place[0])] or _PLACES[-1:]
    root, name = (options["-d"] or [places[0][0]])[-1], (options["-f"] or [places[0][1]])[-1]
    reader = _Reader(root, set(options["-D"]))
    tree: list = []
    reader.read(os.path.join(root, name), tree, 0)
    return Httpd(reader.root, frozenset(reader.defines), Host("", 0, (), tree), reader.hosts)


class _Reader:
    def __init__(self, root, defines):
        self.root = root
        self.defines = defines
        self._values = {}
        self._modules = set(_BUILT_IN)
        self.hosts: list[Host] = []

    def read(self, path, tree, depth):
        if depth > _DEEPEST:
            raise Unreadable(f"{path}: included by itself")
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                text = file.read()
        except OSError as error:
            raise Unreadable(f"{path}: {error.strerror}") from error
        # for each open section its list, or None where it is left out
        stack = [tree]
        number = 1
        for line in text.replace("\\\n", "\0").split("\n"):
            place = path, number
            number += 1 + line.count("\0")
            line = line.replace("\0", "").strip()
            if not line or line.startswith("#"):
                continue
            section = _SECTION.match(line)
            if section is None:
                if stack[-1] is not None:
                    self._directive(line, stack[-1], depth)
            elif section[1]:
                if len(stack) > 1:
                    stack.pop()
            elif stack[-1] is None:
                stack.append(None)
            else:
                stack.append(self._opened(section, line, stack[-1], place))

    def _opened(self, section, line, tree, place):
        name, arguments = section[2].lower(), self._replaced(section[3])
        condition = self._condition(name, arguments.strip("\"'"))
        if condition is not None:
            return tree if condition else None
        opening, _, rest = line.partition(" ")
        tree.append((opening, self._replaced(rest.strip())))
        tree.append([])
        if name == "virtualhost":
            self.hosts.append(Host(*place, tuple(split(arguments)), tree[-1]))
        return tree[-1]

    def _condition(self, name, argument):
        wanted = not argument.startswith("!")
        argument = argument.removeprefix("!")
        if name == "ifdefine":
            return (argument in self.defines) is wanted
        if name == "ifmodule":
            return (argument in self._modules) is wanted
        if name == "iffile":
            return os.path.exists(os.path.join(self.root, argument)) is wanted
        return None

    def _directive(self, line, tree, depth):
        name, _, arguments = line.partition(" ")
        arguments = self._replaced(arguments.strip())
        lowered = name.lower()
        if lowered not in _DONE_WHEN_READ:
            tree.append((name, arguments))
            return
        words = split(arguments)
        if not words:
            return
        if lowered == "serverroot":
            self.root = words[0]
        elif lowered == "define":
            self.defines.add(words[0])
            if len(words) > 1:
                self._values[words[0]] = words[1]
        elif lowered == "undefine":
            self.defines.discard(words[0])
            self._values.pop(words[0], None)
        elif lowered == "loadmodule":
            file = os.path.basename(words[-1]).partition(".")[0]
            # mod_mpm_prefork.so is prefork.c
            self._modules |= {words[0], f"{file.removeprefix('mod_mpm_')}.c"}
        elif lowered.startswith("include"):
            self._include(os.path.join(self.root, words[0]), tree, depth)

    def _include(self, pattern, tree, depth):
        for path in sorted(glob.glob(pattern)):
            if os.path.isdir(path):
                self._include(os.path.join(path, "*"), tree, depth)
            else:
                self.read(path, tree, depth + 1)

    def _replaced(self, text):
        return _VARIABLE.sub(
            lambda found: self._values.get(found[1], os.environ.get(found[1], found[0])), text
        )


def _copied(tree):
    return [_copied(part) if isinstance(part, list) else part for part in tree]
