"""``modpython-handlers convert``: turns a configuration for mod_python into one for mod_wsgi."""

import argparse
import contextlib
import glob
import grp
import os
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator
from typing import Any

from handlers.commands import generated, setup
from handlers.commands.apache import Apache
from handlers.commands.generated import File
from handlers.commands.result import Failed, Result
from handlers.configuration import effective
from handlers.configuration.text import Line, Malformed, Section, parse
from handlers.convert import names, scope
from handlers.convert.draft import Conversion
from handlers.convert.loading import REQUEST_REC, Load
from handlers.convert.rewrite import convert, joined
from handlers.convert.scripts import Scripts

HELP = "turn Apache's configuration for mod_python into one for mod_wsgi: text in, text out"
#: Exit status of a conversion that has left something out.
NOT_WHOLE = 3


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("files", nargs="*", metavar="FILE", help="(standard input)")
    parser.add_argument(
        "--scripts",
        metavar="DIR",
        default=setup.ETC,
        help="where the scripts that the result names are written (%(default)s)",
    )
    parser.add_argument("--check", action="store_true", help="report only, write nothing")
    parser.add_argument(
        "--includes",
        action="store_true",
        help="put the files of Include and IncludeOptional in place of these lines",
    )
    parser.add_argument(
        "--server-root", metavar="DIR", default="/etc/apache2", help="for --includes (%(default)s)"
    )
    parser.add_argument(
        "--htaccess",
        metavar="DIR",
        default="",
        help="standard input is the .htaccess file of this directory",
    )
    parser.add_argument(
        "--mod-wsgi", metavar="FILE", help="mod_wsgi.so (as setup finds it on this machine)"
    )
    parser.add_argument(
        REQUEST_REC,
        action="store_true",
        help="let handlers read Apache's own structures (mod_python.request_rec)",
    )
    parser.set_defaults(run=run, reads_settings=False)


def run(args: argparse.Namespace, _options) -> Result:
    """Convert the files, write the scripts, print the text; or report only.

    :raises Failed: for a file that cannot be read, is no configuration, or a script that cannot be
        written. Nothing is printed then.
    """
    directory = os.path.abspath(args.scripts)
    if not directory.isascii():
        raise Failed(f"--scripts {directory}: take a path of ASCII letters")
    scripts, load = Scripts(directory, sys.prefix), _find_mod_wsgi(args.mod_wsgi)
    load.request_rec = args.request_rec
    result, found = Conversion(), []
    for trees, htaccess in _configurations(args):
        found += names.differences(scope.build(joined(trees), htaccess), args.request_rec)
        one = convert(trees, scripts, load, htaccess)
        result.texts += one.texts
        result.entries += one.entries
        result.notes += one.notes
    if not load.module.startswith("/"):
        result.notes.append("no mod_wsgi here: apt install libapache2-mod-wsgi-py3, or --mod-wsgi")
    report = _report(result, found)
    status = 0 if result.is_whole else NOT_WHOLE
    if args.check:
        return Result(report, _report_text, status)
    os.makedirs(directory, exist_ok=True)
    for path, text in scripts.texts.items():
        generated.write(File(path, text, marked=False), path)
    for path, value in scripts.secrets.items():
        secret = File(path, f"{value}\n", marked=False, mode=0o640, gid=_apaches_gid())
        generated.write(secret, path)
    for line in _said(report):
        args.terminal.say(line)
    text = "".join(result.texts)
    if not args.json:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode("latin-1"))
    return Result({**report, "text": text}, lambda _: "", status)


def _configurations(args: argparse.Namespace) -> Iterator[tuple[list[Section], str]]:
    """Yield the trees of one configuration, and the directory if they are a .htaccess file."""
    files: list[Section] = []
    for path in args.files or ["-"]:
        is_input = path == "-"
        tree = _read(path, args)
        htaccess = args.htaccess if is_input else scope.htaccess_directory(path)
        if htaccess:
            yield [tree], os.path.abspath(htaccess)
        else:
            files.append(tree)
    if files:
        yield files, ""


