"""``modpython-handlers uninstall``: what may be deleted, and what to type; it deletes nothing."""

import argparse
import glob
import os
import shlex
import sys
from typing import Any

from handlers import settings
from handlers.commands import generated, setup
from handlers.commands.apache import Apache
from handlers.commands.result import Result

HELP = "name what setup and the server have made, and what to type; deletes nothing"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--apache", metavar="DIR", help="Apache's configuration (/etc/apache2 or /etc/httpd)"
    )
    parser.add_argument("--etc", metavar="DIR", default=setup.ETC, help="our own (%(default)s)")
    parser.set_defaults(run=run, reads_settings=False)


def run(args: argparse.Namespace, _options) -> Result:
    """Name the files and directories that are there, and the commands in their order."""
    apache, etc = Apache(args.apache), os.path.abspath(args.etc)
    conf = [
        path
        for path in sorted(glob.glob(apache.conf_file("handlers*")))
        if generated.is_marked(path)
    ]
    names = sorted(os.path.splitext(os.path.basename(path))[0] for path in conf)
    includes = [
        {"file": d.file, "line": d.line, "text": f"{d.name} {' '.join(d.arguments)}"}
        for d in apache.named("Include", "IncludeOptional")
        if d.arguments and apache.path(d.arguments[0]) in conf
    ]
    commands = []
    if apache.is_debian:
        enabled = [name for name in names if apache.is_enabled(f"{name}.conf")]
        commands += [f"a2disconf {' '.join(enabled)}"] if enabled else []
    else:
        commands += [f"rm {shlex.join(conf)}"] if conf else []
    commands += [
        "apachectl configtest",
        apache.restart,
    ]
    data = [path for path in (etc, *_places(etc)) if os.path.lexists(path)]
    paths = [
        path
        for path in sorted(glob.glob(f"/usr/local/lib/python3*/dist-packages/{setup.PTH}"))
        if generated.is_marked(path)
    ]
    environment = [sys.prefix] if sys.prefix != sys.base_prefix else []
    links = [
        path
        for path in ("/usr/local/bin/modpython-handlers",)
        if os.path.realpath(path) == os.path.realpath(os.path.join(sys.prefix, "bin", _PROGRAM))
        and os.path.islink(path)
    ]
    values = {
        "includes": includes,
        "next": commands,
        "files": ([*conf] if apache.is_debian else []) + paths + links,
        "directories": data + environment,
    }
    return Result(values, _text)


_PROGRAM = "modpython-handlers"


def _places(etc: str) -> list[str]:
    """Return the directories of all settings files' caches and snapshots."""
    found = []
    for path in sorted(glob.glob(os.path.join(glob.escape(etc), "*.ini"))):
        options = settings.read(path)
        if options.get("thumbnail.cache"):
            found.append(options["thumbnail.cache"])
        if options.get("lookup.snapshot"):
            snapshot = options["lookup.snapshot"]
            if not any(os.path.commonpath((snapshot, place)) == place for place in found):
                found += [snapshot, snapshot + ".state"]
    return list(dict.fromkeys(found))


def _text(values: dict[str, Any]) -> str:
    lines = [
        f"Take out {include['file']}:{include['line']}: {include['text']}"
        for include in values["includes"]
    ]
    lines += ["Type:", "", *(f"    {command}" for command in values["next"]), ""]
    if values["files"] or values["directories"]:
        lines += ["Then nothing uses these any more (the settings hold what you wrote):", ""]
        lines += [f"    rm {shlex.quote(path)}" for path in values["files"]]
        lines += [f"    rm -r {shlex.quote(path)}" for path in values["directories"]]
    return "\n".join(lines).rstrip()
