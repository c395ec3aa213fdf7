"""The running httpd's own configuration: its command line, and the files that it was started with.

Only :func:`config_tree`, :func:`server_root`, :func:`exists_config_define`, :func:`mpm_query` and
members of ``req.server`` need it, and the runtime answers requests without it. The files are read
at the first call in a process, with the rights of Apache's user.
"""

import fnmatch
import functools
import os
import re
from typing import NamedTuple

from handlers.configuration import effective
from handlers.configuration.text import Malformed, Section, split

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
_ADDRESS = re.compile(r"(\[[^]]*\]|[^:]*):?(.+)?")


class Unreadable(OSError):
    """Raised when a file of the configuration cannot be read, or Apache would refuse it."""


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
    try:
        found = effective.read(os.path.join(root, name), root, options["-D"])
    except OSError as error:
        raise Unreadable(f"{error.filename}: {error.strerror}") from error
    except Malformed as error:
        raise Unreadable(str(error)) from error
    hosts: list[Host] = []
    tree = _listed(found.tree, hosts)
    return Httpd(found.root, frozenset(found.defines), Host("", 0, (), tree), hosts)


def _listed(section: Section, hosts: list[Host]) -> list:
    """Return the directives of a section as mod_python lists them; add virtual hosts to *hosts*."""
    tree: list = []
    for line in section.children:
        if isinstance(line, Section):
            inner = _listed(line, hosts)
            ends = (f"<{line.name}", f"{line.arguments}>")
            tree += [ends if line.arguments else ("".join(ends), ""), inner]
            if line.key == "virtualhost":
                hosts.append(Host(line.file, line.number, tuple(line.words), inner))
        elif line.key not in _DONE_WHEN_READ:
            tree.append((line.name, line.arguments))
    return tree


def _copied(tree):
    return [_copied(part) if isinstance(part, list) else part for part in tree]
