"""Users of a place: whether mod_wsgi can ask for them as mod_python does, in which order, and how.

Apache's Basic authentication asks a script that runs the handlers, or the runtime asks them itself.
"""

from handlers.configuration.text import Line, quote
from handlers.convert.directives import AUTH, BEFORE, HANDLER_MODULE
from handlers.convert.draft import CONDITION, Draft
from handlers.convert.edits import ancestors, one_line
from handlers.convert.gates import CLOSED
from handlers.convert.loading import REQUEST_REC
from handlers.convert.scope import Place, is_apart
from handlers.convert.view import View

#: Directives that let somebody in or keep somebody out.
_RULES = ("require", "satisfy", "allow", "deny", "order", "authmerging")
_GROUP = "mod_python"


def why_closed(view: View, place: Place, request_rec: bool) -> str:
    """Return why nothing here can do what a place's phases do, empty if something can.

    Phases before other content are another matter, see :mod:`handlers.convert.gates`.

    :param request_rec: whether handlers read Apache's own structures.
    """
    if view.lines(place, "pythonconnectionhandler") and not request_rec:
        return f"mod_wsgi sees requests of HTTP only, no connections: convert with {REQUEST_REC}"
    if any(_adds_to_a_condition(view, place, name) for name in (*BEFORE, *AUTH)):
        return CONDITION
    lines = view.lines(place, *AUTH)
    kind = view.nearest(place, "authtype").lower()
    requires = view.lines(place, "require")
    others = [line for line in requires if not _is(line, "valid-user")]
    if not lines:
        return _why_module_is_closed(view, place, kind, others)
    decides = any(line.key == "pythonauthzhandler" for line in lines) or asks_module(view, place)
    if others and (decides or kind != "basic"):
        return "it would have to stand above the other Require lines of this section"
    if kind != "basic":
        if place.is_served():
            return ""
        return f"mod_wsgi can ask for a user with AuthType Basic only, not {kind or 'without one'}"
    if decides and not requires:
        return "it needs a line Require valid-user in the same section"
    if _asks_python(view, place):
        return ""
    file = view.nearest(place, "authuserfile")
    return f"Apache asks {file} alone, unless AuthBasicAuthoritative is Off"


def _why_module_is_closed(view: View, place: Place, kind: str, others: list[Line]) -> str:
    """Return why the users that a module's handlers may check can't be asked for."""
    if not view.lines(place, HANDLER_MODULE) or not kind or not _asks_for_user(view, place):
        return ""
    if kind != "basic" or (others and asks_module(view, place)):
        return (
            "whether the module checks users can't be told: name its phases one by one, "
            "PythonAccessHandler and so on"
        )
    return ""


def asks_module(view: View, place: Place) -> bool:
    """Tell whether the handlers of a place's PythonHandlerModule may be asked for users."""
    return (
        bool(view.lines(place, HANDLER_MODULE))
        and view.nearest(place, "authtype").lower() == "basic"
        and _asks_for_user(view, place)
        and _asks_python(view, place)
    )


def _asks_for_user(view: View, place: Place) -> bool:
    return any(not _is(line, "all", "granted") for line in view.lines(place, "require"))


def _is(line: Line, *words: str) -> bool:
    return [word.lower() for word in line.words] == list(words)


def _asks_python(view: View, place: Place) -> bool:
    """Tell whether Apache leaves users that it does not know, or all, to mod_python."""
    file = view.nearest(place, "authuserfile")
    return file in ("", "/dev/null") or asks_file_first(view, place) or _is_python_first(view)


def may_ask(view: View, place: Place) -> bool:
    """Tell whether a client may be asked for a password that a place's access handlers check.

    That is where ``AuthType Basic`` holds and nothing else decides who gets in: a handler that
    refuses a client without a name is called again with the client's name and password.
    """
    if place.is_host or view.nearest(place, "authtype").lower() != "basic":
        return False
    if view.nearest(place, *AUTH):
        return False
    near = [
        other
        for other in view.places
        if (other.host in place.around or place.host in other.around) and not is_apart(place, other)
    ]
    return all(_lets_all_in(other, line) for other in near for line in view.lines(other, *_RULES))


