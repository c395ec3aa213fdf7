"""Serve ``/images/<id>``: the original file of a picture, streamed by Apache.

Its options are ``images.*`` and ``lookup.*``, see :mod:`handlers.options`.
"""

import logging

from mod_python import apache

from handlers import faults, lookup, names, sending, settings, source, visitor
from handlers.runtime import guarded

log = logging.getLogger(__name__)

_CONTENT_TYPES = {
    "avif": "image/avif",
    "gif": "image/gif",
    "heic": "image/heic",
    "jfif": "image/jpeg",
    "jpe": "image/jpeg",
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

    Signed-in visitors get private pictures; for everybody else they are 404, as unknown ids are.
    A file whose name does not end as a picture's is offered for download, never shown.
    """
    options = settings.of(req)
    prefix = options.images.url
    above, uri = f"{prefix}/", guarded.text(req, "uri")
    if not prefix or not uri.startswith(above):
        return apache.HTTP_NOT_FOUND
    name = uri.removeprefix(above)
    id = names.id_of(name)
    if id is None:
        # encoded once instead of twice
        if not options.lookup.encode_ids or not names.has_name(name):
            return apache.HTTP_NOT_FOUND
        return sending.redirected(req, above + names.in_url(names.of(name)))
    try:
        row = visitor.visible_row(req, lookup.open(options), id)
        if row is None:
            return apache.HTTP_NOT_FOUND
        if row.private:
            req.headers_out["Cache-Control"] = "private, no-cache"
        root = settings.required(options, "images.root")
        with source.open_source(root, row.path) as file, source.read(root, row.path):
            # while nothing is on its way to the client yet
            file.read(1)
            faults.over(("images.root", root))
            content_type = _CONTENT_TYPES.get(row.path.rpartition(".")[2].lower())
            if content_type is None:
                req.headers_out["Content-Disposition"] = "attachment"
            # The path was checked when it was opened; by this name it cannot be another file now.
            opened = f"/proc/self/fd/{file.fileno()}"
            return sending.send_file(req, opened, content_type or "application/octet-stream")
    except (source.SourceMissing, source.SourceRefused) as error:
        log.warning("original %s: %s", name, error)
        return apache.HTTP_NOT_FOUND
