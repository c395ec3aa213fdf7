"""A cache is bound to one configuration, by a stamp in it.

The stamp says for which database, table, columns or queries and for which ``images.root`` the
thumbnails were made, and by which settings file. A child claims the cache when it starts, before
its first request, and so do the commands that write. If the configuration is another one, the claim
empties the cache; if a second settings file names the cache, the claim is refused.

Only a process whose configuration is that of the settings file *now* may empty the cache, so a
child of the generation before, on its way out after a graceful restart, cannot. Where the
configuration stands in Apache's files alone, the start of the server decides instead: of two
configurations within one start, the second is refused.

Emptying is a few renames, so no reader sees half of it: first the stamp goes, then the directories,
then the new stamp comes. A process that is killed in between leaves a cache without a stamp, which
the next claim empties. The keeper deletes what was renamed away. A maker opens the directory of its
thumbnail before it checks the stamp (:meth:`handlers.cache.store.Store.write`): if that directory
is a new one, the old stamp is gone; if it is an old one, the thumbnail goes away with it.
"""

import contextlib
import functools
import hashlib
import json
import logging
import os
from dataclasses import asdict, dataclass

from handlers import locks, restart, settings, state_directory
from handlers.database import url as database_url

log = logging.getLogger(__name__)

_FORMAT = 1
_WAIT = 30.0
#: What a thumbnail depends on besides the row: where the row comes from.
_OPTIONS = (
    "lookup.table",
    "lookup.id",
    "lookup.path",
    "lookup.private",
    "lookup.focus_x",
    "lookup.focus_y",
    "lookup.query",
    "lookup.query_one",
    "lookup.encode_ids",
)
_MADE = ("private", "copies", "failures")
#: What earlier versions kept beside ``thumbs``.
_OLD_DIRECTORIES = ("private", "copies", "failures", "tmp")
_OLD_FILES = ("lock", "makers", "waiters", "sweeper", "sleepers", "round", "growth")


class Outdated(Exception):
    """Raised in a process that was started before the cache was given another configuration."""


@dataclass(frozen=True)
class _Stamp:
    """What the file says; *start* is the server's, see :func:`handlers.restart.server_start`."""

    configuration: str
    settings: str
    start: tuple[str, int] = ("", 0)


def holds(directory: str, options: settings.Settings) -> bool:
    """Tell whether the cache *directory* is bound to these *options* now."""
    found = _read(directory)
    return found is not None and _is_same(found, _wanted(options))


def claim(directory: str, options: settings.Settings, is_fresh: bool = False) -> None:
    """Bind the cache *directory* to these *options*, and empty it if it was bound to others.

    One process of all does it; the others wait until it is done.

    :param options: ``lookup.*`` and ``images.root``, and the settings file ``handlers.settings``.
    :param is_fresh: that the settings file was read a moment ago, perhaps by another user.
    :raises handlers.settings.BadSettings: if the cache is another configuration's.
    :raises Outdated: if this process is older than the configuration.
    :raises OSError: if the cache cannot be written.
    """
    wanted = _wanted(options)
    found = _read(directory)
    if found is not None and _is_same(found, wanted):
        return
    state_directory.ensure(directory)
    os.chmod(state_directory.path(directory), 0o700)
    with locks.held(state_directory.path(directory, "lock"), locks.key_offset("stamp"), _WAIT):
        found = _read(directory)
        if found is not None and _is_same(found, wanted):
            return
        if _is_from_file(directory, options):
            _check_file(directory, options, wanted, is_fresh)
        elif found is not None:
            _check_start(directory, wanted, found)
        if found is not None and found.settings not in ("", wanted.settings):
            _check_other(directory, wanted, found)
        if found is None or found.configuration != wanted.configuration:
            _empty(directory, found)
        _write(directory, wanted)


def fingerprint(options: settings.Settings) -> str:
    """Return what the configuration of a cache is known by; the password has no part in it.

    :raises handlers.errors.Misconfigured: for a value that makes no sense.
    :raises handlers.database.url.BadURL: for a database URL that cannot be understood.
    """
    return _fingerprint(
        options.get("lookup.database", ""),
        os.path.normpath(options.get("images.root", "")),
        tuple(settings.value(options, name) for name in _OPTIONS),
    )


def trash(directory: str) -> str:
    """Return where what was renamed away waits for its deletion."""
    return state_directory.path(directory, "emptied")


@functools.lru_cache(maxsize=64)
def _fingerprint(database: str, root: str, rest: tuple) -> str:
    url = str(database_url.parse(database)) if database else ""
    return hashlib.sha256(json.dumps([_FORMAT, url, root, *rest]).encode()).hexdigest()


