"""Serve ``/``: plain pages of thumbnails, 60 at a time, and a page for each picture.

``/?page=N`` are all pictures, ``/?show=favourites&page=N`` the visitor's favourites;
``&picture=ID`` shows one of them, large, with its neighbours. Only signed-in
visitors see private pictures.

Options, as PythonOption or in settings.ini: ``thumbnail.sizes`` (the gallery uses the first one,
and the one of twice its sides for dense screens if there is such; the page of a picture uses the
largest), ``thumbnail.url`` and ``images.url`` (where thumbnails and originals are; ``off``: no
originals), ``lookup.*``, and those of :mod:`handlers.visitor`.
"""

import functools
import html
import re
from typing import NamedTuple
from urllib.parse import parse_qsl

from handlers import faults, lookup, names, page, sending, settings, visitor
from handlers.errors import Misconfigured, Unavailable
from handlers.image import geometry
from handlers.runtime import guarded

_NUMBER = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_LARGEST_QUERY = 8192


class Asked(NamedTuple):
    """What a query asks for."""

    number: int
    favourites_only: bool
    #: the name of one picture (:mod:`handlers.names`); None: a page of the gallery
    picture: str | None


@sending.get_only
def handler(req) -> int:
    """Answer with the page that the query names, 404 for one that does not exist."""
    asked = parse(guarded.text(req, "args") or "")
    if asked is None:
        return page.send_not_found(req)
    options = settings.of(req)
    small, double, large = _sizes(settings.required(options, "thumbnail.sizes"))
    user, marked = _visitor(req, asked)
    images = options.images.url
    frame = page.Frame(
        thumbs=html.escape(options.thumbnail.url),
        images=html.escape(images) if images else None,
        small=small,
        double=double,
        large=large,
        user=user,
        can_sign_in=options.gallery.users is not None,
        favourites_only=asked.favourites_only,
    )
    shelf = Shelf(lookup.open(options), user is not None, marked, asked)
    text = _one(frame, shelf, asked) if asked.picture else _page(frame, shelf, asked.number)
    return page.send_not_found(req) if text is None else page.send(req, text)


def _visitor(req, asked: Asked) -> tuple[str | None, list[str]]:
    """Return who is signed in, and the favourites; nobody and none while the sessions are away.

    Public pages do without a session then. The page of the favourites cannot.
    """
    try:
        return visitor.signed_in(req), visitor.favourite_ids(req)
    except (Misconfigured, Unavailable) as error:
        if asked.favourites_only:
            raise
        faults.report(error)
        return None, []


def parse(query: str) -> Asked | None:
    """Return what *query* asks for, None if there can be no such page.

    Of a key that comes twice the first counts; keys that others have added are ignored.
    """
    given: dict[str, str] = {}
    for key, value in parse_qsl(query[:_LARGEST_QUERY], keep_blank_values=True):
        given.setdefault(key, value)
    number = _NUMBER.fullmatch(given.get("page", "1"))
    show = given.get("show")
    if number is None or show not in (None, "favourites") or given.get("picture") == "":
        return None
    return Asked(int(number[0]), show is not None, given.get("picture"))


class Shelf:
    """The pictures that one visitor pages through, in their order."""

    def __init__(self, pictures: lookup.Lookup, private: bool, marked: list[str], asked: Asked):
        self._pictures = pictures
        self._private = private
        self._favourites = marked if asked.favourites_only else None
        self._marked = frozenset(marked)

    def ids(self, start: int, count: int) -> tuple[list[str], int]:
        """Return *count* ids from the place *start* on, and how many there are in all."""
        if self._favourites is None:
            return self._pictures.page(start, count, private=self._private)
        return self._favourites[start : start + count], len(self._favourites)

    def picture(self, id: str) -> page.Picture:
        """Return the picture *id*; one that the visitor may not see is as one that is not there.

        A favourite that memory does not know is not there, either, while the database is away.
        """
        try:
            # so that neither time nor an outage tells a private id from an unknown one
            row = self._pictures.get(id) if self._private else self._pictures.public(id)
        except lookup.Unavailable:
            row = None
        if row is None or (row.private and not self._private):
            return page.Picture(id, None, marked=id in self._marked)
        return page.Picture(id, row.path, row.private, id in self._marked, row.placeholder)


def _page(frame: page.Frame, shelf: Shelf, number: int) -> str | None:
    ids, total = shelf.ids((number - 1) * page.LENGTH, page.LENGTH)
    last = page.last_page(total)
    if number > last:
        return None
    return page.gallery(frame, [shelf.picture(id) for id in ids], total, number, last)


def _one(frame: page.Frame, shelf: Shelf, asked: Asked) -> str | None:
    id = names.id_of(asked.picture)
    picture = shelf.picture(id) if id is not None else None
    if picture is None or picture.path is None:
        return None
    # The page in the address may be one off by now, as rows come and go.
    start = max(0, asked.number - 2) * page.LENGTH
    ids, total = shelf.ids(start, 3 * page.LENGTH)
    if picture.id not in ids:
        return page.one(frame, picture, min(asked.number, page.last_page(total)), None, {})
    at = ids.index(picture.id)
    neighbours = {
        rel: (ids[other], 1 + (start + other) // page.LENGTH)
        for rel, other in (("prev", at - 1), ("next", at + 1))
        if 0 <= other < len(ids)
    }
    place = start + at
    return page.one(frame, picture, 1 + place // page.LENGTH, (place + 1, total), neighbours)


@functools.lru_cache(maxsize=16)
def _sizes(listed: tuple[str, ...]) -> tuple[str, str | None, str]:
    """Return the size of thumbnails in the gallery, the same for dense screens, the largest."""
    sizes = [geometry.parse(size) for size in listed]
    width, height, crop = sizes[0]
    double = str(geometry.Geometry(width * 2, height * 2, crop))
    # whole pictures before those that are cut off
    large = max(sizes, key=lambda size: (not size[2], size[0] * size[1]))
    return listed[0], double if double in listed else None, str(large)
