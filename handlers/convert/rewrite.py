"""Replaces the directives of mod_python by those that mod_wsgi and the runtime understand.

Every ``Python*`` directive becomes a variable of its name in the same section (``SetEnv``), or what
mod_wsgi has for it. Comments, other directives and their order stay as they are. What cannot be
carried over becomes a comment; where it may have kept somebody out, the section is closed, too.
"""

import re
from collections.abc import Iterable

from handlers.configuration.text import Line, Section, quote
from handlers.convert import error_documents, scope, users
from handlers.convert.directives import (
    AFTER,
    AUTH,
    BEFORE,
    FILTERS,
    FLAGS,
    HANDLER_MODULE,
    NAMES,
    USES_OF_FILTERS,
)
from handlers.convert.draft import CARRIED, Conversion, Draft
from handlers.convert.edits import one_line
from handlers.convert.gates import (
    CLOSED,
    FILES,
    FILES_HANDLER,
    RUNTIME,
    SCRIPT,
    option,
)
from handlers.convert.loading import REQUEST_REC, Load
from handlers.convert.scope import Place
from handlers.convert.scripts import Scripts, named
from handlers.convert.view import GLOBAL, MAIN, SERVER, handles, is_of_module
from handlers.runtime import options

_BASE = "mod_python.wsgi.base_uri"
_YES_OR_NO = "before content that is not mod_python's it can only let a request pass or refuse it"


