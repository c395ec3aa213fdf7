"""Where the phases before the content handler run, for every place of a configuration.

``runtime``: mod_python's handler answers every request of the place, so the runtime runs them with
the content handler, as exactly as it can. ``script``: Apache or another module answers some of
them, so a script runs them before, and can only say yes or no. ``files``: Apache answers all with
files, and there are phases that may change that, so the runtime sends the files. ``closed``:
nothing can run them, and all requests are refused.
"""

import re

from handlers.configuration.text import Line
from handlers.convert.directives import AUTH, BEFORE, FLAGS, HANDLER_MODULE, NAMES
from handlers.convert.scope import Place, is_within
from handlers.convert.scripts import Scripts

RUNTIME, SCRIPT, FILES, CLOSED = "runtime", "script", "files", "closed"
#: What ``SetHandler`` says where the runtime answers with files.
FILES_HANDLER = "python-phases"
_CHANGING = ("pythontranshandler", "pythontypehandler", "pythonfixuphandler")
#: What a layer holds whose phases can't run: every request that it is for is refused.
REFUSED = "refused"
#: What it holds whose access handlers check passwords, too.
ASKING = "asking"
_SECRET = re.compile(
    r"pass(wor[dt]|wd|phrase)?$|pwd|secret|credential|token|(^|[._-])(api_?)?key$", re.IGNORECASE
)
_URL_WITH_PASSWORD = re.compile(r"://[^/\s:@]*:[^/\s@]+@")
_IN_HTACCESS = (
    "in .htaccess it can't run before content of others: move it into the <Directory> section of "
    "the server's configuration"
)


class Gates:
    """The decision for each place of *places*, and the scripts that follow from it.

    :param lines: returns a place's own directives of some names.
    :param group: returns the name of the interpreter of a place.
    """

    def __init__(self, places: list[Place], scripts: Scripts, lines, group):
        self._places = places
        self._scripts = scripts
        self._lines = lines
        self._group = group
        #: Mode and, where closed, the reason.
        self._mode: dict[Place, str] = {}
        self.reason: dict[Place, str] = {}
        #: Places whose access handlers get a password that the client was asked for.
        self.asking: set[Place] = set()
        for place in places:
            if lines(place, *BEFORE, HANDLER_MODULE):
                self._decide(place)
        self._close_what_hides_another()

    def mode(self, place: Place) -> str:
        """Return ``runtime``, ``files``, ``script`` or ``closed``."""
        return self._mode.get(place, RUNTIME)

    def close(self, place: Place, reason: str) -> None:
        """Refuse all requests of a place."""
        self._mode[place], self.reason[place] = CLOSED, reason

    def script(self, place: Place) -> str:
        """Return the path of the script for a place."""
        return self._scripts.gate(self._layers(place), place.mapping() or [])

    @property
    def hosts_to_guard(self) -> list[Place]:
        """Virtual hosts whose own script must come last, after one of the server's sections."""
        gated = [place for place, mode in self._mode.items() if mode in (SCRIPT, CLOSED)]
        server = {place.host for place in gated if place.host.kind == "server"}
        return list({place.host: None for place in gated if server and place.host not in server})

    def _decide(self, place: Place) -> None:
        if place.is_served():
            self._mode[place] = RUNTIME
        elif self._lines(place, *_CHANGING) and place.has_only_files():
            self._mode[place] = FILES
        elif place.server.kind == "htaccess":
            self.close(place, _IN_HTACCESS)
        else:
            self._mode[place] = SCRIPT

    def _close_what_hides_another(self) -> None:
        """Close a place whose script could not tell which requests another one is for.

        Apache runs one script only, that of the section that it merges last. So this one must run
        the phases of the others, for requests that they are for.
        """
        for place in list(self._mode):
            others = [
                other
                for other, mode in self._mode.items()
                if other is not place
                and mode in (SCRIPT, CLOSED)
                and (other.host in place.around or place.host in other.around)
                and not (other.is_plain and place.is_plain and other.kind == place.kind)
                and other not in place.around
            ]
            vague = [
                other
                for other in others
                if other.conditions() is None
                or (
                    any(kind not in ("location", "locationmatch") for kind, _ in other.conditions())
                    and place.mapping() is None
                )
            ]
            if self._mode[place] == SCRIPT and vague:
                self.close(
                    place,
                    f"with {vague[0].section.place} beside it, which of the two a request is for "
                    "can't be told: write both into one section",
                )

    def _layers(self, own: Place) -> list[dict]:
        """Return the layers of a place's script, in the order in which Apache merges sections."""
        found = []
        for number, place in enumerate(self._places):
            if place.host not in (own.host, own.server):
                continue
            settings = self.settings(place)
            conditions = place.conditions()
            if place in own.around or is_within(own, place):
                # Apache has seen to it
                conditions = []
            if not settings or conditions is None:
                continue
            layer = {"where": conditions, "set": settings}
            if place.directory:
                layer["directory"] = place.directory
            found.append((place.rank, number, layer))
        return [layer for *_, layer in sorted(found, key=lambda item: item[:2])]

    def settings(self, place: Place) -> dict[str, str]:
        """Return the variables of a place that phases in a script see."""
        found: dict[str, str] = {}
        mode = self.mode(place)
        for line in self._lines(place, *NAMES):
            name, words = NAMES[line.key], line.words
            if line.key == "pythonoption" and words:
                name, value = option(line, self._scripts)
                found[name] = value
            elif line.key in FLAGS or line.key == "pythonpath":
                found[name] = (words or [""])[0]
            elif line.key in (*BEFORE, HANDLER_MODULE) and mode != SCRIPT:
                # what is said further out does not hold here
                found[name] = ""
            elif line.key in (*BEFORE, *AUTH, HANDLER_MODULE):
                found[name] = in_one_list(found.get(name, ""), line)
        if mode == CLOSED:
            found[REFUSED] = "1"
        if place in self.asking:
            found[ASKING] = "1"
        return found


def option(line: Line, scripts: Scripts) -> tuple[str, str]:
    """Return the variable that stands for a line PythonOption, and its value.

    What looks like a secret becomes the name of a file that holds it.
    """
    name, value = line.words[0], (line.words[1:] or [""])[0]
    is_secret = _SECRET.search(name) or _URL_WITH_PASSWORD.search(value)
    if not (value and is_secret) or "${" in value:
        return f"PythonOption.{name}", value
    return f"PythonOptionFile.{name}", scripts.secret(name, value)


def in_one_list(before: str, line: Line) -> str:
    """Return the text of handlers *before* and those of one more line of the section."""
    if not before:
        return line.arguments
    # those of one extension are a list of their own
    between = " ; " if "|" in before or "|" in line.arguments else " "
    return f"{before}{between}{line.arguments}"
