"""Which requests a section of the configuration is about, and whose handler answers them.

Apache makes one set of options for the server, for each virtual host and for each section that
names directories, files or URLs (https://httpd.apache.org/docs/2.4/sections.html). Here that is a
:class:`Place`. Sections that only ask whether something is there, such as ``<IfModule>``, are no
places of their own.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from handlers.configuration.text import Line, Section
from handlers.convert.directives import MODULES

#: What ``SetHandler`` may say for mod_python.
HANDLERS = ("mod_python", "python-program")
#: Sections that are places, and no virtual hosts.
_PLACES = (
    *("directory", "directorymatch", "location", "locationmatch", "files", "filesmatch"),
    *("if", "elseif", "else", "proxy", "proxymatch"),
)
_OF_URLS = ("location", "locationmatch")
_WILD = re.compile(r"[*?\[]")
# directives of other modules that answer the requests of the URL or the place that they name
_OTHERS_OF_URL = (
    *("proxypass", "proxypassmatch", "jkmount", "scriptalias", "scriptaliasmatch"),
    *("wsgiscriptalias", "wsgiscriptaliasmatch", "fastcgiexternalserver"),
)
_OTHERS_HERE = ("action", "dav", "sethandler", "addhandler", "rewriterule", "removehandler")
_ALIASES = ("alias", "scriptalias")
# what leads URLs to files in ways that only Apache knows
_MAPPERS = (
    *("aliasmatch", "scriptaliasmatch", "rewriterule", "userdir", "virtualdocumentroot"),
    *("virtualdocumentrootip", "virtualscriptalias", "virtualscriptaliasip"),
)
# in which order Apache merges what is for a request
_STAGES = ("server", "directory", "files", "location")
# of directories, patterns are merged behind any path
_DEEPEST = 1 << 16
_OFF = ("off", "none", "default-handler")


@dataclass(eq=False)
class Place:
    """One set of options: the server's, a virtual host's, a section's or a .htaccess file's."""

    section: Section
    #: ``server``, ``htaccess``, ``virtualhost``, or the section's name in lower case.
    kind: str
    #: The place around it.
    parent: "Place | None" = None
    children: list["Place"] = field(default_factory=list)
    #: The directory of a .htaccess file.
    htaccess: str = ""

    @property
    def host(self) -> "Place":
        """The server, virtual host or .htaccess file that it belongs to."""
        return self if self.parent is None or self.kind == "virtualhost" else self.parent.host

    @property
    def server(self) -> "Place":
        """What is outside of all places."""
        return self if self.parent is None else self.parent.server

    @property
    def is_host(self) -> bool:
        """Whether it stands for all requests of its server or virtual host."""
        return self.kind in ("server", "virtualhost")

    @property
    def around(self) -> Iterator["Place"]:
        """Itself and the places around it, innermost first."""
        place = self
        while place is not None:
            yield place
            place = place.parent

    def all(self) -> Iterator["Place"]:
        """Itself and the places in it, in the order of the text."""
        yield self
        for child in self.children:
            yield from child.all()

    def lines(self, *names: str) -> list[Line]:
        """Return its own directives, those of *names* if there are any, in order."""
        return [
            line
            for line in _own_lines(self.section)
            if line.name and (not names or line.key in names)
        ]

    @property
    def argument(self) -> str:
        """The path, URL or pattern that it is for."""
        words = self.section.words
        return words[-1] if words else ""

    @property
    def is_regex(self) -> bool:
        """Whether that is a regular expression."""
        return self.kind.endswith("match") or self.section.words[:1] == ["~"]

    @property
    def is_plain(self) -> bool:
        """Whether it is a directory or URL as it is, without patterns."""
        return (
            self.kind in ("directory", "location")
            and not self.is_regex
            and not _WILD.search(self.argument)
            and "${" not in self.argument
        )

    @property
    def directory(self) -> str:
        """The directory that mod_python finds a handler's module in, of a handler named here.

        Empty where it has none, as in a ``<Location>``.
        """
        for place in self.around:
            if place.kind in ("directory", "htaccess"):
                path = place.htaccess or (place.argument if place.is_plain else "")
                return path.rstrip("/") + "/" if path.startswith("/") else ""
            if place.kind not in ("files", "filesmatch"):
                break
        return ""

    @property
    def rank(self) -> tuple[int, int, bool]:
        """What Apache's order of merging goes by, before the order of the text.

        Of a kind, what the server says comes before what a virtual host says, wherever it stands.
        Patterns of files and URLs take turns with plain ones, those of directories come later.
        """
        in_host = self.host.kind == "virtualhost"
        places = [place for place in self.around if not place.is_host and place.parent]
        if not places:
            return _STAGES.index("server"), 0, in_host
        outer = places[-1]
        is_regex = outer.is_regex and outer.kind.startswith("directory")
        depth = _DEEPEST if is_regex else outer.argument.rstrip("/").count("/")
        kinds = {place.kind.removesuffix("match") for place in places}
        # <Files> in <Directory> is merged with the files
        found = max(_STAGES.index(kind) if kind in _STAGES else len(_STAGES) for kind in kinds)
        is_directory = outer.kind.startswith("directory")
        return found, 1 + depth if is_directory else 0, in_host

    def conditions(self) -> list[list[str]] | None:
        """Return what a request must match, as ``handlers.runtime.front`` tests it.

        :return: a list of [kind, pattern]; None for what cannot be told from a request.
        """
        found = []
        for place in self.around:
            if place.kind in ("server", "virtualhost"):
                break
            if place.kind.startswith(("if", "else", "proxy", "htaccess")):
                return None
            kind = place.kind.removesuffix("match")
            if "${" in place.argument:
                return None
            if place.is_regex:
                try:
                    re.compile(place.argument)
                except re.error:
                    return None
                kind += "match"
            found.insert(0, [kind, place.argument])
        return found

    def has_only_files(self) -> bool:
        """Tell whether Apache surely answers every request that this place is for with a file.

        That takes the whole configuration: with its ServerRoot, and without an Include.
        """
        lines = [line for place in self.server.all() for line in place.lines()]
        if not any(line.key == "serverroot" for line in lines) or any(
            line.key in ("include", "includeoptional", "removehandler")
            or (line.key == "addtype" and line.arguments.startswith("application/x-httpd"))
            for line in lines
        ):
            return False
        return self.handler() is None and not any(
            line.key in ("addhandler", "sethandler") or _may_overlap(self, place, line)
            for host in {self.server, self.host}
            for place in _of_host(host, self)
            if not is_apart(self, place)
            for line in place.lines(*_OTHERS_OF_URL, *_OTHERS_HERE)
        )

    def mapping(self) -> list[list[str]] | None:
        """Return [URL, path] of every Alias that holds here, in Apache's order.

        :return: None if other directives lead URLs to files, too, so that this does not tell.
        """
        found = []
        for host in dict.fromkeys((self.host, self.server)):
            for place in host.all():
                if place.host is not host:
                    continue
                if place.lines(*_MAPPERS) or (not place.is_host and place.lines(*_ALIASES)):
                    return None
            for line in host.lines(*_ALIASES):
                words = line.words
                if len(words) != 2 or "${" in line.arguments or is_conditional(line, host):
                    return None
                found.append(words)
        return found

    def handler(self) -> str | None:
        """Return what ``SetHandler`` says here or around here, None if nothing does."""
        around = list(self.around)
        outer = sorted(
            (place for place in self.server.all() if place is not self and is_within(self, place)),
            key=lambda place: -len(place.argument),
        )
        chain = [place for place in around if not place.is_host]
        chain += [place for place in outer if place.host in around]
        chain += [place for place in around if place.is_host]
        for place in chain:
            lines = place.lines("sethandler")
            if any(is_conditional(line, place) for line in lines):
                return None
            if lines:
                return (lines[-1].words or [""])[0]
        return None

    def is_served(self) -> bool:
        """Tell whether mod_python's handler surely answers every request that this place is for."""
        if self.handler() not in HANDLERS:
            return False
        return not any(
            _may_overlap(self, place, line)
            for host in {self.server, self.host}
            for place in _of_host(host, self)
            for line in place.lines(*_OTHERS_OF_URL, *_OTHERS_HERE)
        )


