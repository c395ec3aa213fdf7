"""Serve ``/images/<id>``: the original file of a picture, streamed by Apache.

Options, as PythonOption or in settings.ini: ``images.url``, the part of the URL before the id,
``images.root`` and ``lookup.*`` as for :mod:`handlers.thumbnail`.
"""

import logging
import re

from mod_python import apache

from handlers import lookup, sending, settings, source, visitor
from handlers.mod_python import guarded

log = logging.getLogger(__name__)

_ID = re.compile(r"/([A-Za-z0-9_-]{1,128})")
_CONTENT_TYPES = {
    "avif": "image/avif",
    "gif": "image/gif",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "png": "image/png",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "webp": "image/webp",
}


@sending.get_only
def handler(req) -> int:
    """Answer with the picture's own file, or 304, 404, 405 or 503 as the thumbnail handler does.

    What is private is there for whoever is signed in, and for everybody else 404 as an unknown id.
    A file whose name does not end as a picture's is offered for download, never shown.
    """
    options = settings.of(req)
    prefix = options.get("images.url", "/images")
    uri = guarded.text(req, "uri")
    asked = _ID.fullmatch(uri.removeprefix(prefix)) if uri.startswith(prefix) else None
    if asked is None:
        return apache.HTTP_NOT_FOUND
    try:
        row = lookup.open(options)[asked[1]]
        if row.private:
            if not visitor.signed_in(req):
                return apache.HTTP_NOT_FOUND
            req.headers_out["Cache-Control"] = "private, no-cache"
        with source.open_source(settings.required(options, "images.root"), row.path) as file:
            content_type = _CONTENT_TYPES.get(row.path.rpartition(".")[2].lower())
            if content_type is None:
                req.headers_out["Content-Disposition"] = "attachment"
            # The path was checked when it was opened; by this name it cannot be another file now.
            opened = f"/proc/self/fd/{file.fileno()}"
            return sending.send_file(req, opened, content_type or "application/octet-stream")
    except KeyError:
        return apache.HTTP_NOT_FOUND
    except (source.SourceMissing, source.SourceRefused) as error:
        log.warning("original %s: %s", asked[1], error)
        return apache.HTTP_NOT_FOUND
