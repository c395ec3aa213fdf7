"""The HTML of the gallery and of its sign-in form."""

import base64
import hashlib
import html
import re
from typing import NamedTuple

from mod_python import apache

_STYLE = """
:root { color-scheme: light dark; --gap: .5rem }
body { margin: 0 auto; max-width: 90rem; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif }
header { display: flex; flex-wrap: wrap; gap: 0 1rem; align-items: baseline; margin: 0 0 1rem }
h1 { font-size: 1.25rem; margin: 0; flex: 1 }
header form { display: inline }
ul { display: grid; gap: var(--gap); list-style: none; margin: 0; padding: 0;
     grid-template-columns: repeat(auto-fill, minmax(min(9.5rem, 45%), 1fr)) }
li { position: relative }
li a { display: block; color: inherit; text-decoration: none }
img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain;
      background: rgb(128 128 128 / .12); border-radius: .25rem }
li span { display: block; font-size: .75rem; overflow: hidden; text-overflow: ellipsis;
          white-space: nowrap; opacity: .7 }
li form { position: absolute; top: .25rem; right: .25rem }
li button { font-size: 1.1rem; line-height: 1; padding: .35rem; border: 0; border-radius: 50%;
            background: rgb(255 255 255 / .75); color: #a40; cursor: pointer }
nav { display: flex; gap: 1rem; justify-content: center; margin: 1.5rem 0 }
main form { display: grid; gap: .75rem; max-width: 20rem }
label { display: grid }
[role=alert] { color: #b00 }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = (
    "default-src 'none'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; "
    f"style-src 'sha256-{_STYLE_HASH}'"
)
_PLACE = re.compile(r"/(\?(?:show=favourites&)?page=[1-9][0-9]{0,8})?")


class View(NamedTuple):
    """What a page of the gallery shows."""

    ids: list[str]
    total: int
    number: int
    last: int
    #: only the visitor's favourites
    favourites_only: bool
    #: ids of the visitor's favourites
    marked: frozenset[str]
    #: name of the user who is signed in
    user: str | None
    #: whether there is anybody who could sign in
    can_sign_in: bool
    #: URLs of thumbnails and of originals without the rest; no URL if originals are not published
    thumbs: str
    images: str | None
    #: sizes of the thumbnails, the second for dense screens
    small: str
    double: str | None


def send(req, text: str) -> int:
    """Answer with a page, which no cache may keep for anybody else."""
    req.content_type = "text/html; charset=utf-8"
    for name, value in (
        ("Content-Security-Policy", _POLICY),
        ("Cache-Control", "private, no-cache"),
        ("X-Content-Type-Options", "nosniff"),
    ):
        req.headers_out[name] = value
    body = text.encode()
    req.set_content_length(len(body))
    if not req.header_only:
        req.write(body, 0)
    return apache.OK


def is_id(text: str) -> bool:
    """Tell whether *text* has the form of a picture's id."""
    return re.fullmatch(r"[A-Za-z0-9_-]{1,128}", text) is not None


def back_to(place: str) -> str:
    """Return *place* if it is a page of the gallery, else the first one."""
    return place if _PLACE.fullmatch(place) else "/"


def gallery(view: View) -> str:
    """Return a page of the gallery."""
    what = "Favourites" if view.favourites_only else "Pictures"
    items = "\n".join(_item(id, view) for id in view.ids)
    pages = [
        f'<a rel="{rel}" href="{html.escape(_address(view, number))}">{text}</a>'
        for rel, number, text in (
            ("prev", view.number - 1, "Previous page"),
            ("next", view.number + 1, "Next page"),
        )
        if 1 <= number <= view.last
    ]
    return _document(
        f"{what}, page {view.number} of {view.last}",
        f"""<header>
<h1>{what}: {view.total}, page {view.number} of {view.last}</h1>
{_visitor_links(view)}
</header>
<ul>
{items}
</ul>
<nav>{" ".join(pages)}</nav>""",
    )


def sign_in_form(fault: str = "") -> str:
    """Return the form to sign in, with what was wrong with the last attempt."""
    alert = f'<p role="alert">{html.escape(fault)}</p>' if fault else ""
    return _document(
        "Sign in",
        f"""<main>
<h1>Sign in</h1>
{alert}
<form method="post" action="/signin">
<label>Name <input name="user" autocomplete="username" required></label>
<label>Password
<input name="password" type="password" autocomplete="current-password" required></label>
<button>Sign in</button>
</form>
<p><a href="/">Back to the pictures</a></p>
</main>""",
    )


def _visitor_links(view: View) -> str:
    links = [
        '<a href="/">All pictures</a>'
        if view.favourites_only
        else '<a href="/?show=favourites&amp;page=1">Favourites</a>'
    ]
    if view.user is not None:
        links.append(
            f'<form method="post" action="/signout">{html.escape(view.user)} '
            "<button>Sign out</button></form>"
        )
    elif view.can_sign_in:
        links.append('<a href="/signin">Sign in</a>')
    return "\n".join(links)


def _item(id: str, view: View) -> str:
    marked = id in view.marked
    mark, label = ("★", "Take from favourites") if marked else ("☆", "Add to favourites")
    # Ids come from a database that others fill.
    id = html.escape(id)
    source = f"{view.thumbs}/{view.small}/{id}.jpg"
    double = f"{view.thumbs}/{view.double or view.small}/{id}.jpg"
    srcset = f' srcset="{source} 1x, {double} 2x"' if view.double else ""
    return f"""<li><a href="{f"{view.images}/{id}" if view.images else double}">\
<img src="{source}"{srcset} alt="{id}" loading="lazy"><span>{id}</span></a>
<form method="post" action="/favourites">\
<input type="hidden" name="back" value="{html.escape(_address(view, view.number))}">\
<button name="id" value="{id}" aria-label="{label}" aria-pressed="{str(marked).lower()}">\
{mark}</button></form></li>"""


def _address(view: View, number: int) -> str:
    return f"/?{'show=favourites&' if view.favourites_only else ''}page={number}"


def _document(title: str, body: str) -> str:
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<link rel="icon" href="data:,">
<style>{_STYLE}</style>
</head>
<body>
{body}
</body>
</html>
"""
