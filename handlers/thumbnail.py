"""Serve ``/thumbs/<size>/<id>.<ext>``: what Apache did not find in the cache is made here, once.

Apache gives ``/thumbs/<size>/<id>`` the extension of the best format that the client accepts before
it looks for the file, so this handler sees no difference. The options, given as PythonOption or in
settings.ini, are those of :mod:`handlers.making` and :mod:`handlers.lookup`, and

``thumbnail.cache``          the cache directory; the drop-in's Alias must name its ``thumbs``
``thumbnail.sizes``          the sizes that exist, separated by blanks, as ``200x200 400x400-crop``
``thumbnail.keys``           keys that sign the URLs of other sizes, see :mod:`handlers.signing`
``thumbnail.largest``        pixels of the longer side of such a size, at most (2000)
``thumbnail.makers``         thumbnails made at a time on this machine (its CPUs)
``thumbnail.waiters``        requests that may wait for them (half of the server's)
``thumbnail.wait``           seconds that a request waits in total (10)
``thumbnail.error_picture``  a picture to send, in the size asked for, with a status from 400 on
"""

import contextlib
import functools
import logging
import os
import re
from urllib.parse import parse_qsl

from mod_python import apache

from handlers import (
    child,
    error_picture,
    lookup,
    making,
    sending,
    settings,
    signing,
    source,
    visitor,
    worker,
)
from handlers.cache import keeper
from handlers.cache.failures import FailedBefore
from handlers.cache.store import Store
from handlers.cache.turns import Busy, Turns
from handlers.image import encode, geometry
from handlers.image.errors import ImageError
from handlers.locks import LockTimeout
from handlers.making import Asked
from handlers.mod_python import guarded

log = logging.getLogger(__name__)

CONTENT_TYPES = {
    "avif": "image/avif",
    "jpg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
}

_NAME = re.compile(r"([0-9]+x[0-9]+(?:-crop)?)/([A-Za-z0-9_-]{1,128})\.([a-z]{3,4})")
_RETRY_AFTER = 3


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
    keeper.start(store.directory, options)
    # Where Apache looked for it, so that both of them always mean the same file.
    name = store.name(guarded.text(req, "filename") + (guarded.text(req, "path_info") or ""))
    asked = parse(name) if name else None
    if asked is None or not _exists(asked, guarded.text(req, "args"), options):
        return apache.HTTP_NOT_FOUND
    try:
        row = lookup.open(options)[asked.id]
    except KeyError:
        return _with_picture(req, apache.HTTP_NOT_FOUND, asked, options)
    if row.private:
        if not visitor.signed_in(req):
            return _with_picture(req, apache.HTTP_NOT_FOUND, asked, options)
        store = Store(store.directory, "private")
        req.headers_out["Cache-Control"] = "private, no-cache"
    status, retry_after = _made(store, asked, row, options)
    if status == apache.OK:
        with contextlib.suppress(FileNotFoundError):
            return sending.send_file(req, store.path(asked.name), CONTENT_TYPES[asked.ext])
        # purged between the two
        status, retry_after = apache.HTTP_SERVICE_UNAVAILABLE, _RETRY_AFTER
    if retry_after is not None:
        sending.retry_after(req, retry_after)
    return _with_picture(req, status, asked, options)


def parse(name: str) -> Asked | None:
    """Take a name such as ``200x200/12345.jpg`` apart; None if it is not spelt as one."""
    found = _NAME.fullmatch(name)
    return Asked(*found.groups()) if found and found[3] in encode.FORMATS else None


def _exists(asked: Asked, query: str | None, options: dict[str, str]) -> bool:
    """Tell whether the size is in the list, or signed; what else the query holds is ignored."""
    if asked.size in _sizes(options.get("thumbnail.sizes", "")):
        return True
    keys = options.get("thumbnail.keys")
    signatures = [value for key, value in parse_qsl(query or "") if key == "s"]
    if not keys or len(signatures) != 1:
        return False
    try:
        wanted = geometry.parse(asked.size)
        if max(wanted[:2]) > settings.number(options, "thumbnail.largest", signing.LARGEST):
            return False
        return signing.is_signed(asked.name, signatures[0], signing.keys(keys))
    except geometry.BadGeometry:
        return False
    except signing.BadKey as error:
        raise settings.BadSettings(f"thumbnail.keys: {error}") from error


@functools.lru_cache(maxsize=16)
def _sizes(text: str) -> frozenset[str]:
    try:
        return frozenset(str(geometry.parse(size)) for size in text.split())
    except ValueError as error:
        raise settings.BadSettings(f"thumbnail.sizes: {error}") from error


def _made(
    store: Store, asked: Asked, row: lookup.Row, options: dict[str, str]
) -> tuple[int, float | None]:
    """Make the thumbnail; return the status, and the seconds after which another try may help."""
    try:
        if not store.has(asked.name):
            how, turns = making.recipe(options), _turns(store, options)
            making.make(store, asked, row.path, making.focus_of(row), how, turns)
        return apache.OK, None
    except FailedBefore:
        return apache.HTTP_NOT_FOUND, None
    except (source.SourceMissing, source.SourceRefused, ImageError) as error:
        log.warning("thumbnail %s: %s", asked.name, error)
        return apache.HTTP_NOT_FOUND, None
    except (worker.WorkerDied, worker.WorkerTimeout) as error:
        log.error("thumbnail %s: %s", asked.name, error)
    except (Busy, LockTimeout) as error:
        sending.log_rarely(log, logging.WARNING, f"thumbnails turned away: {error}")
    except OSError as error:
        sending.log_rarely(
            log, logging.ERROR, f"thumbnail cache {store.directory} cannot be written: {error}"
        )
    return apache.HTTP_SERVICE_UNAVAILABLE, _RETRY_AFTER


def _turns(store: Store, options: dict[str, str]) -> Turns:
    makers = settings.number(options, "thumbnail.makers", os.cpu_count() or 1)
    waiters = settings.number(options, "thumbnail.waiters", max(2, child.most_requests() // 2))
    wait = settings.number(options, "thumbnail.wait", 10)
    return Turns(store.directory, max(1, int(makers)), int(waiters), wait)


def _with_picture(req, status: int, asked: Asked, options: dict[str, str]) -> int:
    """Return *status*, or send the picture that stands for it, if there is one."""
    path = options.get("thumbnail.error_picture")
    data = error_picture.of(path, asked.size, asked.ext) if path else None
    if data is None:
        return status
    req.status = status
    req.content_type = CONTENT_TYPES[asked.ext]
    req.headers_out["Cache-Control"] = "no-store"
    req.set_content_length(len(data))
    req.write(data, 0)
    return apache.OK
