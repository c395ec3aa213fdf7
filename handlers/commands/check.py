"""``modpython-handlers check``: find what an admin can get wrong, and say what to type."""

import argparse
import contextlib
import http.client
import itertools
import os
import pwd
import re
import socket
import stat
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from handlers import access, making, names, settings, source, state_directory, worker
from handlers.cache import stamp
from handlers.cache.turns import Turns
from handlers.commands import checks, owner, place
from handlers.commands.apache import PLACES, SYSTEMD, Apache, find
from handlers.commands.result import Failed, Result
from handlers.database import url as database_url
from handlers.errors import Misconfigured, Unavailable
from handlers.image import libraries
from handlers.image.errors import ImageError
from handlers.lookup import options as lookup_options
from handlers.lookup.database import Database
from handlers.lookup.row import Row, Skipped

HELP = "look at everything that can be wrong, and say what to type"

_SITE_PART = "handlers-site.conf"
_DEFINES = {
    "HANDLERS_CACHE": "thumbnail.cache",
    "HANDLERS_THUMBS": "thumbnail.url",
    "HANDLERS_IMAGES": "images.url",
}
_LEAST_MOD_WSGI = (4, 9)
_HEALTH = "/handlers-health"
_SAMPLE = 10
# seconds: for an answer of the site, for the whole sample, and of that for makers that are busy
_TIMEOUT = 20.0
_SAMPLE_TIME = 30.0
_BUSY_TIME = 5.0
# what may be wrong with a picture
_FAULTS = (
    *(source.SourceMissing, source.SourceRefused, ImageError, OSError),
    *(worker.WorkerDied, worker.WorkerTimeout),
)
_LEAST_ROOM = 1 << 30
# what keeps a file for the length of one process, or in memory
_POOR = {"tmpfs", "ramfs", "overlay", "nfs", "nfs4", "cifs"}
_UNITS = ("/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system")
_PID_FILES = ("/run/apache2/apache2.pid", "/run/httpd/httpd.pid")


class Finding(NamedTuple):
    """What was looked at, whether it is well, and what was found or is to be typed."""

    part: str
    is_well: bool
    text: str


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--url", metavar="URL", help="where the site answers: http://example.org")
    parser.add_argument(
        "--apache", metavar="DIR", help="Apache's configuration (/etc/apache2 or /etc/httpd)"
    )
    parser.add_argument(
        "--without-apache",
        action="store_true",
        help="leave Apache's configuration out, where it is not this machine's own",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, options: settings.Settings) -> Result:
    """Look at one thing after the other, as Apache's user where this process is root's.

    The exit status is 1 if one of them is not well.

    :raises Failed: if ``--apache`` names a directory that is no configuration of Apache's.
    """
    found = list(_settings(options))
    apache = None if args.without_apache else find(args.apache)
    if apache is None:
        if not args.without_apache:
            text = "none on this machine; its files were not looked at"
            found.append(Finding("Apache", True, text))
        if os.path.isdir(options.get("thumbnail.cache", "")):
            owner.become(options["thumbnail.cache"])
    else:
        found += _server(apache, options)
        if os.geteuid() == 0:
            with contextlib.suppress(KeyError):
                user = pwd.getpwnam(apache.user)
                found += _readable(options["handlers.settings"], user)
                owner.become_user(user.pw_uid, user.pw_gid)
    found += _cache(options)
    found += _pictures(options)
    rows: list[tuple[str, Row]] = []
    found += _table(options, rows)
    unwell = {finding.part for finding in found if not finding.is_well}
    # what cannot be read at all is told once, and not for each row
    tried: dict[str, Exception | None] = {}
    if options.get("images.root") and rows and "pictures" not in unwell:
        tried = _tried(options, rows, "cache" not in unwell)
        found += _sample(options, tried)
    if args.url:
        public = [id for id, row in rows if not row.private and not tried.get(id)]
        found += _site(args.url.rstrip("/"), options, public[:1], unwell)
    status = int(not all(finding.is_well for finding in found))
    return Result((finding._asdict() for finding in found), _text, status)


def _text(finding: dict) -> str:
    return f"{'ok   ' if finding['is_well'] else 'WRONG'} {finding['part']}: {finding['text']}"


