"""Serve ``/thumbs/<size>/<id>.<ext>``: what Apache did not find in the cache is made here, once.

Apache gives ``/thumbs/<size>/<id>`` the extension of the best format that the client accepts before
it looks for the file, so this handler sees no difference. Its options are ``thumbnail.*``,
``images.root`` and ``lookup.*``, see :mod:`handlers.options`.
"""

import contextlib
import logging
import os
import re
from collections.abc import Callable, Sequence
from urllib.parse import parse_qsl

from mod_python import apache

from handlers import (
    access,
    ahead,
    child,
    counters,
    error_picture,
    faults,
    lookup,
    making,
    names,
    sending,
    settings,
    signing,
    source,
    visitor,
    worker,
)
from handlers.cache import keeper, stamp
from handlers.cache.failures import FailedBefore
from handlers.cache.store import Store
from handlers.cache.turns import Busy, Turns
from handlers.image import geometry, libraries
from handlers.image.errors import ImageError
from handlers.locks import LockTimeout
from handlers.making import Asked
from handlers.options import unknown_sizes
from handlers.runtime import guarded

log = logging.getLogger(__name__)

CONTENT_TYPES = {
    "avif": "image/avif",
    "jpg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
}

_NAME = re.compile(r"([0-9]+x[0-9]+(?:-crop)?)/([A-Za-z0-9_%-]{1,200})\.([a-z]{3,4})")
_MADE = apache.OK, None
_REFUSED = apache.HTTP_NOT_FOUND, None
_LATER = apache.HTTP_SERVICE_UNAVAILABLE, sending.RETRY_AFTER
#: What can come of a request: status, and the seconds after which another try may help. The names
#: are those of the counters, and stand in the access log.
_STATUSES = {
    "made": _MADE,
    "found": _MADE,
    "waited": _MADE,
    "refused": _REFUSED,
    "failed": _LATER,
    "turned_away": _LATER,
    "unavailable": _LATER,
}
# row and source may change while a thumbnail is made, but hardly that often
_ATTEMPTS = 3


@sending.get_only
def handler(req) -> int:
    """Answer a request for a thumbnail that is not in the cache (or was not, a moment ago).

    200 or 304 with the validators that Apache will send for it from now on; 404 for a size that is
    neither in the list nor signed, an unknown id or any other spelling, for a private picture while
    nobody is signed in, and for a source that is missing, refused or known to fail; 405 for a
    method other than GET and HEAD; 503 with Retry-After while the database is away and memory does
    not know the id, while too many thumbnails are being made, and when the cache cannot be written.
    """
    options = settings.of(req)
    store = Store(settings.required(options, "thumbnail.cache"))
    # Where Apache looked for it, so that both of them always mean the same file.
    path = guarded.text(req, "filename") + (guarded.text(req, "path_info") or "")
    name = store.name(path)
    if name is None and not path.startswith(store.directory):
        faults.tell(
            log,
            logging.WARNING,
            ("outside", store.directory),
            f"thumbnail.cache is {store.directory}, and Apache looks for thumbnails elsewhere, in "
            f"{path!r}: HANDLERS_CACHE must be the same directory",
            key=store.directory,
        )
    asked = parse(name) if name else None
    if asked is None:
        return _redirected(req, options)
    if not _exists(asked, guarded.text(req, "args"), options):
        return apache.HTTP_NOT_FOUND
    status, retry_after = apache.HTTP_SERVICE_UNAVAILABLE, sending.RETRY_AFTER
    if _is_bound(store.directory, options):
        pictures = lookup.open(options)
        keeper.start(store.directory, options, pictures)
        for _ in range(_ATTEMPTS):
            row = visitor.visible_row(req, pictures, names.id_of(asked.id))
            if row is None:
                return _with_picture(req, apache.HTTP_NOT_FOUND, asked, options)
            own = Store(store.directory, "private") if row.private else store
            try:
                outcome, later = _made(own, asked, row, pictures, options)
            except making.RowChanged:
                # made in vain: row and source are looked at again
                continue
            if outcome != "made":
                # those are counted where they are made
                counters.add(f"thumbnails_{outcome}")
            sending.note(req, outcome)
            if later:
                req.register_cleanup(ahead.begin, later)
            status, retry_after = _STATUSES[outcome]
            if status == apache.OK:
                with contextlib.suppress(FileNotFoundError):
                    return _sent(req, own, asked, row.private)
                # purged or swept between the two: made again
                status, retry_after = apache.HTTP_SERVICE_UNAVAILABLE, sending.RETRY_AFTER
                continue
            break
    if retry_after is not None:
        sending.retry_after(req, retry_after)
    return _with_picture(req, status, asked, options)


