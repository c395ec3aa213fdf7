"""The HTML of the gallery, of the page of one picture, and of the sign-in form.

Style and script lie beside this module in ``page.css`` and ``page.js``. They stand in each
page, and the Content-Security-Policy allows nothing but them, by their hashes.
"""

import base64
import functools
import hashlib
import html
import math
import pathlib
import re
import unicodedata
from typing import NamedTuple
from urllib.parse import quote

from mod_python import apache

from handlers import html as pictures_html
from handlers import names
from handlers.image import geometry

#: pictures on a page of the gallery
LENGTH = 60

# Columns of a caption that surely fit below the narrowest thumbnail; a wide letter takes two.
_CAPTION_FITS = 12
# pages named on each side of the one that is shown
_NEIGHBOURS = 1

_SUFFIX = re.compile(r"(?<=.)\.[A-Za-z][A-Za-z0-9]{1,4}$", re.DOTALL)
# surrogates stand for bytes that are not UTF-8; control characters would be lost in HTML
_UNPRINTABLE = re.compile("[\ud800-\udfff\0-\x1f\x7f-\x9f]")
_PLACE = re.compile(
    r"/(?:\?(show=favourites&)?page=([1-9][0-9]{0,8})(?:&picture=[A-Za-z0-9_.~%-]+)?)?"
    r"(?:#[A-Za-z0-9_.~%-]+)?",
    re.ASCII,
)


def _part(name: str) -> tuple[str, str]:
    """Return a part of each page, and how the policy names it."""
    text = pathlib.Path(__file__).with_name(name).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return text, f"'sha256-{digest}'"


_STYLE, _STYLE_SOURCE = _part("page.css")
_SCRIPT, _SCRIPT_SOURCE = _part("page.js")
_POLICY = (
    "default-src 'none'; img-src 'self' data:; form-action 'self'; connect-src 'self'; "
    f"frame-ancestors 'none'; base-uri 'none'; style-src {_STYLE_SOURCE}; "
    f"script-src {_SCRIPT_SOURCE}"
)


class Frame(NamedTuple):
    """What all pages that one visitor sees of one site have in common."""

    #: URL prefix of thumbnails, fit for HTML
    thumbs: str
    #: the same of originals, None if they are not published
    images: str | None
    #: sizes of thumbnails: in the gallery, the same for dense screens, and of one picture
    small: str
    double: str | None
    large: str
    #: name of the user who is signed in
    user: str | None
    #: whether there is anybody who could sign in
    can_sign_in: bool
    #: only the visitor's favourites are shown
    favourites_only: bool


class Picture(NamedTuple):
    """One picture as the visitor sees it."""

    id: str
    #: as the database has it; None: there is no such picture, or not for this visitor
    path: str | None
    private: bool = False
    #: whether it is one of the visitor's favourites
    marked: bool = False
    #: as the database has it, for :func:`handlers.html.read_placeholder`
    placeholder: str | None = None

    @property
    def caption(self) -> str:
        """The file's name without folder and suffix; the id if there is no file."""
        name = (self.path or "").rpartition("/")[2] or self.id
        if self.path is not None:
            name = _SUFFIX.sub("", name)
        return name if name.isprintable() else _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", name)


def send(req, text: str, status: int = apache.HTTP_OK) -> int:
    """Answer with a page, which no cache may keep for anybody else, unless it is a 404."""
    req.status = status
    req.content_type = "text/html; charset=utf-8"
    req.headers_out["Content-Security-Policy"] = _POLICY
    req.headers_out["X-Content-Type-Options"] = "nosniff"
    if status != apache.HTTP_NOT_FOUND:
        req.headers_out["Cache-Control"] = "private, no-cache"
    body = text.encode()
    req.set_content_length(len(body))
    if not req.header_only:
        req.write(body, 0)
    return apache.OK


def send_not_found(req) -> int:
    """Answer 404 with a page that leads to the gallery."""
    text = message("Not found", "There is no such page or picture here.")
    return send(req, text, apache.HTTP_NOT_FOUND)


def back_to(place: str, favourites: int) -> str:
    """Return *place* if it is a page of the gallery, else the first one.

    :param favourites: how many the visitor has: of their pages it is the last one at most.
    """
    found = _PLACE.fullmatch(place)
    if found is None:
        return "/"
    last = last_page(favourites)
    if found[1] and int(found[2]) > last:
        return f"/?{found[1]}page={last}"
    return place


