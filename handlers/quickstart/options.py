"""The command line of ``apache_conf/quickstart``, parsed once.

The process that parses it runs on the system's Python and hands the result to the process that
runs in the virtual environment: :meth:`Options.to_json` and :func:`from_json`.
"""

import argparse
import dataclasses
import difflib
import ipaddress
import json
import os
import re
import signal
import stat
import sys

from handlers.database import url as database_url
from handlers.quickstart.rights import Failed

PROGRAM = "apache_conf/quickstart"
#: The signals that ask the quickstart to end.
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

_USAGE = 2  # exit status
_ROOTS_WORK = "/var/lib/modpython-handlers"
_WORK = "~/.local/state/modpython-handlers"
_LARGEST_URL = 64 * 1024  # bytes of --database-file
# Apache's configuration gives these a meaning, or has no way to quote them.
_NOT_IN_WORK = re.compile(r"""[^\S ]|["'\\$%#<>{}]""")
# its programs begin with a line that names its Python
_NOT_IN_VENV = re.compile(r"""[\s"'\\$%#<>{}]""")

_EPILOG = """\
A URL with a password belongs in a file that only you can read: what stands on the command line
is seen by every user of the machine and is kept in the shell's history.

exit status: 0 done; 1 not possible, one line says why; 2 wrong usage.
"""


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command line says, checked as far as it can be without looking at the machine.

    :ivar pictures: absolute path of the folder; None: the samples.
    :ivar work: absolute path of the work directory, without links.
    :ivar venv: absolute path of the virtual environment; empty: the one that the work directory
        remembers.
    :ivar listen: IP address.
    :ivar database: URL with the password in it; empty: the work directory's own.
    :ivar action: ``serve``, ``detach``, ``status`` or ``stop``.
    """

    pictures: str | None
    work: str
    venv: str
    listen: str
    port: int
    children: int
    database: str
    server: str
    action: str

    def to_json(self) -> str:
        """Return it as text for :func:`from_json`."""
        return json.dumps(dataclasses.asdict(self))

    @property
    def url(self) -> database_url.URL | None:
        """The database, None for the work directory's own."""
        return database_url.parse(self.database) if self.database else None


def from_json(text: str) -> Options:
    """Return the Options that :meth:`Options.to_json` wrote."""
    return Options(**json.loads(text))