def _sent(req, store: Store, asked: Asked, is_private: bool) -> int:
    path = store.path(asked.name)
    if is_private:
        # raises before anything is set if it was purged
        os.stat(path)
        req.headers_out["Cache-Control"] = "private, no-cache"
    return sending.send_file(req, path, CONTENT_TYPES[asked.ext])


def _is_bound(directory: str, options: settings.Settings) -> bool:
    """Tell whether the cache is this configuration's, or let it be so if it is nobody's yet.

    :raises handlers.settings.BadSettings: if it is another one's.
    """
    try:
        if not stamp.holds(directory, options):
            stamp.claim(directory, options)
        return True
    except stamp.Outdated as error:
        faults.tell_rarely(log, logging.WARNING, f"thumbnail.cache {directory}: {error}")
    except (OSError, LockTimeout) as error:
        why = access.why_unwritable(directory, error)
        faults.tell(log, logging.ERROR, directory, f"thumbnail.cache {why}", key=why)
    return False


def parse(name: str) -> Asked | None:
    """Take a name such as ``200x200/12345.jpg`` apart; None if it is not spelt as one."""
    found = _NAME.fullmatch(name)
    if found is None or found[3] not in libraries.FORMATS or names.id_of(found[2]) is None:
        return None
    return Asked(*found.groups())


def _redirected(req, options: settings.Settings) -> int:
    """Send a client that has encoded an id once to the URL in which it is encoded twice."""
    above, uri = options.thumbnail.url + "/", guarded.text(req, "uri")
    if not options.lookup.encode_ids or not uri.startswith(above):
        return apache.HTTP_NOT_FOUND
    size, _, last = uri.removeprefix(above).partition("/")
    id, _, ext = last.rpartition(".")
    ending = f".{ext}" if id and ext in libraries.FORMATS else ""
    id = last.removesuffix(ending)
    if not names.has_name(id):
        return apache.HTTP_NOT_FOUND
    asked = Asked(size, names.of(id), ext if ending else "jpg")
    args = guarded.text(req, "args")
    if not _exists(asked, args, options):
        return apache.HTTP_NOT_FOUND
    query = f"?{args}" if args else ""
    return sending.redirected(req, f"{above}{size}/{names.in_url(asked.id)}{ending}{query}")


def _exists(asked: Asked, query: str | None, options: settings.Settings) -> bool:
    """Tell whether the size is in the list, or signed; what else the query holds is ignored."""
    if asked.size in (options.thumbnail.sizes or ()):
        return True
    keys = options.thumbnail.keys
    signatures = [value for key, value in parse_qsl(query or "") if key == "s"]
    if not keys or len(signatures) != 1:
        return False
    try:
        wanted = geometry.parse(asked.size)
    except geometry.BadGeometry:
        return False
    largest = options.thumbnail.largest
    return max(wanted[:2]) <= largest and signing.is_signed(asked.name, signatures[0], keys)