def last_page(total: int) -> int:
    """Return the number of the last page of *total* pictures; there is always one."""
    return max(1, math.ceil(total / LENGTH))


def gallery(frame: Frame, pictures: list[Picture], total: int, number: int, last: int) -> str:
    """Return the page *number* of *last*, with its *pictures* of *total* in all."""
    what = "Favourites" if frame.favourites_only else "Pictures"
    here = html.escape(_address(frame, number))
    items = "\n".join(_item(frame, picture, here) for picture in pictures)
    return _document(
        f"{what}, page {number} of {last}",
        f"""<header>
<h1>{what}: {total}, page {number} of {last}</h1>
{_visitor_links(frame)}
</header>
<main>
<ul class="tiles">
{items}
</ul>
</main>
{_pages(frame, number, last)}""",
    )


def one(
    frame: Frame,
    picture: Picture,
    number: int,
    place: tuple[int, int] | None,
    neighbours: dict[str, tuple[str, int]],
) -> str:
    """Return the page of one picture.

    :param number: the page of the gallery that it belongs to.
    :param place: which one it is of how many, if that is known.
    :param neighbours: the ids of ``prev`` and ``next``, each with its page, as far as there are.
    """
    id, caption = _quoted(picture.id), html.escape(picture.caption)
    there = html.escape(_address(frame, number))
    star = _star(picture, id, caption, f"{there}&amp;picture={id}#star-{id}", "beside")
    links = [f'<a data-key="Escape" href="{there}#p-{id}">Back to the pictures</a>']
    for rel, key, text in (
        ("prev", "ArrowLeft", "Previous"),
        ("next", "ArrowRight", "Next"),
    ):
        if rel in neighbours:
            other, page = neighbours[rel]
            address = f"{html.escape(_address(frame, page))}&amp;picture={_quoted(other)}"
            links.append(f'<a rel="{rel}" data-key="{key}" href="{address}">{text}</a>')
        else:
            links.append(f"<span>{text}</span>")
    if place is not None:
        links.append(f"<span>{place[0]} of {place[1]}</span>")
    if frame.images is not None:
        links.append(f'<a href="{frame.images}/{names.in_url(names.of(picture.id))}">Original</a>')
    source = thumbnail_url(frame, frame.large, picture)
    return _document(
        picture.caption,
        f"""<header>
<h1 dir="auto">{caption}</h1>
{_visitor_links(frame)}
</header>
<nav class="bar">{" ".join(links)}
{star}</nav>
<main>
<figure class="one">{_placeholder(picture, frame.large)}<img src="{source}" alt="{caption}">\
{_private_mark(picture)}</figure>
</main>""",
    )


def sign_in_form(fault: str = "") -> str:
    """Return the form to sign in, with what was wrong with the last attempt."""
    alert = f'<p role="alert">{html.escape(fault)}</p>' if fault else ""
    return _document(
        "Sign in",
        f"""<main>
<h1>Sign in</h1>
{alert}
<form class="sheet" method="post" action="/signin">
<label>Name <input name="user" autocomplete="username" required></label>
<label>Password
<input name="password" type="password" autocomplete="current-password" required></label>
<button>Sign in</button>
</form>
<p><a href="/">Back to the pictures</a></p>
</main>""",
    )


def message(title: str, sentence: str) -> str:
    """Return a page that says one thing and leads to the gallery."""
    return _document(
        title,
        f"""<main>
<h1>{html.escape(title)}</h1>
<p role="alert">{html.escape(sentence)}</p>
<p><a href="/">To the pictures</a></p>
</main>""",
    )


def thumbnail_url(frame: Frame, size: str, picture: Picture) -> str:
    """Return the URL of the picture's thumbnail, fit for HTML.

    JPEG knows no transparency, so what may have it is asked for as WebP.
    """
    suffix = (picture.path or "").rpartition(".")[2].lower()
    ext = "jpg" if suffix in ("jpg", "jpeg", "jpe") else "webp"
    return f"{frame.thumbs}/{size}/{names.in_url(names.of(picture.id))}.{ext}"


def _visitor_links(frame: Frame) -> str:
    links = [
        '<a href="/">All pictures</a>'
        if frame.favourites_only
        else '<a href="/?show=favourites&amp;page=1">Favourites</a>'
    ]
    if frame.user is not None:
        links.append(
            f'<form method="post" action="/signout"><span>{html.escape(frame.user)}</span> '
            "<button>Sign out</button></form>"
        )
    elif frame.can_sign_in:
        links.append('<a href="/signin">Sign in</a>')
    return "\n".join(links)


