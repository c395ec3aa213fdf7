"""``modpython-handlers sessions``: make the table, sweep, look at and end sessions."""

import argparse
import contextlib
import os
import time
from collections.abc import Mapping

from handlers.commands import owner
from handlers.commands.progress import Progress
from handlers.commands.result import Failed, Result
from handlers.locks import LockTimeout
from handlers.sessions import directory_of_store, grace_period, missing_file, open_store, tally
from handlers.sessions import options as session_options
from handlers.sessions.backing import Backing
from handlers.sessions.serial import Serializer
from handlers.sessions.store import Entry, Store
from handlers.sessions.stored import Stored
from handlers.sessions.sweep import Pace
from handlers.sessions.takeover import FileSessions

_TAKEOVER_WAIT = 10.0
# what PrivateTmp= gives a service of its own (systemd.exec(5))
_TEMPORARY = ("/tmp/", "/var/tmp/")
HELP = "create, sweep, stats, list, purge sessions, or take over those of mod_python"


class _Shown(Pace):
    """The pace of a sweep that somebody looks at."""

    progress: Progress

    def go_on(self, deleted: int = 0) -> bool:
        self.progress.add(deleted)
        return super().go_on(deleted)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    create = commands.add_parser("create", help="make the table of the sql store")
    create.set_defaults(run=_create)
    sweep = commands.add_parser("sweep", help="delete expired sessions, paced, and say how many")
    sweep.add_argument("--seconds", type=float, help="stop after so long; the next goes on there")
    sweep.add_argument("--fast", action="store_true", help="without rests")
    sweep.set_defaults(run=_sweep)
    takeover = commands.add_parser(
        "takeover", help="store the sessions that mod_python has left; resumable"
    )
    takeover.add_argument(
        "directory", nargs="?", metavar="DIR", help="instead of the option takeover: .../mp_sess"
    )
    takeover.set_defaults(run=_takeover)
    stats = commands.add_parser("stats", help="count live and expired sessions, and their bytes")
    stats.set_defaults(run=_stats)
    entries = commands.add_parser("list", help="list sessions, without what is in them")
    entries.add_argument("--user", help="only this user's")
    entries.set_defaults(run=_list)
    purge = commands.add_parser("purge", help="end all sessions of a user")
    purge.add_argument("user")
    purge.set_defaults(run=_purge)


def _create(args, options) -> Result:
    if _kind(options) != "sql":
        return Result({"table": None}, lambda values: "This store needs no table.")
    store = _open(options, create=True)
    store.create()
    return Result({"table": store.table}, lambda values: f"The table {values['table']} is there.")


def _sweep(args, options) -> Result:
    pace = _Shown.flat_out() if args.fast else _Shown(limit=args.seconds)
    pace.progress = Progress(args.terminal, "sessions deleted")
    store = _open(options)
    swept = store.sweep(pace, grace_period(options))
    args.terminal.clear()
    if swept is None:
        raise LockTimeout("another process is sweeping")
    if swept.finished and options.get("thumbnail.cache"):
        tally.note(store, tally.of_settings(options)[1], swept, options["thumbnail.cache"])
    values = swept._asdict() | {"seconds": round(swept.seconds, 3)}
    return Result(
        values,
        lambda values: (
            "{deleted} of {seen} sessions deleted in {seconds:.1f} s".format_map(values)
            + ("" if values["finished"] else ", and more to do")
        ),
    )


def _takeover(args, options) -> Result:
    path = args.directory or options.get("mod_python.session.takeover")
    if not path:
        raise Failed("name the directory mp_sess of mod_python, or set mod_python.session.takeover")
    # its sessions are Apache's children's, as ours will be
    owner.become(path)
    session_options.use(options)
    found = session_options.of_child()
    old = FileSessions(path, classes=found.takeover_classes)
    store = _open(options, create=True, as_owner=False)
    serializer = Serializer(found.serializer, found.secrets, store.trusted)
    content = Stored(Backing(store, serializer, None, old, found), found.user_key)
    left, taken = sum(1 for _ in old.ids()), 0
    progress = Progress(args.terminal, "sessions", left)
    for sid in old.ids():
        # a child may be taking over the same one
        with contextlib.suppress(LockTimeout), store.lock(sid, _TAKEOVER_WAIT) as held:
            taken += content.take_over(sid, held)
        progress.add()
    args.terminal.clear()
    left = sum(1 for _ in old.ids())
    return Result(
        {"taken": taken, "left": left},
        lambda values: (
            f"{values['taken']} sessions taken over; {values['left']} left, which have expired, "
            "cannot be read, or are in use."
        ),
    )


def _stats(args, options) -> Result:
    return Result(
        _listing(options).stats()._asdict(),
        lambda values: "\n".join(f"{name:8} {value}" for name, value in values.items()),
    )


def _list(args, options) -> Result:
    entries = _listing(options).entries(args.user)
    if args.json:
        entries = (entry._asdict() for entry in entries)
    return Result(entries, _line)


def _line(entry: Entry) -> str:
    accessed = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.accessed))
    return f"{entry.key}  {accessed}  {entry.size:7}  {_printable(entry.user or '-')}"


def _printable(user: str) -> str:
    """Return a user's name as it can be shown in a terminal, whatever somebody made of it."""
    return user if user.isprintable() else ascii(user)


def _purge(args, options) -> Result:
    ended = _listing(options).purge(args.user)
    return Result({"ended": ended}, lambda values: f"{values['ended']} sessions ended.")


def _open(options: Mapping[str, str], create: bool = False, as_owner: bool = True) -> Store:
    """Open the sessions of the settings file; run by root, this goes on as their owner.

    :param as_owner: False if this process is their owner already.
    :raises Failed: if there are none. Nothing is made here unless *create* says so: what a command
        makes could be in the way of Apache's children.
    """
    kind, given = _kind(options), session_options.given()[0]
    directory = directory_of_store(given, kind)
    if directory is not None:
        if not create and not os.path.lexists(directory):
            raise _nothing_at(directory)
        if as_owner:
            owner.become(directory)
    # as the owner: a file of secrets may be readable for it alone
    given = dict(session_options.of_child().given)
    if not create and (missing := missing_file(given, kind)) is not None:
        raise _nothing_at(missing)
    store = open_store(kind, given, create=create)
    if not store.shared:
        raise Failed("MemorySession keeps sessions in each child, where no command reaches them")
    return store


def _kind(options: Mapping[str, str]) -> str:
    """Use *options*, and return the name of the store that they say."""
    session_options.use(options)
    return session_options.store_of(session_options.given()[1])


def _nothing_at(path: str) -> Failed:
    text = f"no sessions are stored in {path}: there is no such file or directory"
    real = os.path.realpath(path)
    if real.startswith(_TEMPORARY):
        top = next(top for top in _TEMPORARY if real.startswith(top)).rstrip("/")
        text += (
            f"; where systemd runs Apache with PrivateTmp, as on Debian, Apache's {top} is another"
            " directory than the one this command sees: set"
            " mod_python.session.database_directory to one outside of it"
        )
    else:
        text += "; Apache's children make it with the first session"
    return Failed(text)


def _listing(options: Mapping[str, str]) -> Store:
    store = _open(options)
    if not store.lists:
        raise ValueError("this store cannot tell which sessions it holds")
    return store
