"""Where Apache's configuration and the settings file differ, and what the drop-in hides: logged.

The site part of the drop-in passes ``HANDLERS_CACHE``, ``HANDLERS_THUMBS`` and ``HANDLERS_IMAGES``
as the options ``thumbnail.cache``, ``thumbnail.url`` and ``images.url``. The settings file may hold
them, too: commands, and the child that sweeps the cache, read them there. Apache no longer serves
files of its DocumentRoot at these URLs.
"""

import functools
import logging
import os

from handlers import settings
from handlers.runtime import guarded

log = logging.getLogger(__name__)

#: What the gallery takes besides ``/``.
_OF_GALLERY = ("/favourites", "/signin", "/signout")
_DEFINES = {"thumbnail.url": "HANDLERS_THUMBS", "images.url": "HANDLERS_IMAGES"}
_OFF = "off"
# what was compared once is not said again; more sites than this in one process are rare
_SITES_KEPT = 256


def names_one_cache(req) -> bool:
    """Tell whether the drop-in and the settings file mean the same cache directory.

    They do if one of them names none. Where they differ, Apache looks for thumbnails in one place
    while commands and the keeper work in another. That is one error in the log of this process. A
    URL that differs, and a file that Apache no longer serves, are one warning each.

    :raises handlers.settings.BadSettings: if the settings file cannot be read.
    :raises handlers.runtime.guarded.Undecodable: for a path that is not UTF-8.
    """
    given = req.get_options()
    path = settings.file_of(given)
    in_file = settings.read(path) if path else {}
    cache = given.get("thumbnail.cache") or in_file.get("thumbnail.cache")
    uri = guarded.text(req, "uri")
    taken = [uri] if uri in _OF_GALLERY else []
    for name in _DEFINES:
        url = given.get(name)
        if url is not None:
            if url != in_file.get(name, url):
                _name_other_url(path, name, url)
            if url != _OFF:
                taken.append(url)
    for url in taken:
        _name_hidden(req.document_root(), url, cache)
    return path is None or _is_same_cache(path, cache)


@functools.lru_cache(maxsize=_SITES_KEPT)
def _is_same_cache(path: str, cache: str | None) -> bool:
    in_file = settings.read(path).get("thumbnail.cache")
    if cache is None or in_file is None or os.path.realpath(in_file) == os.path.realpath(cache):
        return True
    log.error(
        "thumbnail.cache is %s in %s, and HANDLERS_CACHE is %s in Apache's configuration: "
        "write the same directory in both, and restart Apache",
        *(in_file, path, cache),
    )
    return False


@functools.lru_cache(maxsize=_SITES_KEPT)
def _name_other_url(path: str, name: str, url: str) -> None:
    log.warning(
        "%s is %s in %s, and %s %s in Apache's configuration, which holds for requests: "
        "write the same in both, and restart Apache",
        *(name, settings.read(path)[name], path, _DEFINES[name]),
        "is not defined" if url == _OFF else f"is {url}",
    )


@functools.lru_cache(maxsize=_SITES_KEPT)
def _name_hidden(document_root: str, url: str, cache: str | None) -> None:
    # names are bytes of UTF-8, whatever the locale
    path = (document_root.rstrip("/") + url).encode("utf-8", "surrogateescape")
    thumbs = os.path.join(cache or "", "thumbs").encode("utf-8", "surrogateescape")
    if not os.path.lexists(path):
        return
    if cache is not None and os.path.realpath(path) == os.path.realpath(thumbs):
        # a link to what Apache serves there anyhow
        return
    log.warning(
        "%s is not served any more, as the handlers answer %s: rename it, or %s",
        *(path.decode("utf-8", "backslashreplace"), url),
        "do without HANDLERS_GALLERY"
        if url in _OF_GALLERY
        else "define another HANDLERS_THUMBS or HANDLERS_IMAGES",
    )
