"""What is mod_python's in a configuration, replaced by what mod_wsgi and the runtime understand.

Every ``Python*`` directive becomes a variable of its name in the same section (``SetEnv``), or what
mod_wsgi has for it. Comments, other directives and their order stay as they are. What cannot be
carried over becomes a comment; where it may have kept somebody out, the section is closed, too.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from handlers.convert import scope
from handlers.convert.directives import (
    AFTER,
    AUTH,
    BEFORE,
    FILTERS,
    FLAGS,
    MODULES,
    NAMES,
    USES_OF_FILTERS,
)
from handlers.convert.gates import CLOSED, RUNTIME, Gates, in_one_list, option
from handlers.convert.scope import Place
from handlers.convert.scripts import Scripts, named
from handlers.convert.text import Line, Section, quote

MAIN = "main_interpreter"
_GLOBAL = "%{GLOBAL}"
_SERVER = "%{SERVER}"
_DENIED = "Require all denied"
_LIMITS = ("limit", "limitexcept", "requireall", "requireany", "requirenone")
_GROUP = "mod_python"
_BASE = "mod_python.wsgi.base_uri"
_YES_OR_NO = "before content that is not mod_python's it can only let a request pass or refuse it"
_CARRIED, _REFUSED, _DROPPED = "carried", "refused", "dropped"


@dataclass
class Entry:
    """One directive of mod_python's and what became of it."""

    place: str
    directive: str
    #: ``carried``; ``refused``: not carried over and closed; ``dropped``: not carried over.
    outcome: str
    note: str = ""


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
        return all(entry.outcome == _CARRIED for entry in self.entries)


@dataclass
class Load:
    """What loads mod_wsgi where nothing else does."""

    #: Its file.
    module: str
    #: The environment whose Python it is to run; empty for the Python that it was built for.
    python_home: str = ""
    #: The directory of Apache's own modules.
    modules: str = "modules"


def convert(
    trees: Iterable[Section], scripts: Scripts, load: Load, htaccess: str = ""
) -> Conversion:
    """Convert the files of one configuration, in their order; the trees are changed.

    :param scripts: takes the scripts that the result names.
    :param htaccess: the directory of the .htaccess file that the only tree is.
    """
    result = Conversion()
    trees = list(trees)
    _Rewriter(scope.build(joined(trees), htaccess), scripts, load, result).rewrite()
    result.texts = ["".join(tree.print()) for tree in trees]
    return result


def joined(trees: Iterable[Section]) -> Section:
    """Return one tree that holds those of several files of a configuration."""
    whole = Section("", "", 0, children=list(trees))
    for tree in whole.children:
        tree.parent = whole
    return whole