def build(tree: Section, htaccess: str = "") -> Place:
    """Return the places of a configuration.

    :param htaccess: the directory of the .htaccess file that it is, empty for the server's.
    """
    root = Place(tree, "htaccess" if htaccess else "server", htaccess=htaccess)
    _fill(root, tree)
    return root


def is_within(inner: Place, outer: Place) -> bool:
    """Tell whether plain directory or URL *inner* lies in *outer*, or is the same."""
    if not (inner.is_plain and outer.is_plain and inner.kind == outer.kind):
        return False
    return f"{inner.argument.rstrip('/')}/".startswith(f"{outer.argument.rstrip('/')}/")


def _fill(place: Place, section: Section) -> None:
    for child in section.children:
        if not isinstance(child, Section):
            continue
        if child.key == "virtualhost" or child.key in _PLACES:
            inner = Place(child, child.key, place)
            place.children.append(inner)
            _fill(inner, child)
        else:
            _fill(place, child)


def _own_lines(section: Section) -> Iterator[Line]:
    for child in section.children:
        if not isinstance(child, Section):
            yield child
        elif child.key != "virtualhost" and child.key not in _PLACES:
            yield from _own_lines(child)


def is_conditional(line: Line, place: Place) -> bool:
    """Tell whether a line of a place stands in a section that asks whether something is there."""
    at = line.parent
    while at is not place.section:
        wanted = at.arguments.strip('"').removeprefix("!")
        # a nameless one is a file
        if at.name and not (at.key == "ifmodule" and wanted in MODULES):
            return True
        at = at.parent
    return False


