"""Text between Python and a database, in which a path need not be UTF-8, and named parameters."""

import functools
import re
from collections.abc import Iterable


def storable(text: str) -> str | bytes:
    """Return an id or a path as a database keeps it: as bytes if it is no UTF-8."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape")
    return text


def readable(stored: str | bytes) -> str:
    """Return what :func:`storable` was given; bytes that are no UTF-8 are surrogate escapes."""
    return stored if isinstance(stored, str) else stored.decode("utf-8", "surrogateescape")


def percent_style(query: str, names: Iterable[str]) -> str:
    """Return *query* with ``%(name)s`` for ``:name`` of each of *names*, for PyMySQL."""
    return _percent_style(query, tuple(names))


@functools.lru_cache(64)
def _percent_style(query: str, names: tuple[str, ...]) -> str:
    query = query.replace("%", "%%")
    return re.sub(rf"(?<![:\w]):({'|'.join(names)})\b", r"%(\1)s", query) if names else query