class _Rewriter:
    """One configuration on its way."""

    def __init__(self, root: Place, scripts: Scripts, load: Load, result: Conversion):
        self._root = root
        self._scripts = scripts
        self._module = load
        self._result = result
        self._places = list(root.all())
        self._by_section = {place.section: place for place in self._places}
        self._left_alone = _twins(root.section)
        #: Lines in place of a line, after it, at the start and at the end of a section.
        self._instead: dict[Line, list[str]] = {}
        self._before: dict[Line, list[str]] = {}
        self._after: dict[Line, list[str]] = {}
        self._at_start: dict[Section, list[str]] = {}
        self._at_end: dict[Section, list[str]] = {}
        #: Places that name handlers, and those with the places around them.
        self._handling = {place for place in self._places if any(map(_handles, self._lines(place)))}
        self._python = {near for place in self._handling for near in place.around}
        #: Names of filters of mod_python's, in lower case.
        self._filters = {
            (line.words[1:] or line.words)[0].lower()
            for line in self._walk()
            if line.key in FILTERS and line.words
        }

    def rewrite(self) -> None:
        """Change the tree, and tell the result."""
        concerned = [line for line in self._walk() if self._concerns(line)]
        if not concerned:
            return
        self._gates = Gates(self._places, self._scripts, self._lines, self._group)
        for place in self._places:
            reason = self._why_closed(place)
            if reason:
                self._gates.close(place, reason)
        for place in self._places:
            self._rewrite_place(place)
        for host in self._gates.hosts_to_guard:
            self._at_end.setdefault(host.section, []).extend(
                ['<Location "/">', f"    {self._gate_line(host)}", "</Location>"]
            )
        for line in concerned:
            if line.key == "ifmodule" and _is_of_module(line):
                condition = re.sub(r"mod_python\.c|python_module", "wsgi_module", _line(line))
                self._instead[line] = [condition]
        if self._root.kind == "server":
            self._load(concerned)
        self._apply(self._root.section)

    # what is there

    def _walk(self, section: Section | None = None) -> Iterator[Line]:
        for child in (section or self._root.section).children:
            if child in self._left_alone:
                continue
            yield child
            if isinstance(child, Section):
                yield from self._walk(child)

    def _lines(self, place: Place, *names: str) -> list[Line]:
        """Return a place's own lines of some names, but those of a section that is left alone."""
        if not self._left_alone:
            return place.lines(*names)
        return [
            line for line in place.lines(*names) if self._left_alone.isdisjoint(_ancestors(line))
        ]

    def _concerns(self, line: Line) -> bool:
        return (
            line.key in NAMES
            or _handles(line)
            or (line.key == "loadmodule" and line.words[:1] == ["python_module"])
            or (line.key == "ifmodule" and _is_of_module(line))
        )

    def _is_python(self, place: Place) -> bool:
        """Tell whether mod_python handles requests in a place, around it or in it."""
        return place in self._python or any(near in self._handling for near in place.around)

    def _nearest(self, place: Place, *names: str) -> str:
        """Return the first argument of a directive where it is nearest to a place."""
        outer = [
            other
            for other in self._places
            if other.host in place.around and scope.is_within(place, other)
        ]
        outer.sort(key=lambda other: -len(other.argument))
        inner = [near for near in place.around if not near.is_host]
        for near in (*inner, *outer, *(near for near in place.around if near.is_host)):
            for line in reversed(self._lines(near, *names)):
                if line.words:
                    return line.words[0]
        return ""

    def _group(self, place: Place) -> str:
        """Return mod_wsgi's name of the interpreter in which a place's handlers run."""
        name = self._nearest(place, "pythoninterpreter")
        if name:
            return _GLOBAL if name == MAIN else name
        if self._nearest(place, "pythoninterpperdirective").lower() == "on":
            return place.directory or _GLOBAL
        if place.host.kind == "virtualhost":
            return self._server_name(place.host) or _SERVER
        return _SERVER

    def _server_name(self, host: Place) -> str:
        lines = self._lines(host, "servername")
        name = lines[-1].words[0] if lines and lines[-1].words else ""
        return re.sub(r"^[a-z]+://|:\d+$", "", name)

    # edits

    def _carry(self, line: Line, *instead: str, note: str = "") -> None:
        self._instead[line] = list(instead)
        self._tell(line, _CARRIED, note)

    def _set(self, line: Line, name: str, value: str, *more: str) -> None:
        self._carry(line, f"SetEnv {quote(name)} {quote(value)}", *more)

    def _drop(self, line: Line, reason: str) -> None:
        self._instead[line] = [f"# not carried over from mod_python: {_line(line)}", f"# {reason}"]
        self._tell(line, _DROPPED, reason)

    def _close(self, place: Place, line: Line, reason: str) -> None:
        closing = [_DENIED, self._gate_line(place)]
        if place.is_host:
            closing = ['<Location "/">', *(f"    {text}" for text in closing), "</Location>"]
        for other in self._lines(place, "require", "satisfy"):
            # beside another Require this one would not count
            self._instead[other] = [f"# {_line(other)}"]
        said = [f"# not carried over from mod_python, so closed: {_line(line)}", f"# {reason}"]
        if any(around.key in _LIMITS for around in _ancestors(line)):
            # there it would hold for some methods only
            self._instead[line] = said
            self._at_end.setdefault(self._section(place), []).extend(closing)
        else:
            self._instead[line] = said + closing
        self._tell(line, _REFUSED, reason)

    @staticmethod
    def _section(place: Place) -> Section:
        """Return the section whose start and end are those of a place: of the server, its file."""
        return place.section if place.section.name else place.section.children[0]

    def _tell(self, line: Line, outcome: str, note: str = "") -> None:
        self._result.entries.append(Entry(line.place, _line(line), outcome, note))

    def _gate_line(self, place: Place, directive: str = "WSGIAccessScript") -> str:
        return named(directive, self._gates.script(place), self._group(place))

    # directives

    def _rewrite_place(self, place: Place) -> None:
        self._gated: set[Section] = set()
        self._said: list[Line] = []
        rewriters = {
            **dict.fromkeys(BEFORE, self._rewrite_before),
            **dict.fromkeys(AFTER, self._rewrite_list),
            **dict.fromkeys((*FLAGS, "pythonpath"), self._rewrite_value),
            **dict.fromkeys(FILTERS, self._rewrite_filter),
            **dict.fromkeys(USES_OF_FILTERS, self._rewrite_use_of_filter),
            "pythonhandlermodule": self._rewrite_before,
            "pythonhandler": self._rewrite_handler,
            "addhandler": self._rewrite_extensions,
            "pythonoption": self._rewrite_option,
            "pythonimport": self._rewrite_import,
            "pythonoptimize": self._rewrite_optimize,
            "pythoninterpreter": self._rewrite_interpreter,
            "pythoninterpperdirective": self._rewrite_per_directive,
            "pythoninterpperdirectory": self._rewrite_per_directory,
            "pythonconnectionhandler": self._rewrite_connection,
        }
        for line in self._lines(place):
            if line.key in rewriters:
                rewriters[line.key](place, line)
        self._rewrite_authentication(place)
        if place.kind == "virtualhost" and self._is_python(place):
            self._name_host(place)

    def _rewrite_list(self, place: Place, line: Line) -> None:
        """A list of handlers, which adds to that of a line before in the same section."""
        before = [said for said in self._said if said.key == line.key]
        if any(said.parent not in _ancestors(line) for said in before):
            self._not_added(place, line)
            return
        self._said.append(line)
        value = ""
        for said in (*before, line):
            value = in_one_list(value, said)
        name = NAMES[line.key]
        directory = place.directory
        self._set(
            line,
            name,
            value,
            *([f"SetEnv {name}.directory {quote(directory)}"] if directory else []),
        )

    def _rewrite_handler(self, place: Place, line: Line) -> None:
        self._rewrite_list(place, line)
        says = [other.words[:1] for other in self._lines(place, "pythonoption")]
        url = place.argument.rstrip("/")
        is_wsgi = "mod_python.wsgi" in line.arguments.partition("|")[0].split()
        if is_wsgi and place.kind == "location" and place.is_plain and url and [_BASE] not in says:
            self._instead[line].append(f"SetEnv PythonOption.{_BASE} {quote(url)}")

    def _rewrite_extensions(self, place: Place, line: Line) -> None:
        """AddHandler mod_python, whose extensions the publisher takes off a URL."""
        extensions = [word.lstrip(".") for word in line.words[1:]]
        text = f"SetEnv PythonOption.mod_python.addhandler_exts {quote(' '.join(extensions))}"
        if _handles(line) and text not in map(_line, self._lines(place, "setenv")):
            self._after.setdefault(line, []).append(text)

    def _not_added(self, place: Place, line: Line) -> None:
        reason = "it adds to a line that holds under a condition only: write one list for each case"
        if line.key == "pythonhandler" or line.key in AFTER:
            self._drop(line, reason)
        else:
            self._close(place, line, reason)

    def _rewrite_before(self, place: Place, line: Line) -> None:
        mode = self._gates.mode(place)
        if mode == RUNTIME:
            self._rewrite_list(place, line)
        elif mode == CLOSED:
            self._close(place, line, self._gates.reason[place])
        elif line.parent in self._gated:
            self._carry(line, f"# in the script above: {_line(line)}")
        else:
            self._gated.add(line.parent)
            gate = [self._gate_line(place)]
            if place.is_host:
                gate = ['<Location "/">', f"    {gate[0]}", "</Location>"]
            self._carry(line, f"# in a script: {_line(line)}", *gate, note=_YES_OR_NO)

    def _rewrite_value(self, place: Place, line: Line) -> None:
        self._set(line, NAMES[line.key], (line.words or [""])[0])

    def _rewrite_option(self, place: Place, line: Line) -> None:
        words = line.words
        if not words:
            self._drop(line, "it names no option")
            return
        variable, value = option(line, self._scripts)
        self._set(line, variable, value)
        if variable.startswith("PythonOptionFile."):
            self._result.notes.append(
                f"{line.place}: PythonOption {words[0]} lies in {value}: "
                "a variable would reach every CGI script of its section"
            )

    def _rewrite_import(self, place: Place, line: Line) -> None:
        words = line.words
        if len(words) != 2:
            self._drop(line, "it needs a module and the name of an interpreter")
            return
        paths = [near for near in place.around for near in self._lines(near, "pythonpath")]
        path = (paths[0].words or [""])[0] if paths else ""
        group = _GLOBAL if words[1] == MAIN else words[1]
        script = self._scripts.at_start(words[0], path)
        where = f" process-group={_GLOBAL}"
        self._carry(line, f"# {_line(line)}", named("WSGIImportScript", script, group, where))

    def _rewrite_optimize(self, place: Place, line: Line) -> None:
        if (line.words or [""])[0].lower() != "on":
            self._carry(line, f"# {_line(line)}")
        elif place.kind == "server":
            self._carry(line, "WSGIPythonOptimize 2")
        else:
            self._drop(
                line, "it is one setting of the whole server: write WSGIPythonOptimize 2 there"
            )

    def _rewrite_interpreter(self, place: Place, line: Line) -> None:
        if place.server.kind == "htaccess":
            reason = "WSGIApplicationGroup can't stand in .htaccess: write it into a <Directory>"
            self._drop(line, reason)
            return
        name = (line.words or [MAIN])[0]
        self._carry(line, f"WSGIApplicationGroup {_GLOBAL if name == MAIN else quote(name)}")

    def _rewrite_per_directive(self, place: Place, line: Line) -> None:
        if place.server.kind == "htaccess":
            self._drop(line, "WSGIApplicationGroup can't stand in .htaccess")
            return
        self._carry(line, f"# {_line(line)}")
        if (line.words or [""])[0].lower() != "on":
            return
        for inner in place.all():
            if self._lines(inner, *AFTER, *BEFORE, *AUTH) and not self._nearest(
                inner, "pythoninterpreter"
            ):
                name = self._group(inner)
                self._at_start.setdefault(inner.section, []).append(
                    f"WSGIApplicationGroup {quote(name) if name != _GLOBAL else name}"
                )

    def _rewrite_per_directory(self, place: Place, line: Line) -> None:
        if place.server.kind == "htaccess":
            self._drop(line, "WSGIDispatchScript can't stand in .htaccess")
        elif (line.words or [""])[0].lower() == "on":
            script = named("WSGIDispatchScript", self._scripts.per_directory(), self._group(place))
            self._carry(line, f"# {_line(line)}", script)
        else:
            self._carry(line, f"# {_line(line)}")

    def _rewrite_connection(self, place: Place, line: Line) -> None:
        self._close(place, line, self._gates.reason[place])

    def _rewrite_filter(self, place: Place, line: Line) -> None:
        words = line.words
        if not words:
            self._drop(line, "it names no handler")
            return
        name = (words[1:] or words)[0].lower()
        more = [f"SetEnv {NAMES[line.key]}.directory {quote(place.directory)}"]
        self._set(line, f"{NAMES[line.key]}.{name}", words[0], *(more if place.directory else []))
        if not place.is_served():
            self._result.notes.append(
                f"{line.place}: the filter {name} works on what mod_python's handler answers, "
                "and on nothing else"
            )

    def _rewrite_use_of_filter(self, place: Place, line: Line) -> None:
        """SetOutputFilter and its kin, if they name a filter of mod_python's."""
        words = line.words
        names = words[0].split(";") if words else []
        ours = [name.lower() for name in names if name.lower() in self._filters]
        if not ours:
            return
        others = [name for name in names if name.lower() not in self._filters]
        extensions = words[1:]
        value = " ".join(ours)
        if extensions:
            value = " ; ".join(f"{name} {' '.join(extensions)}" for name in ours)
        rest = (
            [f"{line.name} {' '.join([';'.join(others), *map(quote, extensions)])}"]
            if others
            else []
        )
        said = [text for text in self._said if text.key == line.key]
        if said:
            before = self._instead[said[-1]][-1].split(" ", 2)[2].strip('"')
            value = f"{before} ; {value}"
        self._said.append(line)
        self._instead[line] = [*rest, f"SetEnv {USES_OF_FILTERS[line.key]} {quote(value)}"]
        self._tell(line, _CARRIED)

    # authentication

    def _rewrite_authentication(self, place: Place) -> None:
        if self._is_python(place):
            for line in self._lines(place, "authtype", "authname"):
                name = "auth_type" if line.key == "authtype" else "auth_name"
                value = (line.words or [""])[0]
                text = f"SetEnv PythonOption.mod_python.{name} {quote(value)}"
                if text not in map(_line, self._lines(place, "setenv")):
                    self._after[line] = [text]
        lines = self._lines(place, *AUTH)
        requires = self._lines(place, "require")
        if self._gates.mode(place) == CLOSED:
            for line in lines:
                self._close(place, line, self._gates.reason[place])
        elif lines and self._nearest(place, "authtype").lower() == "basic":
            self._ask_script(place, lines, requires)
        elif lines:
            for line in requires:
                self._instead[line] = [f"# asked by the phases of mod_python: {_line(line)}"]
            for line in lines:
                self._rewrite_list(place, line)

    def _why_closed(self, place: Place) -> str:
        """Return why a place's users can't be asked for as mod_python does, empty if they can."""
        if self._lines(place, "pythonconnectionhandler"):
            return "mod_wsgi sees requests of HTTP only, and no connections"
        lines = self._lines(place, *AUTH)
        if not lines:
            return ""
        kind = self._nearest(place, "authtype").lower()
        requires = self._lines(place, "require")
        others = [
            line for line in requires if [word.lower() for word in line.words] != ["valid-user"]
        ]
        decides = any(line.key == "pythonauthzhandler" for line in lines)
        if others and (decides or kind != "basic"):
            return "it would have to stand above the other Require lines of this section"
        if kind == "basic":
            if decides and not requires:
                return "it needs a line Require valid-user in the same section"
            file = self._nearest(place, "authuserfile")
            if file not in ("", "/dev/null") and not (
                self._asks_file_first(place) or self._is_python_first()
            ):
                return f"Apache asks {file} alone, unless AuthBasicAuthoritative is Off"
            return ""
        if place.is_served():
            return ""
        return f"mod_wsgi can ask for a user with AuthType Basic only, not {kind or 'without one'}"

    def _ask_script(self, place: Place, lines: list[Line], requires: list[Line]) -> None:
        """Let Apache's Basic authentication ask the script."""
        at_start = []
        for line in lines:
            if line.key == "pythonauthenhandler":
                directive = "WSGIAuthUserScript"
                providers = ["wsgi"]
                if self._nearest(place, "authuserfile") and not self._lines(
                    place, "authbasicprovider"
                ):
                    providers.insert(0 if self._asks_file_first(place) else 1, "file")
                at_start = [f"AuthBasicProvider {' '.join(providers)}"]
            else:
                directive = "WSGIAuthGroupScript"
            text = [self._gate_line(place, directive)]
            if place.is_host:
                text = [
                    '<Location "/">',
                    *(f"    {one}" for one in (*at_start, *text)),
                    "</Location>",
                ]
            self._carry(line, f"# in a script: {_line(line)}", *text)
            if line.key == "pythonauthzhandler":
                for require in requires:
                    self._instead[require] = [f"# {_line(require)}", f"Require wsgi-group {_GROUP}"]
        if at_start and not place.is_host:
            where = self._at_end if self._asks_file_first(place) else self._at_start
            where.setdefault(self._section(place), []).extend(at_start)

    def _asks_file_first(self, place: Place) -> bool:
        return self._nearest(place, "authbasicauthoritative").lower() == "off"

    def _is_python_first(self) -> bool:
        """Tell whether mod_python is loaded before mod_auth_basic, so that Apache asks it first."""
        loaded = [line.words[0] for line in self._walk() if line.key == "loadmodule" and line.words]
        found = [name for name in loaded if name in ("python_module", "auth_basic_module")]
        return found[:1] == ["python_module"] and len(found) > 1

    # the server

    def _name_host(self, host: Place) -> None:
        """Give a virtual host the interpreter of its name, as mod_python does."""
        if self._lines(host, "pythoninterpreter", "wsgiapplicationgroup"):
            return
        lines = self._lines(host, "servername")
        name = self._server_name(host)
        if name:
            self._after.setdefault(lines[-1], []).append(f"WSGIApplicationGroup {quote(name)}")

    def _load(self, concerned: list[Line]) -> None:
        if any(
            line.key == "wsgihandlerscript" and line.words[:1] == ["mod_python"]
            for line in self._walk()
        ):
            return
        entry = self._scripts.entry()
        load = [
            "# mod_wsgi in place of mod_python, by modpython-handlers convert",
            "<IfModule !wsgi_module>",
            f"    LoadModule wsgi_module {quote(self._module.module)}",
            *(
                [f"    WSGIPythonHome {quote(self._module.python_home)}"]
                * bool(self._module.python_home)
            ),
            "</IfModule>",
        ]
        loads = [line for line in concerned if line.key == "loadmodule"]
        modules = self._module.modules
        if loads:
            found = loads[0].words[1:2]
            if found and found[0].endswith("mod_python.so") and "/" in found[0]:
                modules = found[0].rpartition("/")[0]
        for name in ("env", "auth_basic") if self._needs_auth() else ("env",):
            load += [
                f"<IfModule !{name}_module>",
                f"    LoadModule {name}_module {quote(f'{modules}/mod_{name}.so')}",
                "</IfModule>",
            ]
        load += [
            named(f"WSGIHandlerScript {name}", entry, options=" pass-authorization=On")
            for name in scope.HANDLERS
        ]
        load.append(f"WSGIApplicationGroup {_SERVER}")
        load.append("SetEnv PythonOption.mod_python.session.store_empty on")
        for line in loads:
            self._carry(line, f"# {_line(line)}")
        at = loads[0] if loads else concerned[0]
        while at.parent is not None and (
            not loads or (at.parent.key == "ifmodule" and _is_of_module(at.parent))
        ):
            if at.parent.parent is None or at.parent.parent.parent is None:
                break
            at = at.parent
        if loads and at is loads[0]:
            self._instead[at] = load
        else:
            self._before[at] = load

    def _needs_auth(self) -> bool:
        return any("AuthBasicProvider wsgi" in lines for lines in self._at_start.values()) or any(
            "AuthBasicProvider wsgi" in text for lines in self._instead.values() for text in lines
        )

    def _apply(self, section: Section) -> None:
        """Put the lines where they belong, with the indent and the ends of lines of their place."""
        children: list[Line] = []
        for child in section.children:
            if isinstance(child, Section):
                if child in self._instead:
                    child.raw = _printed(self._instead[child], child)
                self._apply(child)
            children += _as_lines(self._before.get(child, []), child)
            if child in self._instead and not isinstance(child, Section):
                children += _as_lines(self._instead[child], child, is_last=child)
            else:
                children.append(child)
            children += _as_lines(self._after.get(child, []), child)
        inner = next((child for child in section.children if child.raw.strip()), None)
        indent = inner.indent if inner is not None else ""
        end = section.end or "\n"
        children = [
            *(Line(indent + text + end, "", 0) for text in self._at_start.get(section, [])),
            *children,
            *(Line(indent + text + end, "", 0) for text in self._at_end.get(section, [])),
        ]
        for line in children[:-1]:
            # a text need not end in a line feed
            last = (line.closing or line) if isinstance(line, Section) else line
            if not last.end:
                last.raw += "\n"
            if last.raw.removesuffix("\n").removesuffix("\r").endswith("\\"):
                # nor is its last line a whole one
                last.raw += "\n"
        section.children = children


