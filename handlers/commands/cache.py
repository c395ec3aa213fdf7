"""``python -m handlers cache``: count, purge, sweep and fill the cache, and sign URLs."""

import argparse
import functools
import json
import os
import sys
from collections import Counter

from handlers import lookup, making, settings, signing
from handlers.cache import directory, keeper
from handlers.cache.store import Store, purge
from handlers.cache.sweep import Sweep
from handlers.commands import owner, warming
from handlers.image import encode, geometry
from handlers.locks import LockTimeout

HELP = "stats, purge, sweep, warm the cache of thumbnails, or sign the url of one"
_BLOCK = 512
_PIECE = 10_000
_STEP = 0.5


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    parser.add_argument("--cache", metavar="DIR", help="instead of the option thumbnail.cache")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    stats = commands.add_parser("stats", help="count thumbnails and their bytes on the disk")
    stats.add_argument("--json", action="store_true", help="one object")
    stats.set_defaults(run=_stats)
    purging = commands.add_parser("purge", help="delete every size and format of pictures")
    purging.add_argument("ids", nargs="+", metavar="ID")
    purging.set_defaults(run=_purge)
    sweep = commands.add_parser("sweep", help="bring the cache within its limits now")
    sweep.set_defaults(run=_sweep)
    warm = commands.add_parser("warm", help="make thumbnails ahead, on all cores; resumable")
    warm.add_argument("ids", nargs="*", metavar="ID", help="- reads ids from standard input")
    warm.add_argument("--all", action="store_true", help="every id in the database")
    warm.add_argument("--sizes", help="instead of the option thumbnail.sizes")
    warm.add_argument("--formats", default="jpg", help="such as 'jpg webp avif' (jpg)")
    warm.add_argument("--processes", type=int, default=os.cpu_count(), help="at a time (CPUs)")
    warm.set_defaults(run=_warm)
    url = commands.add_parser("url", help="print the signed URL of a thumbnail of any size")
    url.add_argument("size", help="such as 300x200 or 300x200-crop")
    url.add_argument("ids", nargs="+", metavar="ID")
    url.add_argument("--format", help="jpg, png, webp or avif; without, the client's choice")
    url.set_defaults(run=_url)


def _stats(args, options) -> int:
    store = _store(args, options)
    found = {
        part: _count(store.part(part))
        for part in [*(f"thumbs/{size}" for size in store.sizes()), "copies", "failures"]
    }
    if args.json:
        print(json.dumps(found))
        return 0
    for part, count in found.items():
        formats = ", ".join(f"{number} {ext}" for ext, number in sorted(count["formats"].items()))
        print(f"{part:28} {count['files']:9} files {count['bytes'] / 2**20:10.1f} MB  {formats}")
    return 0


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


def _purge(args, options) -> int:
    print(f"{purge(_store(args, options).directory, args.ids)} thumbnails deleted.")
    return 0


def _sweep(args, options) -> int:
    store = _store(args, options)
    try:
        fd = keeper.lock(store.directory, 0)
    except LockTimeout:
        print("A child of the server is sweeping; waiting for it.", file=sys.stderr)
        fd = keeper.lock(store.directory, None)
    try:
        sweep = Sweep(store.directory, keeper.limits(options))
        while not sweep.step(_STEP):
            pass
    finally:
        os.close(fd)
    at = sweep.round
    print(
        f"{at.files} files, {at.bytes / 2**20:.1f} MB; "
        f"{at.deleted} deleted, {at.freed / 2**20:.1f} MB freed."
    )
    return 0


def _warm(args, options) -> int:
    sizes = (args.sizes or settings.required(options, "thumbnail.sizes")).split()
    formats = args.formats.split()
    for size in sizes:
        geometry.parse(size)
    for format in formats:
        encode.check(format)
    store = _store(args, options)
    pictures = lookup.open(options)
    if args.all:
        pictures.warm()
        ids = iter(pictures)
    elif args.ids == ["-"]:
        ids = (line.strip() for line in sys.stdin)
    else:
        ids = iter(args.ids)
    how = making.recipe(options)
    work = functools.partial(warming.warm, store.directory, sizes, formats, how, args.processes)
    return warming.run(pictures, ids, work, args.processes, len(pictures) if args.all else None)


def _url(args, options) -> int:
    name = f"{geometry.parse(args.size)}/%s" + (f".{args.format}" if args.format else "")
    if args.format:
        encode.check(args.format)
    key = signing.keys(settings.required(options, "thumbnail.keys"))[0]
    for id in args.ids:
        print(signing.url(name % id, key, options.get("thumbnail.url", "/thumbs")))
    return 0


def _store(args, options) -> Store:
    """Return the cache; run by root, this goes on as its owner."""
    path = args.cache or settings.required(options, "thumbnail.cache")
    owner.become(path)
    return Store(path)