def _settings(options: settings.Settings) -> Iterator[Finding]:
    path = options["handlers.settings"]
    mode = os.stat(path).st_mode
    if mode & stat.S_IROTH and settings.holds_secret(options):
        yield Finding("settings", False, f"everybody can read {path}: chmod 640 {path}")
    else:
        yield Finding("settings", True, path)
    for name in ("lookup.database", "images.root", "thumbnail.sizes"):
        if not options.get(name):
            yield Finding("settings", False, f"{name} is not set: write it into {path}")


def _readable(path: str, user: pwd.struct_passwd) -> Iterator[Finding]:
    """Tell whether Apache's *user* may read the settings file, which each child does."""
    closed = place.unreadable(user.pw_uid, user.pw_gid, [path])
    if closed == path:
        cure = f"chgrp {user.pw_name} {path} && chmod 640 {path}"
        yield Finding("settings", False, f"{user.pw_name} may not read {path}: {cure}")
    elif closed:
        yield Finding(
            "settings", False, f"{user.pw_name} may not enter {closed}: chmod a+x {closed}"
        )


def _server(apache: Apache, options: settings.Settings) -> Iterator[Finding]:
    module = apache.modules.get("wsgi")
    if module:
        try:
            checks.check_python(module)
            version = checks.version_of(module)
            if version and version < _LEAST_MOD_WSGI:
                wanted, own = (".".join(map(str, v)) for v in (_LEAST_MOD_WSGI, version))
                cure = "apt install libapache2-mod-wsgi-py3, or pip install 'mod_wsgi>=6.1'"
                text = f"{module} is mod_wsgi {own}, and {wanted} is needed: {cure}"
                yield Finding("mod_wsgi", False, text)
            else:
                own = ".".join(map(str, version or ())) or "of an unknown version"
                text = f"{own}, {module}, for Python {checks.python_of(module)}"
                yield Finding("mod_wsgi", True, text)
        except Failed as error:
            yield Finding("mod_wsgi", False, str(error))
    elif "python" in apache.modules:
        yield Finding("mod_python", True, apache.modules["python"])
    else:
        yield Finding(
            "mod_wsgi", False, "Apache loads neither mod_wsgi nor mod_python: a2enconf handlers"
        )
    yield from _drop_in(apache, options)
    yield from _overrides(apache, options)
    yield from (Finding("mod_wsgi", False, text) for text in checks.forbidden_embedding(apache))
    if apache.directory in PLACES:
        # the unit of the system is of the system's Apache
        yield from _private_tmp(apache, options)


def _drop_in(apache: Apache, options: settings.Settings) -> Iterator[Finding]:
    """Compare the Defines before each Include of the site part with the settings file."""
    path, found = options["handlers.settings"], False
    defined: dict[str, str] = {}
    for directive in apache.directives:
        arguments = directive.arguments
        if directive.is_named("Define") and arguments:
            defined[arguments[0]] = arguments[1] if len(arguments) > 1 else ""
        elif directive.is_named("UnDefine") and arguments:
            defined.pop(arguments[0], None)
        elif directive.is_named("Include") and _is_of(path, arguments, defined):
            found = True
            yield from _differences(dict(defined), options)
    if not found:
        yield Finding("drop-in", False, f"no site part names {path}: a2enconf handlers-site")


def _is_of(path: str, arguments: list[str], defined: dict[str, str]) -> bool:
    """Tell whether what is included is the site part of the settings file *path*."""
    own = defined.get("HANDLERS_SETTINGS", "")
    is_site_part = bool(arguments) and arguments[0].endswith(_SITE_PART)
    return is_site_part and os.path.realpath(own) == os.path.realpath(path)


def _differences(defined: dict[str, str], options: settings.Settings) -> Iterator[Finding]:
    is_well = True
    for define, name in _DEFINES.items():
        there, here = defined.get(define), options.get(name)
        if there is not None and here is not None and there.rstrip("/") != here.rstrip("/"):
            is_well = False
            yield Finding(
                "drop-in", False, f"{define} is {there}, and {name} is {here}: make them one"
            )
    if is_well:
        yield Finding(
            "drop-in", True, f"thumbnails below {defined.get('HANDLERS_THUMBS', '/thumbs')}"
        )


