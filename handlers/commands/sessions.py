"""``python -m handlers sessions``: make the table, sweep, look at and end sessions."""

import argparse
import sys
import time

from handlers.commands import owner
from handlers.mod_python import session_options
from handlers.sessions import directory_of, grace_period, open_store
from handlers.sessions.store import Store
from handlers.sessions.sweep import Pace, report

HELP = "create, sweep, stats, list or purge sessions"
_BUSY = 75  # EX_TEMPFAIL of sysexits.h


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    create = commands.add_parser("create", help="make the table of the sql store")
    create.set_defaults(run=_create)
    sweep = commands.add_parser("sweep", help="delete expired sessions, paced, and say how many")
    sweep.add_argument("--seconds", type=float, help="stop after so long; the next goes on there")
    sweep.add_argument("--fast", action="store_true", help="without rests")
    sweep.set_defaults(run=_sweep)
    stats = commands.add_parser("stats", help="count live and expired sessions, and their bytes")
    stats.set_defaults(run=_stats)
    entries = commands.add_parser("list", help="list sessions, without what is in them")
    entries.add_argument("--user", help="only this user's")
    entries.set_defaults(run=_list)
    purge = commands.add_parser("purge", help="end all sessions of a user")
    purge.add_argument("user")
    purge.set_defaults(run=_purge)


def _create(args, options) -> int:
    store = _open(options)
    if not hasattr(store, "create"):
        print("This store needs no table.")
        return 0
    store.create()
    print("The table is there.")
    return 0


def _sweep(args, options) -> int:
    pace = Pace.flat_out() if args.fast else Pace(limit=args.seconds)
    swept = _open(options).sweep(pace, grace_period(options))
    if swept is None:
        print("Another process is sweeping.", file=sys.stderr)
        return _BUSY
    report(swept)
    return 0


def _stats(args, options) -> int:
    for name, value in _listing(options).stats()._asdict().items():
        print(f"{name:8} {value}")
    return 0


def _list(args, options) -> int:
    for entry in _listing(options).entries(args.user):
        accessed = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.accessed))
        print(f"{entry.key}  {accessed}  {entry.size:7}  {entry.user or '-'}")
    return 0


def _purge(args, options) -> int:
    print(f"{_listing(options).purge(args.user)} sessions ended.")
    return 0


def _open(options) -> Store:
    session_options.use(options)
    found = session_options.of_child()
    kind = session_options.store_of(found.session_type)
    if kind in ("file", "dbm"):
        owner.become(directory_of(dict(found.given), kind))
    return open_store(kind, dict(found.given))


def _listing(options) -> Store:
    store = _open(options)
    if not store.lists:
        raise ValueError("this store cannot tell which sessions it holds")
    return store
