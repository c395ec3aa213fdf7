"""``modpython-handlers lookup warm | show ID | stats``: the lookup, as its children see it."""

import argparse
import os
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

from handlers import state_directory
from handlers.commands import owner
from handlers.commands.progress import Progress
from handlers.commands.result import Failed, Result
from handlers.elected import read_state
from handlers.lookup import Lookup, Row, snapshot
from handlers.lookup import options as lookup_options
from handlers.lookup.errors import Unavailable
from handlers.lookup.refresh import Refresher
from handlers.lookup.state import State
from handlers.settings import Settings

# rows between two looks at the clock
_COUNTED = 256
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


def run(args: argparse.Namespace, options: Settings) -> Result:
    """Run the command that *args* name with the ``lookup.*`` entries of *options*.

    Run by root, it goes on as the owner of the snapshot's directory.

    :raises Failed, DatabaseAway, DatabaseMisconfigured, LockTimeout, ValueError: with the sentence
        that says why it cannot be done.
    """
    read = lookup_options.from_mapping(options)
    if read.snapshot:
        directory = os.path.dirname(read.snapshot)
        cache, name = os.path.split(directory)
        if name == state_directory.NAME and os.path.isdir(cache) and not os.path.isdir(directory):
            # no child has been started yet
            owner.become(cache)
            state_directory.ensure(cache)
        if not os.path.isdir(directory):
            raise Failed(f"lookup.snapshot: {directory}: no such directory")
        owner.become(directory)
    try:
        return args.command(args, read, options)
    except TimeoutError:
        # a LockTimeout, which is no fault of the snapshot
        raise
    except (OSError, sqlite3.Error, snapshot.Unusable) as error:
        raise Failed(f"snapshot {read.snapshot}: {error}") from error


def _warm(args, read: lookup_options.Options, options: Settings) -> Result:
    if not read.snapshot:
        raise Failed("lookup.snapshot is not set: there is nothing to write")
    start = time.monotonic()

    def watched(rows: Iterator, total: int | None) -> Iterator:
        progress = Progress(args.terminal, "rows", total)
        for number, row in enumerate(rows, 1):
            yield row
            if not number % _COUNTED:
                progress.add(_COUNTED)

    try:
        done = Refresher(read).refresh(lock_timeout=args.wait, watch=watched)
    finally:
        args.terminal.clear()
    values = {
        "rows": done.read,
        "database": str(read.database),
        "seconds": round(time.monotonic() - start, 3),
        "new": done.new,
        "changed": done.changed,
    }
    return Result(
        values,
        lambda values: (
            f"{done.read} rows from {read.database} in {values['seconds']:.1f} s: "
            f"{'new snapshot' if done.new else 'snapshot as before'}, "
            f"{done.changed} changed or gone"
        ),
    )


def _show(args, read: lookup_options.Options, options: Settings) -> Result:
    values: dict[str, Any] = {}
    lines = []
    if read.snapshot:
        found, reason = _open(read)
        row = found.get(args.id) if found and read.is_id(args.id) else None
        values["snapshot"] = row and row._asdict()
        lines.append(f"snapshot: {_text(row) if found else reason}")
    fresh = Lookup.from_options(
        {name: value for name, value in options.items() if name != "lookup.snapshot"}
    )
    row = None
    try:
        row = fresh.get(args.id)
        values["database"] = row and row._asdict()
        lines.append(f"database: {_text(row)}")
    except Unavailable as error:
        # what the snapshot says is worth knowing all the more
        values["error"] = str(error)
        args.terminal.say(f"lookup.database {read.database}: {error}")
    finally:
        fresh.close()
    return Result(values, lambda values: "\n".join(lines), 0 if row is not None else 1)


def _stats(args, read: lookup_options.Options, options: Settings) -> Result:
    values: dict[str, Any] = {"database": str(read.database), "snapshot": read.snapshot}
    if not read.snapshot:
        return Result(values, _stats_text)
    found, reason = _open(read)
    if found is None:
        raise Failed(f"snapshot {read.snapshot}: {reason}")
    line = read_state(read.snapshot + ".state", State) or State()
    values |= {
        "rows": found.rows,
        "public": found.public,
        "bytes": found.size,
        "written": found.written,
        "refreshed": line.refreshed or None,
        "changes_told": line.told == found.serial,
    }
    if found.mark is not None:
        values["updated_up_to"] = line.mark if line.serial == found.serial else found.mark
    return Result(values, _stats_text)


def _stats_text(values: dict[str, Any]) -> str:
    texts = dict(values)
    if not values["snapshot"]:
        texts["snapshot"] = "none, each child reads the table"
    for name in ("written", "refreshed"):
        if name in values:
            texts[name] = _when(values[name])
    if "changes_told" in values:
        texts["changes_told"] = "yes" if values["changes_told"] else "not yet"
    return "\n".join(f"{name.replace('_', ' ')}: {text}" for name, text in texts.items())


def _open(read: lookup_options.Options) -> tuple[snapshot.Snapshot | None, str]:
    if not read.snapshot:
        return None, ""
    try:
        return Refresher(read).open(), ""
    except FileNotFoundError:
        return None, "there is none"
    except (snapshot.Unusable, snapshot.Replaced) as error:
        return None, str(error)


def _text(row: Row | None) -> str:
    if row is None:
        return "not there"
    focus = "" if row.focus_x is None else f", focus {row.focus_x:g} {row.focus_y or 0:g}"
    return f"{row.path!r}{', private' if row.private else ''}{focus}"


def _when(moment: float | None) -> str:
    if not moment:
        return "never"
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
    return f"{stamp}, {max(0, time.time() - moment):.0f} s ago"
