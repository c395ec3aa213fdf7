"""What a configuration says: its lines by place, and what holds nearest to a place."""

import re
from collections.abc import Iterator

from handlers.configuration.text import Line, Section
from handlers.convert import scope
from handlers.convert.directives import FILTERS, MODULES, NAMES
from handlers.convert.edits import ancestors
from handlers.convert.scope import Place

MAIN = "main_interpreter"
GLOBAL = "%{GLOBAL}"
SERVER = "%{SERVER}"


class View:
    """A configuration, without the sections that must be left alone."""

    def __init__(self, root: Place):
        self.root = root
        self.places = list(root.all())
        self._left_alone = _twins(root.section)
        #: Places that name handlers, and those with the places around them.
        self._handling = {place for place in self.places if any(map(handles, self.lines(place)))}
        self._python = {near for place in self._handling for near in place.around}
        #: Names of filters of mod_python's, in lower case.
        self.filters = {
            (line.words[1:] or line.words)[0].lower()
            for line in self.walk()
            if line.key in FILTERS and line.words
        }

    def walk(self, section: Section | None = None) -> Iterator[Line]:
        """Yield every line, sections included, in order."""
        for child in (section or self.root.section).children:
            if child in self._left_alone:
                continue
            yield child
            if isinstance(child, Section):
                yield from self.walk(child)

    def lines(self, place: Place, *names: str) -> list[Line]:
        """Return a place's own lines of some names, but those of a section that is left alone."""
        if not self._left_alone:
            return place.lines(*names)
        return [
            line for line in place.lines(*names) if self._left_alone.isdisjoint(ancestors(line))
        ]

    def concerns(self, line: Line) -> bool:
        """Tell whether a line is mod_python's, or says what only mod_python does."""
        return (
            line.key in NAMES
            or handles(line)
            or (line.key == "loadmodule" and line.words[:1] == ["python_module"])
            or (line.key == "ifmodule" and is_of_module(line))
        )

    def is_python(self, place: Place) -> bool:
        """Tell whether mod_python handles requests in a place, around it or in it."""
        return place in self._python or any(near in self._handling for near in place.around)

    def is_near_python(self, place: Place) -> bool:
        """Tell whether a request of a place may be one that mod_python handles."""
        return self.is_python(place) or any(
            (other.host in place.around or place.host in other.around)
            and not scope.is_apart(place, other)
            for other in self._handling
        )

    def nearest(self, place: Place, *names: str) -> str:
        """Return the first argument of a directive where it is nearest to a place."""
        outer = [
            other
            for other in self.places
            if other.host in place.around and scope.is_within(place, other)
        ]
        outer.sort(key=lambda other: -len(other.argument))
        inner = [near for near in place.around if not near.is_host]
        for near in (*inner, *outer, *(near for near in place.around if near.is_host)):
            for line in reversed(self.lines(near, *names)):
                if line.words:
                    return line.words[0]
        return ""

    def group(self, place: Place) -> str:
        """Return mod_wsgi's name of the interpreter in which a place's handlers run."""
        name = self.nearest(place, "pythoninterpreter")
        if name:
            return GLOBAL if name == MAIN else name
        if self.nearest(place, "pythoninterpperdirective").lower() == "on":
            return place.directory or GLOBAL
        if place.host.kind == "virtualhost":
            return self.server_name(place.host) or SERVER
        return SERVER

    def server_name(self, host: Place) -> str:
        """Return the name of a virtual host, empty if it has none."""
        lines = self.lines(host, "servername")
        name = lines[-1].words[0] if lines and lines[-1].words else ""
        return re.sub(r"^[a-z]+://|:\d+$", "", name)


def handles(line: Line) -> bool:
    """Tell whether a line makes mod_python do something with requests."""
    if line.key in ("sethandler", "addhandler"):
        return line.words[:1] != [] and line.words[0] in scope.HANDLERS
    return line.key in NAMES and line.key.endswith(("handler", "handlermodule", "filter"))


def is_of_module(line: Line) -> bool:
    """Tell whether ``<IfModule>`` asks for mod_python, or for its absence."""
    return line.arguments.strip("\"' ").removeprefix("!").strip() in MODULES


def _twins(section: Section) -> set[Section]:
    """Return the sections of a configuration that is made for both servers already.

    Where ``<IfModule !mod_python.c>`` holds what mod_wsgi needs, it and its counterparts stay.
    """
    conditions = [
        line
        for line in section.walk()
        if isinstance(line, Section) and line.key == "ifmodule" and is_of_module(line)
    ]
    without = [
        inner
        for condition in conditions
        if "!" in condition.arguments
        for inner in condition.walk()
    ]
    is_made_for_both = any(
        inner.key.startswith("wsgi")
        or (inner.key == "setenv" and inner.arguments.lower().startswith("python"))
        for inner in without
    )
    if is_made_for_both and not any(inner.key in NAMES for inner in without):
        return set(conditions)
    return set()