def _overrides(apache: Apache, options: settings.Settings) -> Iterator[Finding]:
    """Name each AllowOverride that lets a .htaccess rule over what Apache serves of the cache."""
    thumbs = os.path.join(options.get("thumbnail.cache") or "/", "thumbs")
    is_well = True
    for directive in apache.named("AllowOverride"):
        places = [argument for name, argument in directive.sections if name == "directory"]
        path = apache.path(places[-1].strip('"')) if places else "/"
        within = os.path.commonpath((os.path.realpath(path), os.path.realpath(thumbs)))
        # the site part has None for the cache; the section of a longer path comes after it
        is_later = within in map(os.path.realpath, (thumbs, os.path.dirname(thumbs)))
        if is_later and [text.lower() for text in directive.arguments] != ["none"]:
            is_well = False
            yield Finding(
                "AllowOverride",
                False,
                f"{directive.file}:{directive.line} lets .htaccess files rule over {path}, and "
                "Apache looks for them at each thumbnail: write AllowOverride None",
            )
    if is_well:
        yield Finding("AllowOverride", True, "no .htaccess is looked for in the cache")


def _private_tmp(apache: Apache, options: settings.Settings) -> Iterator[Finding]:
    """Name a directory below /tmp that Apache's children see otherwise than commands do."""
    unit = f"{apache.service}.service"
    if not _is_run_by_systemd(unit):
        return
    text = ""
    for directory in _UNITS:
        with contextlib.suppress(OSError), open(os.path.join(directory, unit)) as file:
            text = file.read()
            break
    is_private = re.search(r"(?mi)^\s*PrivateTmp\s*=\s*(true|yes|on|1)\s*$", text) is not None
    for name in ("thumbnail.cache", "lookup.snapshot", "mod_python.session.database_directory"):
        path = options.get(name, "")
        if is_private and re.match(r"/(?:var/)?tmp(?:/|$)", path):
            yield Finding(
                "PrivateTmp",
                False,
                f"{unit} has a /tmp of its own, so commands do not see {name} {path}: move it",
            )
    if is_private:
        yield Finding("PrivateTmp", True, f"{unit} has a /tmp of its own")


def _is_run_by_systemd(unit: str) -> bool:
    """Tell whether Apache runs as that *unit* of systemd; one that does not run will do so."""
    if not os.path.isdir(SYSTEMD):
        return False
    for path in _PID_FILES:
        with contextlib.suppress(OSError, ValueError):
            with open(path, encoding="ascii") as file:
                pid = int(file.read())
            with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as file:
                return f"/{unit}" in file.read()
    return True


def _cache(options: settings.Settings) -> Iterator[Finding]:
    directory = options.get("thumbnail.cache")
    if not directory:
        return
    state = state_directory.path(directory)
    try:
        os.listdir(directory)
        for place in (directory, os.path.join(directory, "thumbs"), state):
            if place == directory or os.path.isdir(place):
                access.check_writable(place)
    except OSError as error:
        yield Finding("cache", False, access.why_unwritable(error.filename or directory, error))
        return
    if os.path.isdir(state) and os.stat(state).st_mode & 0o077:
        text = f"others may enter {state}, where private thumbnails are: chmod 700 {state}"
        yield Finding("cache", False, text)
    room = os.statvfs(directory)
    free = room.f_bavail * room.f_frsize
    kind = _file_system(directory)
    text = f"{directory} on {kind}, {free / 2**30:.1f} GB free"
    limit = options.cache.bytes
    if free < _LEAST_ROOM and limit is None:
        yield Finding("cache", False, f"{text}: set cache.bytes")
    elif kind in _POOR:
        yield Finding("cache", kind == "overlay", f"{text}: a local disk is what it wants")
    else:
        yield Finding("cache", True, text)
    if "lookup.database" in options and not stamp.holds(directory, options):
        yield Finding(
            "cache", True, f"{directory} is not bound to these settings yet: restart Apache"
        )


def _file_system(path: str) -> str:
    """Return the type of the file system that *path* lies on, as /proc/mounts names it."""
    best, kind = "", "an unknown file system"
    real = os.path.realpath(path)
    with open("/proc/mounts", encoding="utf-8", errors="replace") as file:
        for line in file:
            _, place, name, *_ = line.split(" ")
            place = place.replace("\\040", " ")
            if (real + "/").startswith(place.rstrip("/") + "/") and len(place) >= len(best):
                best, kind = place, name
    return kind


def _pictures(options: settings.Settings) -> Iterator[Finding]:
    root = options.get("images.root")
    if not root:
        return
    try:
        source.check_root(root)
        if source.is_empty(root):
            yield Finding("pictures", False, f"images.root {root} is empty: is it mounted?")
            return
        yield Finding("pictures", True, f"{root}, made small by {', '.join(_libraries())}")
    except source.RootUnavailable as error:
        yield Finding("pictures", False, str(error))


