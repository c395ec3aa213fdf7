"""``modpython-handlers cache``: count, purge, sweep and fill the cache, and sign URLs."""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable

from handlers import invalidation, lookup, making, names, settings, signing
from handlers.cache import directory, keeper, purges, stamp
from handlers.cache.store import Store, purge
from handlers.cache.sweep import Sweep
from handlers.commands import owner, warming
from handlers.commands.progress import Progress
from handlers.commands.result import Failed, Result
from handlers.image import encode, geometry
from handlers.locks import LockTimeout
from handlers.lookup import placeholders

HELP = "stats, purge, sweep, warm the cache of thumbnails, or sign the url of one"
_BLOCK = 512
_PIECE = 10_000
_PURGED_AT_ONCE = 100
_STEP = 0.5
# seconds to wait for a child that writes the first snapshot, as long as "lookup warm" does
_SNAPSHOT_WAIT = 600.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    parser.add_argument("--cache", metavar="DIR", help="instead of the option thumbnail.cache")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    stats = commands.add_parser("stats", help="count thumbnails and their bytes on the disk")
    stats.set_defaults(run=_stats)
    purging = commands.add_parser("purge", help="delete every size and format of pictures")
    purging.add_argument("ids", nargs="+", metavar="ID")
    purging.add_argument(
        "--everywhere", action="store_true", help="on all machines, by the table cache.purges"
    )
    purging.set_defaults(run=_purge)
    sweep = commands.add_parser("sweep", help="bring the cache within its limits now")
    sweep.set_defaults(run=_sweep)
    warm = commands.add_parser("warm", help="make thumbnails ahead, on all cores; resumable")
    which = warm.add_mutually_exclusive_group(required=True)
    # a list by default, so that argparse takes no ids for none given
    which.add_argument(
        "ids", nargs="*", metavar="ID", default=[], help="- reads ids from standard input"
    )
    which.add_argument("--all", action="store_true", help="every id in the database")
    warm.add_argument("--sizes", help="instead of the option thumbnail.sizes")
    warm.add_argument("--formats", default="jpg", help="such as 'jpg webp avif' (jpg)")
    warm.add_argument("--processes", type=_at_least_1, help="at a time (CPUs)")
    warm.add_argument(
        "--placeholders",
        action="store_true",
        help="fill the column lookup.placeholder as well, where it is NULL",
    )
    warm.set_defaults(run=_warm)
    url = commands.add_parser("url", help="print the signed URL of a thumbnail of any size")
    url.add_argument("size", help="such as 300x200 or 300x200-crop")
    url.add_argument("ids", nargs="+", metavar="ID")
    url.add_argument("--format", help="jpg, png, webp or avif; without, the client's choice")
    url.set_defaults(run=_url)