def _read(path: str, args: argparse.Namespace) -> Section:
    try:
        if path == "-":
            data, path = sys.stdin.buffer.read(), "standard input"
        else:
            with open(path, "rb") as file:
                data = file.read()
    except OSError as error:
        raise Failed(f"{path}: {error.strerror}") from error
    try:
        tree = parse(data.decode("latin-1"), path)
    except Malformed as error:
        raise Failed(str(error)) from error
    if args.includes:
        _include(tree, [args.server_root], [os.path.realpath(path)])
    return tree


def _include(tree: Section, root: list[str], reading: list[str]) -> None:
    """Put the lines of the included files in place of the lines that name them."""
    children: list[Line] = []
    for child in tree.children:
        if isinstance(child, Section):
            _include(child, root, reading)
        if child.key == "serverroot" and child.words:
            root[0] = child.words[0]
        if child.key not in ("include", "includeoptional") or "${" in child.arguments:
            children.append(child)
            continue
        children.append(_comment(child, f"# {child.name} {child.arguments}"))
        for path in _included(child, root[0]):
            real = os.path.realpath(path)
            if real in reading:
                raise Failed(f"{path} is included by itself, by way of {child.place}")
            inner = _read(path, argparse.Namespace(includes=False))
            _include(inner, root, [*reading, real])
            for line in inner.children:
                line.parent = tree
            if inner.children and not inner.children[-1].raw.endswith("\n"):
                inner.children[-1].raw += "\n"
            children += inner.children
        children.append(_comment(child, f"# end of {child.name} {child.arguments}"))
    tree.children = children


def _included(line: Line, root: str) -> list[str]:
    pattern = os.path.join(root, (line.words or [""])[0])
    found = effective.included(pattern)
    if not found and line.key == "include" and not glob.has_magic(pattern):
        raise Failed(f"{line.place}: {pattern}: no such file; see --server-root")
    return found


def _comment(line: Line, text: str) -> Line:
    return Line(f"{line.indent}{text}\n", line.file, line.number, line.parent)


def _find_mod_wsgi(given: str | None) -> Load:
    """Return what loads mod_wsgi on this machine: the system's, or this environment's."""
    modules = "modules"
    with contextlib.suppress(Failed):
        modules = Apache(None).module_directory
    pattern = os.path.join(
        glob.escape(sysconfig.get_path("platlib")), "mod_wsgi", "server", "mod_wsgi-py3*.so"
    )
    built = sorted(glob.glob(pattern))
    if given:
        return Load(given, sys.prefix if given in built else "", modules)
    if os.path.exists(os.path.join(modules, "mod_wsgi.so")) or not built:
        return Load(os.path.join(modules, "mod_wsgi.so"), "", modules)
    return Load(built[0], sys.prefix, modules)


def _apaches_gid() -> int | None:
    with contextlib.suppress(Failed, KeyError):
        return grp.getgrnam(Apache(None).group).gr_gid if os.geteuid() == 0 else None
    return None


def _report(result: Conversion, found: list[dict]) -> dict[str, Any]:
    count = Counter(entry.outcome for entry in result.entries)
    return {
        "carried": count["carried"],
        "need_request_rec": sum(bool(entry.option) for entry in result.entries),
        "not_carried": [vars(entry) for entry in result.entries if entry.outcome != "carried"],
        "notes": [
            *result.notes,
            *(
                f"{entry.place}: {entry.directive}: {entry.note}"
                for entry in result.entries
                if entry.outcome == "carried" and entry.note
            ),
        ],
        "names": found,
    }


def _said(report: dict[str, Any]) -> list[str]:
    return [
        f"{entry['place']}: {entry['directive']}: not carried over"
        f"{', closed' if entry['outcome'] == 'refused' else ''}: {entry['note']}"
        for entry in report["not_carried"]
    ] + report["notes"]


def _report_text(report: dict[str, Any]) -> str:
    refused = [entry for entry in report["not_carried"] if entry["outcome"] == "refused"]
    lines = [
        f"{report['carried']} directives carry over, {len(report['not_carried'])} do not"
        + (f"; where {len(refused)} of these stand, the section is closed" if refused else ""),
        f"{report['need_request_rec']} of all need {REQUEST_REC}, and so do "
        f"{sum(bool(item['option']) for item in report['names'])} names in handlers' files",
        *_said(report),
        *(f"{item['place']}: {item['name']}: {item['note']}" for item in report["names"]),
    ]
    return "\n".join(lines)