def _of_host(host: Place, asking: Place) -> Iterator[Place]:
    """Yield the places of a host, of the server those that are in no other virtual host."""
    everything = asking.is_host and asking.kind == "server"
    for place in host.all():
        if everything or place.host in (host, asking.host):
            yield place


def _may_overlap(asking: Place, place: Place, line: Line) -> bool:
    """Tell whether *line*, in *place*, may give requests of *asking* to another handler."""
    words = line.words
    first = words[0].lower() if words else ""
    if line.key == "sethandler" and (words[:1] or [""])[0] in HANDLERS:
        return False
    if line.key in ("addhandler", "removehandler"):
        # SetHandler stands above them
        return False
    if line.key == "sethandler" and (place in asking.around or is_within(asking, place)):
        # what is said further in counts
        return False
    if line.key == "dav" and first in _OFF:
        return False
    if line.key == "rewriterule":
        flags = words[2].strip("[]").lower().split(",") if len(words) > 2 else []
        if not any(flag in ("p", "proxy") or flag.startswith(("h=", "handler=")) for flag in flags):
            return False
    if asking.kind in ("directory", "files") and place.is_host:
        # what is sent elsewhere belongs to no directory
        if line.key in ("rewriterule", "proxypass", "proxypassmatch", "jkmount"):
            return False
        if line.key in _OTHERS_OF_URL and len(words) > 1 and asking.is_plain:
            return "$" in words[-1] or _overlaps(words[-1], asking.argument)
    if asking.kind == "location" and line.key in _OTHERS_OF_URL and len(words) > 1:
        return (
            line.key.endswith("match")
            or not asking.is_plain
            or _overlaps(words[0], asking.argument)
        )
    return not is_apart(asking, place)


def is_apart(one: Place, other: Place) -> bool:
    """Tell whether no request is for both of two places."""
    plain = one.is_plain and other.is_plain and one.kind == other.kind
    return plain and not is_within(one, other) and not is_within(other, one)


def _overlaps(one: str, other: str) -> bool:
    one, other = f"{one.rstrip('/')}/", f"{other.rstrip('/')}/"
    return one.startswith(other) or other.startswith(one)


def htaccess_directory(path: str) -> str:
    """Return the directory whose .htaccess file *path* is, empty if its name is another."""
    if os.path.basename(path).startswith(".ht"):
        return os.path.dirname(os.path.abspath(path))
    return ""