def convert(
    trees: Iterable[Section], scripts: Scripts, load: Load, htaccess: str = ""
) -> Conversion:
    """Convert the files of one configuration, in their order; the trees are changed.

    :param scripts: takes the scripts that the result names.
    :param htaccess: the directory of the .htaccess file that the only tree is.
    """
    result = Conversion()
    trees = list(trees)
    _Rewriter(Draft(scope.build(joined(trees), htaccess), scripts, result), load).rewrite()
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

    def __init__(self, draft: Draft, load: Load):
        self._draft = draft
        self._view, self._edits, self._gates = draft.view, draft.edits, draft.gates
        self._scripts, self._notes = draft.scripts, draft.result.notes
        self._module = load

    def rewrite(self) -> None:
        """Change the tree, and tell the result."""
        concerned = [line for line in self._view.walk() if self._view.concerns(line)]
        if not concerned:
            return
        for place in self._view.places:
            reason = users.why_closed(self._view, place, self._module.request_rec)
            if reason:
                self._gates.close(place, reason)
            elif self._gates.mode(place) == SCRIPT and users.may_ask(self._view, place):
                self._gates.asking.add(place)
        for place in self._view.places:
            self._rewrite_place(place)
        for host in self._gates.hosts_to_guard:
            self._edits.at_end.setdefault(host.section, []).extend(
                ['<Location "/">', f"    {self._draft.gate_line(host)}", "</Location>"]
            )
        for line in concerned:
            if line.key == "ifmodule" and is_of_module(line):
                condition = re.sub(r"mod_python\.c|python_module", "wsgi_module", one_line(line))
                self._edits.instead[line] = [condition]
        if self._view.root.kind == "server":
            self._load(concerned)
        self._edits.apply(self._view.root.section)

    # directives

    def _rewrite_place(self, place: Place) -> None:
        self._gated: set[Section | Place] = set()
        self._draft.said = []
        rewriters = {
            **dict.fromkeys(BEFORE, self._rewrite_before),
            **dict.fromkeys(AFTER, self._draft.add_to_list),
            **dict.fromkeys((*FLAGS, "pythonpath"), self._rewrite_value),
            **dict.fromkeys(FILTERS, self._rewrite_filter),
            **dict.fromkeys(USES_OF_FILTERS, self._rewrite_use_of_filter),
            HANDLER_MODULE: self._rewrite_before,
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
        for line in self._view.lines(place):
            if line.key in rewriters:
                rewriters[line.key](place, line)
        users.rewrite(self._draft, place)
        self._leave_slash(place)
        if self._view.is_near_python(place):
            self._tell_error_documents(place)
        if place.kind == "virtualhost" and self._view.is_python(place):
            self._name_host(place)

    def _tell_error_documents(self, place: Place) -> None:
        told = {line.words[0] for line in self._view.lines(place, "setenv") if line.words}
        for line in self._view.lines(place, "errordocument"):
            if f"{options.ERROR_PREFIX}{(line.words or [''])[0]}" in told:
                continue
            if error_documents.is_expression(line):
                self._notes.append(
                    f"{line.place}: {one_line(line)}: not for statuses that handlers return, since "
                    "only Apache can work it out"
                )
            else:
                lines = error_documents.variables(self._view, place, line)
                self._edits.after.setdefault(line, []).extend(lines)

    def _leave_slash(self, place: Place) -> None:
        """Let phases of the runtime come before mod_dir's redirect to a directory, as they did."""
        phases = self._view.lines(place, *BEFORE, HANDLER_MODULE)
        if (
            phases
            and place.kind in ("directory", "location", "htaccess")
            and self._gates.mode(place) == RUNTIME
            and self._view.nearest(place, "directoryslash").lower() in ("", "on")
        ):
            self._edits.instead[phases[0]] += [
                "<IfModule dir_module>",
                "    DirectorySlash Off",
                f"    SetEnv {options.SLASH} On",
                "</IfModule>",
            ]

    def _rewrite_handler(self, place: Place, line: Line) -> None:
        self._draft.add_to_list(place, line)
        says = [other.words[:1] for other in self._view.lines(place, "pythonoption")]
        url = place.argument.rstrip("/")
        is_wsgi = "mod_python.wsgi" in line.arguments.partition("|")[0].split()
        if is_wsgi and place.kind == "location" and place.is_plain and url and [_BASE] not in says:
            self._edits.instead[line].append(f"SetEnv PythonOption.{_BASE} {quote(url)}")
        if place.kind == "location" and place.is_plain and url:
            self._edits.instead[line].append(f"SetEnv {options.LOCATION} {quote(url)}")

    def _rewrite_extensions(self, place: Place, line: Line) -> None:
        """Tell the publisher the extensions of AddHandler, which it takes off a URL."""
        extensions = [word.lstrip(".") for word in line.words[1:]]
        text = f"SetEnv PythonOption.mod_python.addhandler_exts {quote(' '.join(extensions))}"
        if handles(line) and text not in map(one_line, self._view.lines(place, "setenv")):
            self._edits.after.setdefault(line, []).append(text)

    def _rewrite_before(self, place: Place, line: Line) -> None:
        mode = self._gates.mode(place)
        if mode == RUNTIME:
            self._draft.add_to_list(place, line)
        elif mode == FILES:
            self._draft.add_to_list(place, line)
            if place not in self._gated:
                self._gated.add(place)
                self._edits.instead[line].insert(0, f"SetHandler {FILES_HANDLER}")
                self._notes.append(
                    f"{line.place}: the runtime sends the files of this section, without listings "
                    "of directories"
                )
        elif mode == CLOSED:
            self._draft.close(place, line, self._gates.reason[place])
        elif line.parent in self._gated:
            self._draft.carry(line, f"# in the script above: {one_line(line)}")
        else:
            self._gated.add(line.parent)
            gate = [self._draft.gate_line(place)]
            if place in self._gates.asking:
                # a client that the handlers refuse is asked for a password, and they once more
                gate += ["Satisfy Any", "Require valid-user", users.providers(self._view, place)]
                gate.append(self._draft.gate_line(place, "WSGIAuthUserScript"))
            if place.is_host:
                gate = ['<Location "/">', f"    {gate[0]}", "</Location>"]
            self._draft.carry(line, f"# in a script: {one_line(line)}", *gate, note=_YES_OR_NO)

    def _rewrite_value(self, place: Place, line: Line) -> None:
        name, value = NAMES[line.key], (line.words or [""])[0]
        self._draft.set(line, name, value, *self._of_server(place, name, value))

    def _of_server(self, place: Place, name: str, value: str) -> list[str]:
        """Return what tells handlers a value of the server itself, if a section sets others."""
        if not place.is_host or not any(
            self._view.lines(inner, "pythonoption", "pythonpath", *FLAGS)
            for inner in self._view.places
            if not inner.is_host and place in inner.around
        ):
            return []
        return [f"SetEnv {quote(f'PythonServer.{name}')} {quote(value)}"]

    def _rewrite_option(self, place: Place, line: Line) -> None:
        words = line.words
        if not words:
            self._draft.drop(line, "it names no option")
            return
        variable, value = option(line, self._scripts)
        self._draft.set(line, variable, value, *self._of_server(place, variable, value))
        if variable.startswith("PythonOptionFile."):
            self._notes.append(
                f"{line.place}: PythonOption {words[0]} lies in {value}: "
                "a variable would reach every CGI script of its section"
            )

    def _rewrite_import(self, place: Place, line: Line) -> None:
        words = line.words
        if len(words) != 2:
            self._draft.drop(line, "it needs a module and the name of an interpreter")
            return
        paths = [near for near in place.around for near in self._view.lines(near, "pythonpath")]
        path = (paths[0].words or [""])[0] if paths else ""
        group = GLOBAL if words[1] == MAIN else words[1]
        script = self._scripts.at_start(words[0], path)
        where = f" process-group={GLOBAL}"
        self._draft.carry(
            line, f"# {one_line(line)}", named("WSGIImportScript", script, group, where)
        )

    def _rewrite_optimize(self, place: Place, line: Line) -> None:
        if (line.words or [""])[0].lower() != "on":
            self._draft.carry(line, f"# {one_line(line)}")
        elif place.kind == "server":
            self._draft.carry(line, "WSGIPythonOptimize 2")
        else:
            self._draft.drop(
                line, "it is one setting of the whole server: write WSGIPythonOptimize 2 there"
            )

    def _rewrite_interpreter(self, place: Place, line: Line) -> None:
        if place.server.kind == "htaccess":
            reason = "WSGIApplicationGroup can't stand in .htaccess: write it into a <Directory>"
            self._draft.drop(line, reason)
            return
        name = (line.words or [MAIN])[0]
        self._draft.carry(line, f"WSGIApplicationGroup {GLOBAL if name == MAIN else quote(name)}")

    def _rewrite_per_directive(self, place: Place, line: Line) -> None:
        if place.server.kind == "htaccess":
            self._draft.drop(line, "WSGIApplicationGroup can't stand in .htaccess")
            return
        self._draft.carry(line, f"# {one_line(line)}")
        if (line.words or [""])[0].lower() != "on":
            return
        for inner in place.all():
            if self._view.lines(inner, *AFTER, *BEFORE, *AUTH) and not self._view.nearest(
                inner, "pythoninterpreter"
            ):
                name = self._view.group(inner)
                self._edits.at_start.setdefault(inner.section, []).append(
                    f"WSGIApplicationGroup {quote(name) if name != GLOBAL else name}"
                )

    def _rewrite_per_directory(self, place: Place, line: Line) -> None:
        if place.server.kind == "htaccess":
            self._draft.drop(line, "WSGIDispatchScript can't stand in .htaccess")
        elif (line.words or [""])[0].lower() == "on":
            script = named(
                "WSGIDispatchScript", self._scripts.per_directory(), self._view.group(place)
            )
            self._draft.carry(line, f"# {one_line(line)}", script)
        else:
            self._draft.carry(line, f"# {one_line(line)}")

    def _rewrite_connection(self, place: Place, line: Line) -> None:
        if not self._module.request_rec:
            self._draft.close(place, line, self._gates.reason[place])
            self._draft.result.entries[-1].option = REQUEST_REC
            return
        script = self._scripts.connections(self._connections())
        lines = [
            f"# in a script: {one_line(line)}",
            '<Location "/">',
            f"    {named('WSGIAccessScript', script, GLOBAL)}",
            "</Location>",
        ]
        if not self._edits.has("WSGIImportScript " + quote(script)):
            where = f" process-group={GLOBAL}"
            lines.insert(1, named("WSGIImportScript", script, GLOBAL, where))
        self._draft.carry(line, *lines)
        self._draft.result.entries[-1].option = REQUEST_REC

    def _connections(self) -> list[dict]:
        """Return the places whose connections handlers answer, the server's own last."""
        found = []
        for place in self._view.places:
            lines = self._view.lines(place, "pythonconnectionhandler")
            if not lines:
                continue
            settings = {}
            for near in (place.server, place):
                settings |= self._gates.settings(near)
            settings["PythonConnectionHandler"] = " ".join(line.arguments for line in lines)
            is_server = place.kind == "server"
            addresses = [] if is_server else place.section.words
            found.append((is_server, {"addresses": addresses, "set": settings}))
        return [each for _, each in sorted(found, key=lambda pair: pair[0])]

    def _rewrite_filter(self, place: Place, line: Line) -> None:
        words = line.words
        if not words:
            self._draft.drop(line, "it names no handler")
            return
        name = (words[1:] or words)[0].lower()
        more = [f"SetEnv {NAMES[line.key]}.directory {quote(place.directory)}"]
        self._draft.set(
            line, f"{NAMES[line.key]}.{name}", words[0], *(more if place.directory else [])
        )
        if not place.is_served():
            self._notes.append(
                f"{line.place}: the filter {name} works on what mod_python's handler answers, "
                "and on nothing else"
            )

    def _rewrite_use_of_filter(self, place: Place, line: Line) -> None:
        """Rewrite a line like SetOutputFilter, if it names a filter of mod_python's."""
        words = line.words
        names = words[0].split(";") if words else []
        ours = [name.lower() for name in names if name.lower() in self._view.filters]
        if not ours:
            return
        others = [name for name in names if name.lower() not in self._view.filters]
        extensions = words[1:]
        value = " ".join(ours)
        if extensions:
            value = " ; ".join(f"{name} {' '.join(extensions)}" for name in ours)
        rest = (
            [f"{line.name} {' '.join([';'.join(others), *map(quote, extensions)])}"]
            if others
            else []
        )
        said = [text for text in self._draft.said if text.key == line.key]
        if said:
            before = self._edits.instead[said[-1]][-1].split(" ", 2)[2].strip('"')
            value = f"{before} ; {value}"
        self._draft.said.append(line)
        self._edits.instead[line] = [*rest, f"SetEnv {USES_OF_FILTERS[line.key]} {quote(value)}"]
        self._draft.tell(line, CARRIED)

    # the server

    def _name_host(self, host: Place) -> None:
        """Give a virtual host the interpreter of its name, as mod_python does."""
        if self._view.lines(host, "pythoninterpreter", "wsgiapplicationgroup"):
            return
        lines = self._view.lines(host, "servername")
        name = self._view.server_name(host)
        if name:
            self._edits.after.setdefault(lines[-1], []).append(
                f"WSGIApplicationGroup {quote(name)}"
            )

    def _load(self, concerned: list[Line]) -> None:
        if any(
            line.key == "wsgihandlerscript" and line.words[:1] == ["mod_python"]
            for line in self._view.walk()
        ):
            return
        loads = [line for line in concerned if line.key == "loadmodule"]
        words = {"auth_basic": "AuthBasicProvider", "authz_user": "Require valid-user"}
        words["access_compat"] = "Satisfy"
        needed = [name for name, word in words.items() if self._edits.has(word)]
        load = self._module.lines(loads, ["env", *needed])
        entry = self._scripts.entry()
        load += [
            named(f"WSGIHandlerScript {name}", entry, options=" pass-authorization=On")
            for name in (
                *scope.HANDLERS,
                *([FILES_HANDLER] if self._edits.has(f"SetHandler {FILES_HANDLER}") else []),
            )
        ]
        load.append(f"WSGIApplicationGroup {SERVER}")
        if self._module.request_rec:
            load += ["WSGIPassApacheRequest On", "SetEnv PythonOption.mod_python.request_rec on"]
        for line in loads:
            self._draft.carry(line, f"# {one_line(line)}")
        at = loads[0] if loads else concerned[0]
        while at.parent is not None and (
            not loads or (at.parent.key == "ifmodule" and is_of_module(at.parent))
        ):
            if at.parent.parent is None or at.parent.parent.parent is None:
                break
            at = at.parent
        if loads and at is loads[0]:
            self._edits.instead[at] = load
        else:
            self._edits.before[at] = load
