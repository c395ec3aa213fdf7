"""Serve ``/``: one plain page of thumbnails, 60 at a time, to see with one's eyes that it works.

Options, as PythonOption or in settings.ini: ``thumbnail.sizes`` (the page uses the first one, and
the one of twice its sides for dense screens if there is such), ``lookup.*``.
"""

import base64
import hashlib
import html
import math
import re

from mod_python import apache

from handlers import lookup, sending, settings
from handlers.image import geometry

PAGE = 60

_STYLE = """
:root { color-scheme: light dark; --gap: .5rem }
body { margin: 0 auto; max-width: 90rem; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif }
h1 { font-size: 1.25rem; margin: 0 0 1rem }
ul { display: grid; gap: var(--gap); list-style: none; margin: 0; padding: 0;
     grid-template-columns: repeat(auto-fill, minmax(min(9.5rem, 45%), 1fr)) }
li a { display: block; color: inherit; text-decoration: none }
img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain;
      background: rgb(128 128 128 / .12); border-radius: .25rem }
li span { display: block; font-size: .75rem; overflow: hidden; text-overflow: ellipsis;
          white-space: nowrap; opacity: .7 }
nav { display: flex; gap: 1rem; justify-content: center; margin: 1.5rem 0 }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; img-src 'self' data:; style-src 'sha256-{_STYLE_HASH}'"


@sending.get_only
def handler(req) -> int:
    """Answer with the page that ``?page=N`` names, 404 for one that does not exist."""
    options = settings.of(req)
    number = _page_number(req.args)
    if number is None:
        return apache.HTTP_NOT_FOUND
    ids, total = lookup.open(options).page((number - 1) * PAGE, PAGE)
    last = max(1, math.ceil(total / PAGE))
    if number > last:
        return apache.HTTP_NOT_FOUND
    req.content_type = "text/html; charset=utf-8"
    req.headers_out["Content-Security-Policy"] = _POLICY
    req.headers_out["Cache-Control"] = "no-cache"
    body = _page(ids, total, number, last, options.get("thumbnail.sizes", "")).encode()
    req.set_content_length(len(body))
    req.write(body, 0)
    return apache.OK


def _page_number(args: str | None) -> int | None:
    if not args:
        return 1
    found = re.fullmatch(r"page=([1-9][0-9]{0,8})", args)
    return int(found[1]) if found else None


def _page(ids: list[str], total: int, number: int, last: int, sizes: str) -> str:
    listed = sizes.split()
    if not listed:
        raise settings.BadSettings("thumbnail.sizes is not set: the gallery needs one size")
    small = listed[0]
    width, height, crop = geometry.parse(small)
    double = str(geometry.Geometry(width * 2, height * 2, crop))
    items = "\n".join(_item(id, small, double if double in listed else None) for id in ids)
    links = [
        f'<a rel="{rel}" href="/?page={page}">{text}</a>'
        for rel, page, text in (
            ("prev", number - 1, "Previous page"),
            ("next", number + 1, "Next page"),
        )
        if 1 <= page <= last
    ]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Pictures, page {number} of {last}</title>
<link rel="icon" href="data:,">
<style>{_STYLE}</style>
</head>
<body>
<h1>{total} pictures, page {number} of {last}</h1>
<ul>
{items}
</ul>
<nav>{" ".join(links)}</nav>
</body>
</html>
"""


def _item(id: str, small: str, double: str | None) -> str:
    # Ids come from a database that others fill.
    id = html.escape(id)
    source = f"/thumbs/{small}/{id}.jpg"
    srcset = f' srcset="{source} 1x, /thumbs/{double}/{id}.jpg 2x"' if double else ""
    return (
        f'<li><a href="/images/{id}"><img src="{source}"{srcset} alt="{id}" loading="lazy">'
        f"<span>{id}</span></a></li>"
    )
