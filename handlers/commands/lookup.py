"""``python -m handlers lookup warm | show ID | stats``: the lookup, as its children see it."""

import argparse
import os
import sqlite3
import sys
import time
from collections.abc import Mapping

from handlers.commands import owner
from handlers.locks import LockTimeout
from handlers.lookup import BadOption, BadURL, Lookup, Row, Unavailable, snapshot, state
from handlers.lookup import options as lookup_options
from handlers.lookup.errors import DatabaseAway, DatabaseMisconfigured
from handlers.lookup.refresh import Refresher
from handlers.lookup.row import is_id

HELP = "warm the snapshot, show an id, or what is known"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the commands to the parser of ``lookup``."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    warm = commands.add_parser("warm", help="read the table and write the snapshot now")
    warm.add_argument(
        "--wait",
        type=float,
        default=600,
        metavar="SECONDS",
        help="how long to wait for another process that writes it (%(default)s)",
    )
    warm.set_defaults(command=_warm)
    show = commands.add_parser("show", help="what the snapshot and the database say of an id")
    show.add_argument("id", metavar="ID")
    show.set_defaults(command=_show)
    stats = commands.add_parser("stats", help="what the snapshot holds, and how old it is")
    stats.set_defaults(command=_stats)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, options: Mapping[str, str]) -> int:
    """Run the command that *args* name with the ``lookup.*`` entries of *options*.

    Run by root, it goes on as the owner of the snapshot's directory.

    :return: the exit status: 0, or 1 after one line on standard error.
    """
    try:
        read = lookup_options.from_mapping(options)
        if read.snapshot:
            owner.become(os.path.dirname(read.snapshot))
        return args.command(args, read, options)
    except (BadOption, BadURL, DatabaseMisconfigured, LockTimeout) as error:
        return _failed(str(error))
    except (DatabaseAway, Unavailable) as error:
        return _failed(f"the database does not answer: {error}")
    except (OSError, sqlite3.Error, snapshot.Unusable) as error:
        return _failed(f"{read.snapshot}: {error}")


def _warm(args, read: lookup_options.Options, options: Mapping[str, str]) -> int:
    if not read.snapshot:
        return _failed("lookup.snapshot is not set: there is nothing to write")
    start = time.monotonic()
    done = Refresher(read).refresh(lock_timeout=args.wait)
    print(
        f"{done.read} rows from {read.database} in {time.monotonic() - start:.1f} s: "
        f"{'new snapshot' if done.new else 'snapshot as before'}, {done.changed} changed or gone"
    )
    return 0


def _show(args, read: lookup_options.Options, options: Mapping[str, str]) -> int:
    found, reason = _open(read)
    if read.snapshot:
        row = found.get(args.id) if found and is_id(args.id) else None
        print(f"snapshot: {_text(row) if found else reason}")
    fresh = Lookup.from_options(
        {name: value for name, value in options.items() if name != "lookup.snapshot"}
    )
    row = fresh.get(args.id)
    fresh.close()
    print(f"database: {_text(row)}")
    return 0 if row is not None else 1


def _stats(args, read: lookup_options.Options, options: Mapping[str, str]) -> int:
    print(f"database: {read.database}")
    if not read.snapshot:
        print("snapshot: none, each child reads the table")
        return 0
    print(f"snapshot: {read.snapshot}")
    found, reason = _open(read)
    if found is None:
        return _failed(f"{read.snapshot}: {reason}")
    line = state.read(read.snapshot + ".state") or state.State()
    print(f"rows: {found.rows}")
    print(f"public: {found.public}")
    print(f"bytes: {found.size}")
    print(f"written: {_when(found.written)}")
    print(f"refreshed: {_when(line.refreshed)}")
    print(f"changes told: {'yes' if line.told == found.serial else 'not yet'}")
    if found.mark is not None:
        print(f"updated up to: {line.mark if line.serial == found.serial else found.mark}")
    return 0


def _open(read: lookup_options.Options) -> tuple[snapshot.Snapshot | None, str]:
    if not read.snapshot:
        return None, ""
    try:
        return snapshot.Snapshot(read.snapshot, snapshot.fingerprint(read)), ""
    except FileNotFoundError:
        return None, "there is none"
    except (snapshot.Unusable, snapshot.Replaced) as error:
        return None, str(error)


def _text(row: Row | None) -> str:
    if row is None:
        return "not there"
    focus = "" if row.focus_x is None else f", focus {row.focus_x:g} {row.focus_y or 0:g}"
    return f"{row.path!r}{', private' if row.private else ''}{focus}"


def _when(moment: float) -> str:
    if not moment:
        return "never"
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
    return f"{stamp}, {max(0, time.time() - moment):.0f} s ago"


def _failed(message: str) -> int:
    print(f"lookup: {message}", file=sys.stderr)
    return 1