def _lets_all_in(place: Place, line: Line) -> bool:
    """Tell whether a line lets everybody in, or is the usual one that holds for nothing served."""
    if line.key != "require":
        return False
    return _is(line, "all", "granted") or (
        _is(line, "all", "denied") and place.kind == "directory" and place.argument == "/"
    )


def providers(view: View, place: Place) -> str:
    """Return the line that lets mod_auth_basic ask the script, in its turn."""
    names = ["wsgi"]
    if view.nearest(place, "authuserfile") and not view.lines(place, "authbasicprovider"):
        names.insert(0 if asks_file_first(view, place) else 1, "file")
    return f"AuthBasicProvider {' '.join(names)}"


def asks_file_first(view: View, place: Place) -> bool:
    """Tell whether Apache asks its own file of users before mod_python."""
    return view.nearest(place, "authbasicauthoritative").lower() == "off"


def _is_python_first(view: View) -> bool:
    """Tell whether mod_python is loaded before mod_auth_basic, so that Apache asks it first."""
    loaded = [line.words[0] for line in view.walk() if line.key == "loadmodule" and line.words]
    found = [name for name in loaded if name in ("python_module", "auth_basic_module")]
    return found[:1] == ["python_module"] and len(found) > 1


def _adds_to_a_condition(view: View, place: Place, name: str) -> bool:
    lines = view.lines(place, name)
    return any(
        first.parent not in ancestors(line)
        for number, line in enumerate(lines)
        for first in lines[:number]
    )


def rewrite(draft: Draft, place: Place) -> None:
    """Rewrite the lines of a place that name handlers for authentication and authorization."""
    if draft.view.is_python(place):
        for line in draft.view.lines(place, "authtype", "authname"):
            name = "auth_type" if line.key == "authtype" else "auth_name"
            value = (line.words or [""])[0]
            text = f"SetEnv PythonOption.mod_python.{name} {quote(value)}"
            if text not in map(one_line, draft.view.lines(place, "setenv")):
                draft.edits.after.setdefault(line, []).append(text)
    lines = draft.view.lines(place, *AUTH)
    requires = draft.view.lines(place, "require")
    is_basic = draft.view.nearest(place, "authtype").lower() == "basic"
    modules = []
    if asks_module(draft.view, place):
        modules = draft.view.lines(place, HANDLER_MODULE)
    if draft.gates.mode(place) == CLOSED:
        for line in lines:
            draft.close(place, line, draft.gates.reason[place])
    elif (lines and is_basic) or modules:
        _ask_script(draft, place, [*lines, *modules], requires)
    elif lines:
        for line in requires:
            said = f"# asked by the phases of mod_python: {one_line(line)}"
            # AuthType without any Require is an error
            draft.edits.instead[line] = [said, "Require all granted"]
        for line in lines:
            draft.add_to_list(place, line)


def _ask_script(draft: Draft, place: Place, lines: list[Line], requires: list[Line]) -> None:
    """Let Apache's Basic authentication ask the script."""
    at_start = []
    is_served = place.is_served()
    for line in lines:
        text = []
        if line.key != "pythonauthzhandler":
            at_start = [providers(draft.view, place)]
            text.append(draft.gate_line(place, "WSGIAuthUserScript"))
        if line.key == "pythonauthzhandler" and is_served:
            # the runtime refuses as the handler says
            draft.add_to_list(place, line)
            continue
        if line.key != "pythonauthenhandler":
            text.append(draft.gate_line(place, "WSGIAuthGroupScript"))
        if place.is_host:
            text = [
                '<Location "/">',
                *(f"    {one}" for one in (*at_start, *text)),
                "</Location>",
            ]
        if line in draft.edits.instead:
            # a module, which has a script for its other phases
            draft.edits.instead[line] += text
        elif is_served and line.key in AUTH:
            # what the handler leaves in the request is for those after it
            draft.add_to_list(place, line)
            draft.edits.instead[line] += text
        else:
            draft.carry(line, f"# in a script: {one_line(line)}", *text)
        if line.key != "pythonauthenhandler":
            for require in requires:
                draft.edits.instead[require] = [
                    f"# {one_line(require)}",
                    f"Require wsgi-group {_GROUP}",
                ]
    if at_start and not place.is_host:
        is_last = asks_file_first(draft.view, place)
        where = draft.edits.at_end if is_last else draft.edits.at_start
        where.setdefault(draft.section_of(place), []).extend(at_start)
