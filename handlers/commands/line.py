"""The command line: its options, its errors and its exit status."""

import argparse
import contextlib
import os
import sqlite3
import sys

import handlers
from handlers import lookup, settings
from handlers.commands import (
    cache,
    check,
    config,
    convert,
    result,
    sessions,
    setup,
    terminal,
    uninstall,
)
from handlers.commands import lookup as lookup_commands
from handlers.database import url as database_url
from handlers.locks import LockTimeout
from handlers.lookup import outage
from handlers.lookup.errors import DatabaseAway, DatabaseMisconfigured
from handlers.sessions.store import StoreError

PROGRAM = "modpython-handlers"
SETTINGS = "/etc/modpython-handlers/settings.ini"

_INTERRUPTED = 130  # as a shell counts it: 128 + SIGINT
_READER_GONE = 141  # 128 + SIGPIPE
_PARTS = {
    "setup": setup,
    "uninstall": uninstall,
    "check": check,
    "config": config,
    "convert": convert,
    "cache": cache,
    "lookup": lookup_commands,
    "sessions": sessions,
}
EXAMPLES = """\
examples:
  modpython-handlers setup --dry-run                 what would be written
  modpython-handlers check --url http://localhost    what is wrong, and what to type
  modpython-handlers config --set                    which options are in force
  modpython-handlers cache purge 12345               hide a picture at once
  modpython-handlers cache warm --all                make all thumbnails ahead
  modpython-handlers lookup show 12345               what the database says of an id
  modpython-handlers sessions list --user ann        who is signed in
"""
STATUSES = """\
exit status:
  0    done
  1    failed: one sentence on standard error says why
  2    wrong usage
  3    convert has left something out: a line on standard error for each directive
  75   busy: another process is at it; try again
  130  interrupted
"""


def run(arguments: list[str] | None) -> int:
    """Do what *arguments* say, those of this process by default; return the exit status."""
    args = parser().parse_args(arguments)
    args.terminal = terminal.Terminal(sys.stderr)
    options: settings.Settings = {}
    with terminal.logging_to(args.terminal), _outages_unlogged():
        try:
            if args.reads_settings:
                options = settings.read(args.settings or SETTINGS)
            status = result.show(args.run(args, options), args.json)
            sys.stdout.flush()
            return status
        except KeyboardInterrupt:
            return _INTERRUPTED
        except BrokenPipeError:
            _give_up_output()
            return _READER_GONE
        except LockTimeout as error:
            failed, sentence = result.BUSY, str(error)
        except (lookup.Unavailable, DatabaseAway, DatabaseMisconfigured) as error:
            failed, sentence = 1, f"lookup.database {_database(options)}: {error}"
        except (result.Failed, StoreError, OSError, ValueError, sqlite3.Error) as error:
            failed, sentence = 1, str(error)
        args.terminal.say(f"{PROGRAM}: {' '.join(sentence.split())}")
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        return failed
    _give_up_output()
    return failed


class _Parser(argparse.ArgumentParser):
    """A parser whose options for all commands may stand before or after the command's name."""

    def __init__(self, **arguments):
        super().__init__(
            epilog=f"{EXAMPLES}\n{STATUSES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **arguments,
        )
        self.add_argument(
            "--settings",
            metavar="FILE",
            default=argparse.SUPPRESS,
            help=f"settings file ({SETTINGS})",
        )
        self.add_argument(
            "--json",
            action="store_true",
            default=argparse.SUPPRESS,
            help="print the result as JSON",
        )


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = _Parser(prog=PROGRAM, description=handlers.__doc__)
    parser.set_defaults(settings=None, json=False, reads_settings=True)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {handlers.__version__}")
    parts = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module in _PARTS.items():
        module.configure(parts.add_parser(name, help=module.HELP, description=module.HELP))
    return parser


@contextlib.contextmanager
def _outages_unlogged():
    """Leave it to the exception to tell of a database that is away, for a with block."""
    before, outage.logger.disabled = outage.logger.disabled, True
    try:
        yield
    finally:
        outage.logger.disabled = before


def _database(options: settings.Settings) -> str:
    """Return the name of the lookup's database without its password."""
    return str(database_url.parse(options["lookup.database"]))


def _give_up_output() -> None:
    """Keep the interpreter from writing to a closed output at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