def _item(frame: Frame, picture: Picture, here: str) -> str:
    # Ids and paths come from a database that others fill.
    id, name = _quoted(picture.id), picture.caption
    caption = html.escape(name)
    title = f' title="{caption}"' if _columns(name) > _CAPTION_FITS else ""
    star = _star(picture, id, caption, f"{here}#star-{id}", "star")
    label = f'<span class="caption" dir="auto"{title} aria-hidden="true">{caption}</span>'
    if picture.path is None:
        return f"""<li><div class="tile"><span class="ground">Not here any more</span>{label}</div>
{star}</li>"""
    source = thumbnail_url(frame, frame.small, picture)
    double = frame.double and thumbnail_url(frame, frame.double, picture)
    srcset = f' srcset="{source} 1x, {double} 2x"' if double else ""
    return f"""<li><a class="tile" id="p-{id}" href="{here}&amp;picture={id}">\
<span class="ground">{_placeholder(picture, frame.small)}\
<img src="{source}"{srcset} alt="{caption}" loading="lazy">\
{_private_mark(picture)}</span>{label}</a>
{star}</li>"""


def _star(picture: Picture, id: str, caption: str, back: str, kind: str) -> str:
    """Return the form that marks a picture; all texts are fit for HTML."""
    mark, pressed = ("off", "true") if picture.marked else ("on", "false")
    return f"""<form class="{kind}" method="post" action="/favourites">\
<input type="hidden" name="back" value="{back}"><input type="hidden" name="mark" value="{mark}">\
<button id="star-{id}" name="id" value="{names.of(picture.id)}" \
aria-label="Favourite: {caption}" aria-pressed="{pressed}"></button></form>"""


def _placeholder(picture: Picture, size: str) -> str:
    """Return the blurred picture to lie below a thumbnail of *size* while that is loaded."""
    found = pictures_html.read_placeholder(picture.placeholder)
    if found is None:
        return ""
    width, height, crop = geometry.parse(size)
    kind = "placeholder crop" if crop else "placeholder"
    if not crop:
        # its own proportions are rounded, and good enough for a moment
        scale = min(width / found.width, height / found.height)
        width, height = round(found.width * scale), round(found.height * scale)
    return f'<img class="{kind}" src="{found.url}" width="{width}" height="{height}" alt="">'


def _private_mark(picture: Picture) -> str:
    return '<span class="private">Private</span>' if picture.private else ""


def _pages(frame: Frame, number: int, last: int) -> str:
    """Return links to the first and the last page, those near *number*, and dots between them."""
    if last == 1:
        return ""
    links, before = [], 0
    for page in _named_pages(number, last):
        if page > before + 1:
            links.append("<span>…</span>")
        before = page
        if page == number:
            links.append(f'<b aria-current="page">{page}</b>')
        else:
            links.append(f'<a href="{html.escape(_address(frame, page))}">{page}</a>')
    for rel, page, text in (
        ("next", number + 1, "Next page"),
        ("prev", number - 1, "Previous page"),
    ):
        if 1 <= page <= last:
            link = f'<a rel="{rel}" href="{html.escape(_address(frame, page))}">{text}</a>'
            links.insert(0 if rel == "prev" else len(links), link)
    return f'<nav aria-label="Pages">{" ".join(links)}</nav>'


def _named_pages(number: int, last: int) -> list[int]:
    near = range(number - _NEIGHBOURS, number + _NEIGHBOURS + 1)
    # at both ends as many as in the middle, so that the row keeps its length
    ends = {1, last} | ({2, 3} if number <= 2 else set())
    ends |= {last - 1, last - 2} if number >= last - 1 else set()
    return sorted(page for page in ends | set(near) if 1 <= page <= last)


def _address(frame: Frame, number: int) -> str:
    return f"/?{'show=favourites&' if frame.favourites_only else ''}page={number}"


def _quoted(id: str) -> str:
    """Return *id* as it stands in a query, after a # and as an element's id."""
    return quote(names.of(id), safe="")


def _columns(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _document(title: str, body: str) -> str:
    return f"""{_head()}<title>{html.escape(title)}</title>
</head>
<body>
{body}
</body>
</html>
"""


@functools.cache
def _head() -> str:
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<style>{_STYLE}</style>
<script>{_SCRIPT}</script>
"""