def parse(arguments: list[str]) -> Options:
    """Return what the command line says.

    Wrong usage, ``--help`` included, ends the process, with status 2 after one line.

    :raises Failed: for values that cannot be used: a relative database, an unreadable file of it.
    """
    parser = _parser()
    found, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.error(_about_unknown(parser, unknown[0]))
    if found.pictures == "" or found.work == "" or found.venv == "":
        parser.error("the name of a directory is empty")
    database = found.database or ""
    if found.database_file:
        database = _read_url(found.database_file)
    if found.database is not None or found.database_file:
        try:
            database_url.parse(database)
        except database_url.BadURL as error:
            parser.error(str(error))
        _refuse_relative(database)
    work = os.path.realpath(found.work or _default_work())
    if _NOT_IN_WORK.search(work):
        parser.error(f"{work!r}: no quotes, tabs or any of \\ $ % # < > {{ }} in this path")
    venv = found.venv or os.path.join(work, "venv")
    if _NOT_IN_VENV.search(venv):
        parser.error(f"{venv!r}: a virtual environment needs a path without blanks, see --venv")
    pictures = os.path.abspath(found.pictures) if found.pictures else None
    if pictures and not pictures.isprintable():
        parser.error(f"the folder's name {pictures!r} cannot stand in a settings file")
    return Options(
        pictures=pictures,
        work=work,
        venv=os.path.abspath(found.venv) if found.venv else "",
        listen=found.listen,
        port=found.port,
        children=found.children,
        database=database,
        server=found.server,
        action=found.action,
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        print(f"quickstart: {message} (see {PROGRAM} --help)", file=sys.stderr)
        sys.exit(_USAGE)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description="Serve a folder of pictures by Apache prefork: install what is missing, start "
        "Apache, print the addresses, follow the logs until Ctrl-C.",
        epilog=_EPILOG,
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "pictures",
        nargs="?",
        metavar="PICTURES_DIR",
        help="folder of pictures to serve (default: samples of its own making)",
    )
    parser.add_argument(
        "--work",
        metavar="DIR",
        help=f"where everything is kept (default: {_ROOTS_WORK}; without root {_WORK})",
    )
    parser.add_argument(
        "--venv",
        metavar="DIR",
        help="virtual environment to use or make (default: the one used before, or WORK/venv)",
    )
    parser.add_argument(
        "--listen",
        metavar="ADDRESS",
        type=_address,
        default="127.0.0.1",
        help="IP address to listen on; 0.0.0.0 or :: is all of them (default: %(default)s)",
    )
    parser.add_argument(
        "--port",
        metavar="N",
        type=_between(1, 65535),
        default=8080,
        help="port to listen on (default: %(default)s)",
    )
    parser.add_argument(
        "--children",
        metavar="N",
        type=_between(1, 1000),
        default=8,
        help="children that httpd starts with; more come with the load (default: %(default)s)",
    )
    database = parser.add_mutually_exclusive_group()
    database.add_argument(
        "--database",
        metavar="URL",
        help="sqlite:////absolute/path, mysql://user@host:port/name or "
        "mysql://user@/name?unix_socket=PATH (default: WORK/images.db)",
    )
    database.add_argument(
        "--database-file",
        metavar="FILE",
        help="file with the URL in its only line, mysql://user:password@host:port/name",
    )
    parser.add_argument(
        "--server",
        metavar="NAME",
        choices=("mod_wsgi", "mod_python"),
        default="mod_wsgi",
        help="mod_wsgi or mod_python (default: %(default)s)",
    )
    action = parser.add_mutually_exclusive_group()
    for name, meaning in (
        ("detach", "start, wait until it answers, print the addresses and return"),
        ("status", "print the addresses of the server that runs in WORK, or fail"),
        ("stop", "stop the server that runs in WORK"),
    ):
        action.add_argument(
            f"--{name}", dest="action", action="store_const", const=name, help=meaning
        )
    parser.set_defaults(action="serve")
    return parser


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog):
        super().__init__(prog, max_help_position=26, width=98)

    def _fill_text(self, text, width, indent):
        if text is _EPILOG:
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)


def _about_unknown(parser: argparse.ArgumentParser, argument: str) -> str:
    if not argument.startswith("-"):
        return f"one PICTURES_DIR at most: {argument!r} is another one"
    name = argument.partition("=")[0]
    known = [option for action in parser._actions for option in action.option_strings]
    close = difflib.get_close_matches(name, known, 1)
    return f"unknown option {name}" + (f": did you mean {close[0]}?" if close else "")


def _between(least: int, most: int):
    def number(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number")
        if not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text} is not between {least} and {most}")
        return int(text)

    return number


def _address(text: str) -> str:
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an IP address such as 127.0.0.1, ::1 or 0.0.0.0"
        ) from None


def _default_work() -> str:
    if os.geteuid() == 0:
        return _ROOTS_WORK
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(state, os.path.basename(_ROOTS_WORK))


def _read_url(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            lines = file.read(_LARGEST_URL).split("\n")
    except OSError as error:
        raise Failed(f"--database-file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Failed(f"--database-file {path} is not text in UTF-8") from None
    given = [line.strip() for line in lines if line.strip()]
    if len(given) != 1:
        raise Failed(f"--database-file {path} must hold one line, the database URL")
    if stat.S_ISREG(mode) and mode & stat.S_IROTH:
        print(f"quickstart: everybody can read {path}: chmod 600 {path}", file=sys.stderr)
    return given[0]


def _refuse_relative(url: str) -> None:
    relative = re.match(r"\s*sqlite:///(?!/|%2f)(?P<path>.*)", url, re.IGNORECASE)
    if relative:
        raise Failed(
            f"the database {url.strip()} is relative: write sqlite:////absolute/path, "
            f"with four slashes"
        )