def _made(
    store: Store,
    asked: Asked,
    row: lookup.Row,
    pictures: lookup.Lookup,
    options: settings.Settings,
) -> tuple[str, list[ahead.Work]]:
    """Make the thumbnail; return what came of it, a key of :data:`_STATUSES`, and what can be made
    ahead now.
    """
    later: list[ahead.Work] = []

    def keep(slot: int, sizes: Sequence[str]) -> None:
        for other in (asked._replace(size=size) for size in sizes):
            check = making.still_true(store, other, row, pictures, options)
            how, until, site = making.recipe(options), ahead.too_late(), counters.directory()
            makers = _makers(options)
            later.append(ahead.Work(store, other, row, how, makers, slot, check, until, site))

    return _outcome(store, asked, row, pictures, options, keep), later


def _outcome(
    store: Store,
    asked: Asked,
    row: lookup.Row,
    pictures: lookup.Lookup,
    options: settings.Settings,
    keep: Callable[[int, Sequence[str]], None],
) -> str:
    check = making.still_true(store, asked, row, pictures, options)
    try:
        if store.has(asked.name):
            return "found"
        how, turns = making.recipe(options), _turns(store, options)
        beside = _beside(store, asked, options)
        is_own = making.make(store, asked, row, how, turns, check, beside, keep)
        for subject in (("images.root", how.root), store.directory):
            faults.over(subject)
        return "made" if is_own else "waited"
    except FailedBefore:
        return "refused"
    except (source.SourceMissing, source.SourceRefused, ImageError) as error:
        log.warning("thumbnail %s: %s", asked.name, error)
        return "refused"
    except (worker.WorkerDied, worker.WorkerTimeout) as error:
        log.error(
            "thumbnail %s: %s: replace %r if it is wanted, or raise thumbnail.cpu or "
            "thumbnail.memory; it is given up after thumbnail.tries attempts",
            *(asked.name, error, row.path),
        )
        return "failed"
    except stamp.Outdated as error:
        faults.tell_rarely(log, logging.WARNING, f"thumbnail.cache {store.directory}: {error}")
        return "unavailable"
    except (Busy, LockTimeout) as error:
        faults.tell_rarely(log, logging.WARNING, f"thumbnails turned away: {error}")
        return "turned_away"
    except source.RootUnavailable as error:
        faults.tell(log, logging.ERROR, ("images.root", error.args[0]), str(error))
        return "unavailable"
    except worker.NotStarted as error:
        faults.tell_rarely(
            log, logging.ERROR, f"no process can be started to make thumbnails: {error}"
        )
        return "failed"
    except OSError as error:
        why = access.why_unwritable(store.directory, error)
        faults.tell(log, logging.ERROR, store.directory, f"thumbnail.cache {why}", key=why)
        return "unavailable"


def _beside(store: Store, asked: Asked, options: settings.Settings) -> list[str]:
    """Return the sizes that are wanted together with the one *asked* for, and not made yet."""
    own = options.thumbnail
    if asked.size not in (own.together or ()):
        return []
    # a part of the site may have other sizes than the settings file
    unknown = unknown_sizes(own.together, own.sizes, own.keys, own.largest)
    return [
        size
        for size in dict.fromkeys(own.together)
        if size not in (asked.size, *unknown) and not store.has(asked._replace(size=size).name)
    ]


def _makers(options: settings.Settings) -> int:
    return options.thumbnail.makers or os.cpu_count() or 1


def _turns(store: Store, options: settings.Settings) -> Turns:
    makers = _makers(options)
    waiters, soon = options.thumbnail.waiters, 0.0
    if waiters is None:
        requests = child.most_requests()
        waiters, soon = max(1, requests - -(-requests // 4) - makers), options.thumbnail.soon
    return Turns(store.directory, makers, waiters, options.thumbnail.wait, soon)


def _with_picture(req, status: int, asked: Asked, options: settings.Settings) -> int:
    """Return *status*, or send the picture that stands for it, if there is one."""
    path = options.thumbnail.error_picture
    data = error_picture.of(path, asked.size, asked.ext) if path else None
    if data is None:
        return status
    req.status = status
    req.content_type = CONTENT_TYPES[asked.ext]
    req.headers_out["Cache-Control"] = "no-store"
    req.set_content_length(len(data))
    req.write(data, 0)
    return apache.OK