def _libraries() -> Sequence[str]:
    """Return what makers decode and scale with; what is installed if that cannot be tried."""
    try:
        bounds = worker.Bounds(_SAMPLE_TIME, _SAMPLE_TIME, 1 << 30)
        return worker.call(libraries.told, bounds).answer["libraries"]
    except (worker.WorkerDied, worker.WorkerTimeout, OSError):
        return libraries.installed()


def _table(options: settings.Settings, rows: list[tuple[str, Row]]) -> Iterator[Finding]:
    """Read the first rows of the table into *rows*."""
    if not options.get("lookup.database"):
        return
    try:
        read = lookup_options.from_mapping(options)
        database = Database(read)
        with contextlib.closing(database):
            rows += itertools.islice(database.rows(Skipped(read.encode_ids)), _SAMPLE)
    except (Misconfigured, Unavailable) as error:
        name = database_url.parse(options["lookup.database"])
        yield Finding("database", False, f"{name}: {error}")
        return
    text = "its rows can be read" if rows else "the table has no rows that can be used"
    yield Finding("database", bool(rows), f"{read.database}: {text}")


def _tried(
    options: settings.Settings, rows: list[tuple[str, Row]], has_cache: bool
) -> dict[str, Exception | None]:
    """Make a thumbnail of each of *rows*, and drop it; return what is wrong with each, by id.

    It is done in processes with limits on memory and time, as for a request: whatever is in a file,
    the command goes on. The last ones are left out where it takes long.
    """
    recipe, cache, turns = making.recipe(options), None, None
    if has_cache and (cache := options.get("thumbnail.cache")):
        makers = options.thumbnail.makers or os.cpu_count() or 1
        turns = Turns(cache, makers, None, _BUSY_TIME)
    deadline = time.monotonic() + _SAMPLE_TIME
    tried: dict[str, Exception | None] = {}
    for id, row in rows:
        if time.monotonic() >= deadline:
            break
        tried[id] = None
        try:
            making.try_out(cache, row, recipe, turns)
        except _FAULTS as error:
            tried[id] = error
    return tried


def _sample(options: settings.Settings, tried: dict[str, Exception | None]) -> Iterator[Finding]:
    """Tell what is wrong with the pictures that were *tried*: a line for each cause."""
    root = options["images.root"]
    faults = {id: error for id, error in tried.items() if error is not None}
    if len(faults) == len(tried) > 1 and all(
        isinstance(error, source.SourceMissing) for error in faults.values()
    ):
        id, error = next(iter(faults.items()))
        text = (
            f"none of {len(tried)} files is there, as {id}: {error}: is images.root {root} right?"
        )
        yield Finding("sample", False, text)
        return
    ids: dict[str, list[str]] = {}
    for id, error in faults.items():
        ids.setdefault(str(error), []).append(id)
    for text, those in ids.items():
        yield Finding("sample", False, f"{', '.join(those)}: {text}")
    if not faults:
        yield Finding("sample", True, f"{len(tried)} pictures exist and can be decoded")


def _site(
    url: str, options: settings.Settings, ids: list[str], unwell: set[str]
) -> Iterator[Finding]:
    """Ask the site for its health, and for the thumbnail of the first of *ids*, if there is one.

    :param unwell: the parts that have a line which says what is wrong; that the site suffers from
        it is not said again.
    """
    # without HANDLERS_STATUS, or from another machine, nobody tells the health
    looks = {_HEALTH: (200, 403, 404)}
    sizes = options.thumbnail.sizes
    if ids and sizes:
        name = names.in_url(names.of(ids[0]))
        looks[f"{options.thumbnail.url}/{sizes[0]}/{name}.jpg"] = (200,)
    for path, right in looks.items():
        try:
            status = _status(url + path)
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, socket.gaierror):
                reason = f"this machine does not know that host ({reason}): add it to /etc/hosts"
            yield Finding("site", False, f"{url}{path}: {reason}")
            return
        is_well, advice = status in right, ""
        if path == _HEALTH and status in right[1:]:
            advice = ", so it is off or closed to this machine, as it may be"
        elif status >= 500 and unwell:
            is_well, advice = True, f", as is to be expected: see {', '.join(sorted(unwell))}"
        elif not is_well:
            advice = ": the error log says why"
        yield Finding("site", is_well, f"{url}{path} answers {status}{advice}")


def _status(url: str) -> int:
    request = urllib.request.Request(url, headers={"User-Agent": "modpython-handlers"})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
