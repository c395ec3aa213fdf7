"""Serve ``/``: one plain page of thumbnails, 60 at a time, to see with one's eyes that it works.

``/?page=N`` are all pictures, ``/?show=favourites&page=N`` the visitor's favourites. Private
pictures are there for whoever is signed in.

Options, as PythonOption or in settings.ini: ``thumbnail.sizes`` (the page uses the first one, and
the one of twice its sides for dense screens if there is such), ``thumbnail.url`` and
``images.url`` (where thumbnails and originals are; ``off``: no originals), ``lookup.*``, and those
of :mod:`handlers.visitor`.
"""

import math
import re

from mod_python import apache

from handlers import lookup, page, sending, settings, visitor
from handlers.image import geometry
from handlers.mod_python import guarded

PAGE = 60

_ARGS = re.compile(r"(show=favourites&?)?(?:page=([1-9][0-9]{0,8}))?")


@sending.get_only
def handler(req) -> int:
    """Answer with the page that the query names, 404 for one that does not exist."""
    asked = _ARGS.fullmatch(guarded.text(req, "args") or "")
    if asked is None:
        return apache.HTTP_NOT_FOUND
    options = settings.of(req)
    pictures = lookup.open(options)
    number = int(asked[2] or 1)
    start = (number - 1) * PAGE
    user = visitor.signed_in(req)
    marked = visitor.favourite_ids(req)
    if asked[1]:
        total = len(marked)
        ids = marked[start : start + PAGE]
    else:
        ids, total = pictures.page(start, PAGE, private=user is not None)
    last = max(1, math.ceil(total / PAGE))
    if number > last:
        return apache.HTTP_NOT_FOUND
    small, double = _sizes(options)
    images = options.get("images.url", "off")
    view = page.View(
        ids=ids,
        total=total,
        number=number,
        last=last,
        favourites_only=bool(asked[1]),
        marked=frozenset(marked),
        user=user,
        can_sign_in=bool(options.get("gallery.users")),
        thumbs=options.get("thumbnail.url", "/thumbs"),
        images=None if images == "off" else images,
        small=small,
        double=double,
    )
    return page.send(req, page.gallery(view))


def _sizes(options: dict[str, str]) -> tuple[str, str | None]:
    listed = settings.required(options, "thumbnail.sizes").split()
    width, height, crop = geometry.parse(listed[0])
    double = str(geometry.Geometry(width * 2, height * 2, crop))
    return listed[0], double if double in listed else None
