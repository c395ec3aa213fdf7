"""``modpython-handlers config``: which options are in force, and where each of them was set."""

import argparse
from collections.abc import Iterator

from handlers import settings
from handlers.commands.apache import Directive, find
from handlers.commands.result import Result
from handlers.kinds import Option, Words
from handlers.options import OPTIONS
from handlers.settings import Settings

HELP = "show the options in force, and where they are set"

_HIDDEN = "(hidden)"
_VARIABLE = "PythonOption."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--set", action="store_true", help="leave out what has its default")
    parser.add_argument(
        "--apache", metavar="DIR", help="Apache's configuration (/etc/apache2 or /etc/httpd)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, options: Settings) -> Result:
    """List each option with its value, its source and the places of Apache that override it.

    The value of a secret is not shown. Apache's configuration is read if there is one.

    :raises Failed: if ``--apache`` names a directory that is no configuration of Apache's.
    """
    return Result(_rows(args, options), _text)


def _rows(args: argparse.Namespace, options: Settings) -> Iterator[dict[str, str]]:
    lines = settings.lines_of(options["handlers.settings"])
    given = _python_options(args.apache)
    for name, option in OPTIONS.items():
        if name in lines:
            place = f"{options['handlers.settings']}:{lines[name]}"
            yield _row(option, options[name], place)
        elif not args.set and name not in given:
            yield _row(option, option.default, "default")
        for directive, text in given.get(name, ()):
            yield _row(option, text, _place(directive))


def _row(option: Option, text: str, place: str) -> dict[str, str]:
    is_secret = not isinstance(text, Words) and option.kind.is_secret(text)
    return {"option": option.name, "value": _HIDDEN if is_secret else text, "from": place}


def _text(row: dict[str, str]) -> str:
    return f"{row['option']} = {row['value']}    # {row['from']}"


def _place(directive: Directive) -> str:
    around = " ".join(f"<{name} {argument}>" for name, argument in directive.sections)
    return f"PythonOption {directive.file}:{directive.line}{around and ' ' + around}"


def _python_options(directory: str | None) -> dict[str, list[tuple[Directive, str]]]:
    """Return the PythonOptions of Apache's configuration, by name, in its order."""
    apache = find(directory)
    if apache is None:
        return {}
    found: dict[str, list[tuple[Directive, str]]] = {}
    for directive in apache.named("PythonOption", "SetEnv"):
        if len(directive.arguments) < 2:
            continue
        name, value = directive.arguments[:2]
        if directive.is_named("SetEnv"):
            if not name.startswith(_VARIABLE):
                continue
            name = name.removeprefix(_VARIABLE)
        if name in OPTIONS:
            found.setdefault(name, []).append((directive, value))
    return found
