"""Pictures in a site's own pages: the address of a thumbnail, and an ``<img>`` of all its sizes.

::

    from handlers import html

    html.img("12345", "200x200", "A boat")      # in any Python that can read the settings file
    html.url("12345", "400x400-crop")

The settings are those of the process (a handler's request has them already) or of a file that
:func:`configure` names. Nothing here reads the database or the cache.
"""

import base64
import html as _html
import re
import struct
from typing import NamedTuple

from handlers import names, settings, signing
from handlers.errors import Misconfigured
from handlers.image import geometry

_file: str | None = None
# a WebP file in base64: RIFF, and no more than the column may have
_BLURRED = re.compile(r"UklGR[A-Za-z0-9+/]{15,295}={0,2}", re.ASCII)
# its characters that tell the size, and what they stand for: RFC 9649, 2.5, and RFC 6386, 9.1
_HEAD = 40
_VP8 = struct.Struct("<8x4s4s4x3x3sHH")
_LARGEST_SIDE = 0x3FFF


class Markup(str):
    """HTML that a template engine must not escape: Jinja2 and Django ask ``__html__``."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


class Placeholder(NamedTuple):
    """A blurred picture: its ``data:`` URL, and its width and height in pixels."""

    url: str
    width: int
    height: int


def configure(path: str) -> None:
    """Make *path* the settings file of this process, where no drop-in has done so.

    :raises handlers.errors.Misconfigured: if it cannot be read or used.
    """
    global _file
    settings.read(path)
    _file = path


def url(id: str, size: str, ext: str | None = None) -> str:
    """Return the URL of a thumbnail; signed where *size* is not in the list and there are keys.

    :param ext: ``jpg``, ``png``, ``webp`` or ``avif``; without it Apache sends the best format that
        the client accepts.
    :raises handlers.errors.Misconfigured: for a size that is neither listed nor can be signed.
    :raises ValueError: for an id that cannot stand in a URL, or a size that is none.
    """
    options = _options()
    asked = geometry.parse(size)
    if not (names.has_name(id) if options.lookup.encode_ids else names.is_plain(id)):
        raise ValueError(f"{id!r} cannot stand in the URL of a thumbnail")
    name = f"{asked}/{names.of(id)}{f'.{ext}' if ext else ''}"
    prefix = options.thumbnail.url
    if str(asked) in (options.thumbnail.sizes or ()):
        return f"{prefix}/{names.in_url(name)}"
    keys = options.thumbnail.keys
    if not keys or max(asked[:2]) > options.thumbnail.largest:
        raise Misconfigured(f"thumbnail.sizes has no {asked}, and it cannot be signed")
    return signing.url(name, keys[0], prefix)


def img(
    id: str,
    size: str,
    alt: str,
    *,
    sizes: str | None = None,
    width: int | None = None,
    height: int | None = None,
    lazy: bool = True,
    placeholder: str | None = None,
) -> Markup:
    """Return an ``<img>`` with the other listed sizes of the same shape in its ``srcset``.

    :param size: what a browser without ``srcset`` loads.
    :param alt: what the picture shows, for those who do not see it; may be empty.
    :param sizes: the width at which it is shown, as the attribute ``sizes`` says it
        (``(max-width: 40em) 100vw, 400px``); without it the browser chooses by pixel density.
    :param width, height: of the original, in pixels, where you know them: the space is kept free in
        the right shape while the picture loads.
    :param lazy: load it when it comes near the window.
    :param placeholder: what the row has in the column ``lookup.placeholder``. It becomes a picture
        of its own below the other one, both in a ``<span class="thumbnail">`` that the site's style
        sheet lays over each other: neither an attribute ``style`` nor a script is needed, which a
        Content-Security-Policy would forbid; ``img-src`` must allow ``data:``. What is no such text
        is left out.
    :raises handlers.errors.Misconfigured, ValueError: as :func:`url` does.
    """
    wanted = geometry.parse(size)
    attributes = {"src": url(id, size)}
    alike = _alike(wanted, width, height)
    if len(alike) > 1:
        if sizes:
            attributes["srcset"] = ", ".join(f"{url(id, s)} {across}w" for s, across in alike)
            attributes["sizes"] = sizes
        else:
            base = dict(alike)[str(wanted)]
            attributes["srcset"] = ", ".join(
                f"{url(id, s)} {_number(across / base)}x" for s, across in alike if across >= base
            )
    shown = _shown(wanted, width, height)
    if shown:
        attributes["width"], attributes["height"] = map(str, shown)
    attributes["alt"] = alt
    if lazy:
        attributes["loading"] = "lazy"
    attributes["decoding"] = "async"
    text = " ".join(f'{name}="{_html.escape(value)}"' for name, value in attributes.items())
    tag = f"<img {text}>"
    if not placeholder or not _BLURRED.fullmatch(placeholder):
        return Markup(tag)
    blurred = f'<img class="placeholder" src="{_data_url(placeholder)}" alt="">'
    return Markup(f'<span class="thumbnail">{blurred}{tag}</span>')


def read_placeholder(text: str | None) -> Placeholder | None:
    """Return the placeholder that *text* of the column ``lookup.placeholder`` is.

    None for what ``cache warm --placeholders`` does not write: no text, or another kind of WebP.
    The URL needs no escapes in HTML.
    """
    if not text or len(text) < _HEAD or not _BLURRED.fullmatch(text):
        return None
    webp, chunk, start, width, height = _VP8.unpack_from(base64.b64decode(text[:_HEAD]))
    width, height = width & _LARGEST_SIDE, height & _LARGEST_SIDE
    if (webp, chunk, start) != (b"WEBP", b"VP8 ", b"\x9d\x01\x2a") or not (width and height):
        return None
    return Placeholder(_data_url(text), width, height)


def _data_url(text: str) -> str:
    return f"data:image/webp;base64,{text}"


def _alike(wanted, width, height) -> list[tuple[str, int]]:
    """Return the listed sizes of the shape of *wanted*, and *wanted*, with the width of each."""
    listed = [geometry.parse(size) for size in _options().thumbnail.sizes or ()]
    found = {
        str(one): (_shown(one, width, height) or one)[0]
        for one in (*listed, wanted)
        if one.crop == wanted.crop and one.width * wanted.height == one.height * wanted.width
    }
    return sorted(found.items(), key=lambda pair: pair[1])


def _shown(wanted, width, height) -> tuple[int, int] | None:
    """Return width and height of the thumbnail, None if they are not known."""
    if wanted.crop and not (width and height):
        return wanted.width, wanted.height
    if not (width and height):
        return None
    return geometry.fit((width, height), wanted).size


def _number(ratio: float) -> str:
    return f"{ratio:.3f}".rstrip("0").rstrip(".")


def _options() -> settings.Settings:
    return settings.read(_file) if _file else settings.of_process()