def _at_least_1(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number


def _stats(args, options) -> Result:
    store = _store(args, options)
    return Result(
        {
            part: _count(store.part(part))
            for part in [*(f"thumbs/{size}" for size in store.sizes()), "copies", "failures"]
        },
        _stats_text,
    )


def _stats_text(found: dict[str, dict]) -> str:
    lines = []
    for part, count in found.items():
        formats = ", ".join(f"{number} {ext}" for ext, number in sorted(count["formats"].items()))
        size = count["bytes"] / 2**20
        lines.append(f"{part:28} {count['files']:9} files {size:10.1f} MB  {formats}".rstrip())
    return "\n".join(lines)


def _count(path: str) -> dict:
    files, size, formats, place = 0, 0, Counter(), 0
    while place is not None:
        try:
            piece = directory.read(path, place, _PIECE)
        except FileNotFoundError:
            break
        for name in piece.names:
            try:
                size += os.stat(os.path.join(path, name)).st_blocks * _BLOCK
            except FileNotFoundError:
                continue
            files += 1
            formats[name.rpartition(".")[2]] += 1
        place = piece.next
    return {"files": files, "bytes": size, "formats": dict(formats)}


def _purge(args, options) -> Result:
    directory = _store(args, options).directory
    if args.everywhere:
        purges.announce(options, args.ids)
    progress, deleted = Progress(args.terminal, "pictures", len(args.ids)), 0
    for start in range(0, len(args.ids), _PURGED_AT_ONCE):
        ids = args.ids[start : start + _PURGED_AT_ONCE]
        deleted += purge(directory, ids)
        progress.add(len(ids))
    args.terminal.clear()
    # by then no child answers from what it remembered of them
    time.sleep(invalidation.NOTICED)
    noun = "thumbnail" if deleted == 1 else "thumbnails"
    return Result({"deleted": deleted}, lambda values: f"{values['deleted']} {noun} deleted.")


def _sweep(args, options) -> Result:
    store = _store(args, options)
    try:
        fd = keeper.lock(store.directory, 0)
    except LockTimeout:
        args.terminal.say("A child of the server is sweeping; waiting for it.")
        fd = keeper.lock(store.directory, None)
    try:
        sweep = Sweep(store.directory, keeper.limits(options), _rows(store, options))
        before = sweep.round.files
        progress = Progress(args.terminal, "files", before or None)
        while not sweep.step(_STEP):
            # a second pass, which deletes, looks at them once more
            progress.add(max(0, sweep.round.files - progress.done))
        args.terminal.clear()
    finally:
        os.close(fd)
    at = sweep.round
    return Result(
        {"files": at.files, "bytes": at.bytes, "deleted": at.deleted, "freed": at.freed},
        lambda values: (
            f"{at.files} files, {at.bytes / 2**20:.1f} MB; "
            f"{at.deleted} deleted, {at.freed / 2**20:.1f} MB freed."
        ),
    )


def _warm(args, options) -> Result:
    wanted = args.sizes.split() if args.sizes else settings.required(options, "thumbnail.sizes")
    sizes = sorted(wanted, key=lambda size: max(geometry.parse(size)[:2]), reverse=True)
    formats = args.formats.split()
    for format in formats:
        encode.check(format)
    recipe = making.recipe(options)
    store = _store(args, options)
    options = {**options, "thumbnail.cache": store.directory}
    stamp.claim(store.directory, options, is_fresh=True)
    if args.placeholders:
        # says now what would fail later
        placeholders.Column(options).close()
    pictures, total = lookup.open(options), None
    if args.all:
        total = pictures.load(_SNAPSHOT_WAIT)
        ids: Iterable[str] = iter(pictures)
    elif args.ids == ["-"]:
        ids = (line.strip() for line in sys.stdin if line.strip())
    else:
        ids, total = args.ids, len(args.ids)
    processes = args.processes or os.cpu_count() or 1
    plan = warming.Plan(
        store.directory, sizes, formats, recipe, processes, options, args.placeholders
    )
    counts = warming.run(pictures, ids, plan, total, args.terminal)
    return Result(
        counts,
        (
            "{pictures} pictures: {made} thumbnails made, {present} there already, {failed} failed"
            + (", {placeholders} placeholders" if args.placeholders else "")
        ).format_map,
        1 if counts["failed"] else 0,
    )


def _url(args, options) -> Result:
    size = geometry.parse(args.size)
    if args.format:
        encode.check(args.format)
    encoded = options.lookup.encode_ids
    for id in args.ids:
        if not (names.has_name(id) if encoded else names.is_plain(id)):
            cure = "it is too long" if encoded else "set lookup.encode_ids = on"
            raise Failed(f"{id!r} cannot stand in a URL: {cure}")
    ending = f".{args.format}" if args.format else ""
    found = [f"{size}/{names.of(id)}{ending}" for id in args.ids]
    prefix = options.thumbnail.url
    if str(size) in (options.thumbnail.sizes or ()):
        args.terminal.say(f"{size} is in thumbnail.sizes: its URLs need no signature")
        return Result((f"{prefix}/{names.in_url(name)}" for name in found), str)
    largest = options.thumbnail.largest
    if max(size[:2]) > largest:
        raise Failed(
            f"{size} would be answered 404: signed sizes have at most {largest} pixels a side "
            "(thumbnail.largest)"
        )
    key = settings.required(options, "thumbnail.keys")[0]
    return Result((signing.url(name, key, prefix) for name in found), str)


def _rows(store: Store, options) -> lookup.Lookup | None:
    """Return what the files of the cache are to be compared with, None if it is not bound to it."""
    if "lookup.database" in options and stamp.holds(store.directory, options):
        return lookup.open(options)
    return None


def _store(args, options: settings.Settings) -> Store:
    """Return the cache; run by root, this goes on as its owner."""
    path = args.cache or settings.required(options, "thumbnail.cache")
    if not os.path.isdir(path):
        raise Failed(f"{path}: no such directory; modpython-handlers setup makes the cache")
    owner.become(path)
    return Store(path)