def _wanted(options: settings.Settings) -> _Stamp:
    path = options.get("handlers.settings", "")
    return _Stamp(fingerprint(options), path and _real(path), _start(os.getpid()))


@functools.lru_cache(maxsize=64)
def _real(path: str) -> str:
    return os.path.realpath(path)


@functools.lru_cache(maxsize=1)
def _start(_pid: int) -> tuple[str, int]:
    return restart.server_start()


def _is_same(found: _Stamp, wanted: _Stamp) -> bool:
    return (found.configuration, found.settings) == (wanted.configuration, wanted.settings)


def _is_from_file(directory: str, options: settings.Settings) -> bool:
    """Tell whether the settings file itself names this cache."""
    path = options.get("handlers.settings")
    return bool(path) and _names(settings.read(path), directory)


def _names(options: settings.Settings, directory: str) -> bool:
    named = options.get("thumbnail.cache")
    return bool(named) and os.path.realpath(named) == os.path.realpath(directory)


def _check_file(directory: str, options: settings.Settings, wanted: _Stamp, is_fresh: bool) -> None:
    path = options["handlers.settings"]
    if fingerprint(settings.read(path)) != wanted.configuration:
        raise settings.BadSettings(_own_cache(directory, "another part of the site"))
    if not is_fresh and fingerprint(settings.read_again(path)) != wanted.configuration:
        raise Outdated(f"{path} has changed since this process was started: restart Apache")


def _check_other(directory: str, wanted: _Stamp, found: _Stamp) -> None:
    """Refuse a cache that another settings file still names."""
    try:
        os.stat(found.settings)
        other = settings.read_again(found.settings)
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, settings.BadSettings):
        # one that cannot be read may still be in use
        other = None
    if other is None or _names(other, directory):
        raise settings.BadSettings(
            f"thumbnail.cache {directory} is that of {found.settings}: give "
            f"{wanted.settings or 'this one'} a thumbnail.cache of its own"
        )


def _check_start(directory: str, wanted: _Stamp, found: _Stamp) -> None:
    if found.start == wanted.start or not wanted.start[0]:
        raise settings.BadSettings(_own_cache(directory, found.settings or "another configuration"))
    if found.start[0] == wanted.start[0] and found.start[1] > wanted.start[1]:
        raise Outdated("Apache's configuration has changed since this process was started")


def _own_cache(directory: str, owner: str) -> str:
    return (
        f"thumbnail.cache {directory} is that of {owner} with other options lookup.* or "
        "images.root: give this one a thumbnail.cache of its own"
    )


def _empty(directory: str, found: _Stamp | None) -> None:
    """Rename everything away that was made; the caller holds the lock."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_path(directory))
    away = os.path.join("emptied", os.urandom(16).hex())
    state_directory.ensure(directory, *away.split("/"))
    target = state_directory.path(directory, away)
    moved = [_moved(state_directory.path(directory, part), target) for part in _MADE]
    moved.append(_moved(os.path.join(directory, "thumbs"), target))
    if found is None and os.path.exists(os.path.join(directory, "lock")):
        for part in _OLD_DIRECTORIES:
            moved.append(_moved(os.path.join(directory, part), target, f"old-{part}"))
        for name in _OLD_FILES:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(directory, name))
    # what is counted and where a round stands belong to what is gone
    for name in ("round", "growth"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(state_directory.path(directory, name))
    if not any(moved):
        _remove_empty(target)
        return
    if found is None:
        why = "it has no stamp that tells for which configuration its thumbnails were made"
    else:
        by = f" by {found.settings}" if found.settings else ""
        why = f"its thumbnails were made{by} for another database, table, column or images.root"
    log.warning("cache %s emptied: %s", directory, why)


def _moved(path: str, target: str, name: str | None = None) -> bool:
    """Rename the directory *path* away; tell whether there was something in it."""
    try:
        with os.scandir(path) as entries:
            if next(entries, None) is None:
                return False
        os.rename(path, os.path.join(target, name or os.path.basename(path)))
    except FileNotFoundError:
        return False
    return True


def _remove_empty(path: str) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(path)
        os.rmdir(os.path.dirname(path))


def _path(directory: str) -> str:
    return state_directory.path(directory, "stamp")


def _read(directory: str) -> _Stamp | None:
    try:
        with open(_path(directory), encoding="utf-8") as file:
            values = json.load(file)
        return _Stamp(values["configuration"], values["settings"], tuple(values["start"]))
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError):
        # half of one is none: the next claim empties the cache
        return None


def _write(directory: str, wanted: _Stamp) -> None:
    os.makedirs(os.path.join(directory, "thumbs"), exist_ok=True)
    new = _path(directory) + ".new"
    with open(new, "w", encoding="utf-8", opener=state_directory.opener) as file:
        json.dump(asdict(wanted), file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, _path(directory))
