"""What the ``lookup.*`` options come to; :mod:`handlers.options` declares them."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from handlers import invalidation, names, settings, state_directory
from handlers.database.url import URL
from handlers.errors import Misconfigured
from handlers.options import OPTIONS

from . import query

_SECTION = "lookup."
_COLUMNS = ("id", "path", "private", "focus_x", "focus_y", "placeholder", "updated")


@dataclass(frozen=True)
class Options:
    """What a lookup is configured to do; times are in seconds."""

    database: URL
    queries: query.Queries
    encode_ids: bool
    snapshot: str | None
    refresh: float
    full_refresh: float
    overlap: float
    preload: int
    hot: int
    queries_per_second: int
    missing_ttl: float
    missing_limit: int
    connect_timeout: float
    timeout: float
    idle: float
    longest_pause: float
    #: The file of :mod:`handlers.invalidation`, in the cache that ``thumbnail.cache`` names.
    invalidations: str | None = None
    #: The file of :mod:`.verdict` in there.
    verdict: str | None = None

    @property
    def is_id(self) -> Callable[[str], bool]:
        """The function that tells whether an id can stand in a URL, and so be asked for."""
        return names.has_name if self.encode_ids else names.is_plain


def from_mapping(options: Mapping[str, str]) -> Options:
    """Read the ``lookup.*`` entries of *options*, and ``thumbnail.cache``.

    :raises Misconfigured: for a name that does not exist, or a value that it cannot have.
    :raises BadURL: for a ``lookup.database`` that cannot be understood.
    """
    given = {name: text for name, text in options.items() if name.startswith(_SECTION)}
    for name in given:
        if name not in OPTIONS:
            raise Misconfigured(settings.unknown(name))

    def get(name):
        return settings.value(given, _SECTION + name)

    cache = options.get("thumbnail.cache")
    cache = cache and os.path.abspath(cache)
    return Options(
        database=settings.required(given, "lookup.database"),
        queries=_queries(given),
        encode_ids=get("encode_ids"),
        snapshot=get("snapshot"),
        refresh=get("refresh"),
        full_refresh=get("full_refresh"),
        overlap=get("overlap"),
        preload=get("preload"),
        hot=get("hot"),
        queries_per_second=get("queries"),
        missing_ttl=get("missing_ttl"),
        missing_limit=get("missing_limit"),
        connect_timeout=get("connect_timeout"),
        timeout=get("timeout"),
        idle=get("idle"),
        longest_pause=get("longest_pause"),
        invalidations=invalidation.path_in(cache) if cache else None,
        verdict=state_directory.path(cache, "database") if cache else None,
    )


def _queries(given: Mapping[str, str]) -> query.Queries:
    texts = [given.get(f"lookup.{name}") for name in ("query", "query_one")]
    updated = given.get("lookup.query_updated")
    if updated and not all(texts):
        raise Misconfigured("lookup.query_updated belongs to lookup.query, which is not set")
    if any(texts):
        if not all(texts):
            raise Misconfigured("lookup.query and lookup.query_one belong together: one is not set")
        for name in ("table", *_COLUMNS):
            if f"lookup.{name}" in given:
                raise Misconfigured(f"lookup.{name} has no meaning beside lookup.query")
        return query.from_text(*texts, updated)
    columns = {name: settings.value(given, _SECTION + name) for name in _COLUMNS}
    columns = {name: column for name, column in columns.items() if column is not None}
    return query.from_columns(settings.value(given, "lookup.table"), columns)
