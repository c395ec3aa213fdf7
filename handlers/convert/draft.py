"""One configuration on its way: what it says, the lines that are to change, and what is told.

The rules of the conversion (:mod:`handlers.convert.rewrite`, :mod:`handlers.convert.users`) look at
a :class:`Draft` and change it. Its text changes when they are done.
"""

from dataclasses import dataclass, field

from handlers.configuration.text import Line, Section, quote
from handlers.convert.directives import NAMES
from handlers.convert.edits import Edits, ancestors, one_line
from handlers.convert.gates import Gates, in_one_list
from handlers.convert.scope import Place
from handlers.convert.scripts import Scripts, named
from handlers.convert.view import View

_DENIED = "Require all denied"
_LIMITS = ("limit", "limitexcept", "requireall", "requireany", "requirenone")
#: Why a line of handlers is not added to those before it.
CONDITION = "it adds to a line that holds under a condition only: write one list for each case"
CARRIED, REFUSED, DROPPED = "carried", "refused", "dropped"


@dataclass
class Entry:
    """One directive of mod_python's and what became of it."""

    place: str
    directive: str
    #: ``carried``; ``refused``: not carried over and closed; ``dropped``: not carried over.
    outcome: str
    note: str = ""
    #: The option of the command that carries it over.
    option: str = ""


@dataclass
class Conversion:
    """Converted texts, in the order of the files, and what is to be said of them."""

    texts: list[str] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    #: Sentences for the admin about what was carried over.
    notes: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether everything was carried over."""
        return all(entry.outcome == CARRIED for entry in self.entries)


class Draft:
    """A configuration that is being rewritten.

    :ivar view: what it says.
    :ivar edits: the lines that are to change.
    :ivar gates: what runs the phases of each place.
    :ivar scripts: the scripts that the result names.
    :ivar result: what is told of it.
    :ivar said: lines of the present place that are carried over as lists, in order.
    """

    def __init__(self, root: Place, scripts: Scripts, result: Conversion):
        self.view = View(root)
        self.edits = Edits()
        self.gates = Gates(self.view.places, scripts, self.view.lines, self.view.group)
        self.scripts = scripts
        self.result = result
        self.said: list[Line] = []

    def carry(self, line: Line, *instead: str, note: str = "") -> None:
        """Put other lines in the place of one, whose meaning they carry over."""
        self.edits.instead[line] = list(instead)
        self.tell(line, CARRIED, note)

    def set(self, line: Line, name: str, value: str, *more: str) -> None:
        """Carry a line over as a variable, and *more* lines."""
        self.carry(line, f"SetEnv {quote(name)} {quote(value)}", *more)

    def drop(self, line: Line, reason: str) -> None:
        """Make a line, which keeps nobody out, a comment that says why it is not carried over."""
        self.edits.instead[line] = [
            f"# not carried over from mod_python: {one_line(line)}",
            f"# {reason}",
        ]
        self.tell(line, DROPPED, reason)

    def close(self, place: Place, line: Line, reason: str) -> None:
        """Refuse all requests of a place, since one of its lines cannot be carried over."""
        closing = [_DENIED, self.gate_line(place)]
        if place.is_host:
            closing = ['<Location "/">', *(f"    {text}" for text in closing), "</Location>"]
        for other in self.view.lines(place, "require", "satisfy"):
            # beside another Require this one would not count
            self.edits.instead[other] = [f"# {one_line(other)}"]
        said = [f"# not carried over from mod_python, so closed: {one_line(line)}", f"# {reason}"]
        if any(around.key in _LIMITS for around in ancestors(line)):
            # there it would hold for some methods only
            self.edits.instead[line] = said
            self.edits.at_end.setdefault(self.section_of(place), []).extend(closing)
        else:
            self.edits.instead[line] = said + closing
        self.tell(line, REFUSED, reason)

    @staticmethod
    def section_of(place: Place) -> Section:
        """Return the section whose start and end are those of a place: of the server, its file."""
        return place.section if place.section.name else place.section.children[0]

    def tell(self, line: Line, outcome: str, note: str = "") -> None:
        """Note what became of a line."""
        self.result.entries.append(Entry(line.place, one_line(line), outcome, note))

    def gate_line(self, place: Place, directive: str = "WSGIAccessScript") -> str:
        """Return the line that has mod_wsgi ask the script of a place."""
        return named(directive, self.gates.script(place), self.view.group(place))

    def add_to_list(self, place: Place, line: Line) -> None:
        """Carry a line over whose handlers add to those of the lines before it in its section."""
        before = [said for said in self.said if said.key == line.key]
        if any(said.parent not in ancestors(line) for said in before):
            self.drop(line, CONDITION)
            return
        self.said.append(line)
        value = ""
        for said in (*before, line):
            value = in_one_list(value, said)
        name = NAMES[line.key]
        directory = [f"SetEnv {name}.directory {quote(place.directory)}"] if place.directory else []
        self.set(line, name, value, *directory)
