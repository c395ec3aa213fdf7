"""Serve ``/thumbs/<size>/<id>.<ext>``: what Apache did not find in the cache is made here, once.

Options, as PythonOption or in settings.ini:

``thumbnail.cache``    the cache directory; the drop-in's Alias must name its ``thumbs``
``thumbnail.sizes``    the sizes that exist, separated by blanks, as ``200x200 400x400-crop``
``thumbnail.wait``     seconds to wait for another child that makes the same thumbnail (10)
``images.root``        the directory that the paths in the database are relative to
``lookup.*``           the database, see :mod:`handlers.lookup`
"""

import functools
import logging
import os
import re
import time
from typing import NamedTuple

from mod_python import apache

from handlers import lookup, sending, settings, source, visitor
from handlers.image import geometry
from handlers.image import thumbnail as image
from handlers.image.errors import ImageError
from handlers.locks import LockTimeout
from handlers.thumbnail_cache import ThumbnailCache

log = logging.getLogger(__name__)

CONTENT_TYPES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}

_NAME = re.compile(r"([0-9]+x[0-9]+(?:-crop)?)/([A-Za-z0-9_-]{1,128})\.(jpg|png|webp)")
_RETRY_AFTER = 3


class Asked(NamedTuple):
    """The thumbnail that a URL names."""

    size: str
    id: str
    ext: str

    @property
    def name(self) -> str:
        """The thumbnail's name in the cache, ``200x200/12345.jpg``."""
        return f"{self.size}/{self.id}.{self.ext}"


@sending.get_only
def handler(req) -> int:
    """Answer a request for a thumbnail that is not in the cache (or was not, a moment ago).

    200 or 304 with the validators that Apache will send for it from now on; 404 for a size that is
    not in the list, an unknown id or any other spelling, and for a source that is missing or
    refused; 405 for a method other than GET and HEAD; 503 with Retry-After while the database is
    away and memory does not know the id, while another child takes too long over the same
    thumbnail, and when the cache cannot be written.
    """
    options = settings.of(req)
    cache = ThumbnailCache(settings.required(options, "thumbnail.cache"))
    # Where Apache looked for it, so that both of them always mean the same file.
    name = cache.name(req.filename + (req.path_info or ""))
    asked = parse(name, options.get("thumbnail.sizes", "")) if name else None
    if asked is None:
        return apache.HTTP_NOT_FOUND
    wait = settings.number(options, "thumbnail.wait", 10)
    try:
        row = lookup.open(options)[asked.id]
        if row.private:
            if not visitor.signed_in(req):
                return apache.HTTP_NOT_FOUND
            # where Apache does not look
            cache = ThumbnailCache(cache.directory, folder="private")
            req.headers_out["Cache-Control"] = "private, no-cache"
        path, _ = cache.get_or_make(asked.name, lambda: _make(asked, row, options), wait)
        return sending.send_file(req, path, CONTENT_TYPES[asked.ext])
    except KeyError:
        return apache.HTTP_NOT_FOUND
    except (source.SourceMissing, source.SourceRefused, ImageError) as error:
        log.warning("thumbnail %s: %s", asked.name, error)
        return apache.HTTP_NOT_FOUND
    except LockTimeout:
        log.warning("thumbnail %s: another child has not finished it in %g s", asked.name, wait)
        return sending.unavailable(req, _RETRY_AFTER)
    except OSError as error:
        log.error("thumbnail cache %s cannot be written: %s", cache.directory, error.strerror)
        return sending.unavailable(req, _RETRY_AFTER)


def parse(name: str, sizes: str) -> Asked | None:
    """Take a name such as ``200x200/12345.jpg`` apart; None if no such thumbnail can exist.

    :param sizes: the option ``thumbnail.sizes``.
    """
    found = _NAME.fullmatch(name)
    if found is None or found[1] not in _sizes(sizes):
        return None
    return Asked(*found.groups())


@functools.lru_cache(maxsize=16)
def _sizes(text: str) -> frozenset[str]:
    try:
        return frozenset(str(geometry.parse(size)) for size in text.split())
    except ValueError as error:
        raise settings.BadSettings(f"thumbnail.sizes: {error}") from error


def _make(asked: Asked, row: lookup.Row, options: dict[str, str]) -> tuple[bytes, float]:
    started = time.monotonic()
    focus = None if row.focus_x is None or row.focus_y is None else (row.focus_x, row.focus_y)
    with source.open_source(settings.required(options, "images.root"), row.path) as file:
        made = image.make(file, geometry.parse(asked.size), asked.ext, focus=focus)
        mtime = os.fstat(file.fileno()).st_mtime
    log.info(
        "thumbnail %s made from %dx%d %s in %.0f ms",
        asked.name,
        made.source_width,
        made.source_height,
        made.source_format,
        (time.monotonic() - started) * 1000,
    )
    return made.data, mtime
