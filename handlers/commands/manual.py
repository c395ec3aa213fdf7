"""The manual page of the command, modpython-handlers(1), from what ``--help`` says.

``python -m handlers.commands.manual`` prints it; ``apache_conf/modpython-handlers.1`` holds it, and
is installed among the system's or the environment's manual pages.
"""

import argparse
import re

from handlers.commands import line

_SHORT = "thumbnails, a lookup, sessions and mod_python's API for Apache httpd"


def text() -> str:
    """Return the page in the macros of man(7)."""
    parser = line.parser()
    parts = [
        f".TH {line.PROGRAM.upper()} 1",
        ".SH NAME",
        f"{_escaped(line.PROGRAM)} \\- {_SHORT}",
        ".SH SYNOPSIS",
        f".B {_escaped(line.PROGRAM)}",
        r"[\fB\-\-settings\fR \fIFILE\fR] [\fB\-\-json\fR] \fICOMMAND\fR ...",
        ".SH DESCRIPTION",
        "Each command reads /etc/modpython\\-handlers/settings.ini, or the file that "
        "\\fB\\-\\-settings\\fR names, and says what it found or did in one line.",
        ".SH COMMANDS",
    ]
    for path, command, meaning in _commands(parser, line.PROGRAM):
        parts += [".TP", f".B {_escaped(path)}", _escaped(_sentence(meaning))]
        for action in command._actions:
            shown = _shown(action)
            if shown:
                meaning = command._get_formatter()._expand_help(action) if action.help else ""
                parts += [".RS", ".TP", shown, _escaped(_sentence(meaning)), ".RE"]
    parts += [".SH EXIT STATUS", ".nf", *map(_escaped, line.STATUSES.splitlines()[1:]), ".fi"]
    parts += [".SH EXAMPLES", ".nf", *map(_escaped, line.EXAMPLES.splitlines()[1:]), ".fi"]
    parts += [".SH FILES", "/etc/modpython\\-handlers/settings.ini"]
    return "\n".join(part for part in parts if part) + "\n"


def _commands(parser: argparse.ArgumentParser, path: str):
    """Yield the path, the parser and the meaning of each command that does something."""
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            continue
        meanings = {choice.dest: choice.help for choice in action._choices_actions}
        for name, command in action.choices.items():
            nested = list(_commands(command, f"{path} {name}"))
            yield from nested or [(f"{path} {name}", command, meanings[name])]


def _shown(action: argparse.Action) -> str:
    if action.dest in ("help", "settings", "json"):
        return ""
    value = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
    if isinstance(action.metavar, tuple):
        value = " ".join(action.metavar)
    if action.choices:
        value = "|".join(map(str, action.choices))
    value = f"\\fI{_escaped(str(value))}\\fR" if value and action.nargs != 0 else ""
    names = ", ".join(f"\\fB{_escaped(name)}\\fR" for name in action.option_strings)
    return f"{names} {value}".strip()


def _sentence(meaning: str) -> str:
    meaning = " ".join(meaning.split())
    return meaning[:1].upper() + meaning[1:] + "." if meaning else ""


def _escaped(words: str) -> str:
    words = words.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", words)


if __name__ == "__main__":
    print(text(), end="")