def _as_lines(texts: list[str], like: Line, is_last: Line | None = None) -> list[Line]:
    end = like.end or "\n"
    lines = [Line(like.indent + text + end, "", 0) for text in texts]
    if lines and is_last is not None and not like.end:
        lines[-1].raw = lines[-1].raw.removesuffix(end)
    return lines


def _printed(texts: list[str], like: Line) -> str:
    return "".join(line.raw for line in _as_lines(texts, like, is_last=like))


def _line(line: Line) -> str:
    """Return a directive on one line."""
    if isinstance(line, Section):
        return f"<{line.name} {line.arguments}>"
    return f"{line.name} {line.arguments}".rstrip()


def _ancestors(line: Line) -> list[Section]:
    found = []
    at = line.parent
    while at is not None:
        found.append(at)
        at = at.parent
    return found


def _handles(line: Line) -> bool:
    if line.key in ("sethandler", "addhandler"):
        return line.words[:1] != [] and line.words[0] in scope.HANDLERS
    return line.key in NAMES and line.key.endswith(("handler", "handlermodule", "filter"))


def _is_of_module(line: Line) -> bool:
    return line.arguments.strip("\"' ").removeprefix("!").strip() in MODULES


def _twins(section: Section) -> set[Section]:
    """Return the sections of a configuration that is made for both servers already.

    Where ``<IfModule !mod_python.c>`` holds what mod_wsgi needs, it and its counterparts stay.
    """
    conditions = [
        line
        for line in section.walk()
        if isinstance(line, Section) and line.key == "ifmodule" and _is_of_module(line)
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
