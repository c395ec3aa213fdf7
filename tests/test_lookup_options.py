"""The lookup.* options, and the queries that are made of them."""

import threading

import pytest

from handlers import lookup
from handlers.database.text import percent_style
from handlers.lookup import options

DATABASE = {"lookup.database": "sqlite:////nowhere/images.db"}


def test_defaults_are_table_images_with_id_and_path():
    read = options.from_mapping({**DATABASE, "thumbnail.sizes": "200x200"})
    assert read.queries.all == "SELECT `id` AS `id`, `path` AS `path` FROM `images`"
    assert read.queries.one == f"{read.queries.all} WHERE `id` = :id"
    assert (read.missing_ttl, read.timeout, read.connect_timeout) == (60, 2, 2)


def test_table_and_columns_are_quoted():
    read = options.from_mapping(
        {
            **DATABASE,
            "lookup.table": "site.media",
            "lookup.id": "media_id",
            "lookup.path": "file",
            "lookup.private": "hidden",
        }
    )
    assert read.queries.one == (
        "SELECT `media_id` AS `id`, `file` AS `path`, `hidden` AS `private`"
        " FROM `site`.`media` WHERE `media_id` = :id"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lookup.tabel", "images"),
        ("lookup.table", "images; DROP TABLE images"),
        ("lookup.table", "a.b.c"),
        ("lookup.id", "id`"),
        ("lookup.path", ""),
        ("lookup.private", "a b"),
        ("lookup.updated", "a b"),
        ("lookup.snapshot", "relative/path"),
        ("lookup.refresh", "-1"),
        ("lookup.preload", "-1"),
        ("lookup.hot", "0"),
        ("lookup.queries", "0"),
        ("lookup.query_updated", "SELECT id, path FROM t WHERE at >= :since"),
        ("lookup.missing_ttl", "soon"),
        ("lookup.missing_ttl", "-1"),
        ("lookup.timeout", "0"),
        ("lookup.timeout", "nan"),
        ("lookup.timeout", "inf"),
        ("lookup.connect_timeout", "1e9"),
        ("lookup.missing_limit", "0"),
        ("lookup.missing_limit", "1.5"),
        ("lookup.missing_limit", "²"),
        ("lookup.query", "SELECT id, path FROM t"),
        ("lookup.query_one", "SELECT id, path FROM t WHERE id = :id"),
    ],
)
def test_wrong_option_is_refused_by_name(name, value):
    with pytest.raises(lookup.Misconfigured, match=name):
        lookup.Lookup.from_options({**DATABASE, name: value})


def test_database_must_be_set():
    with pytest.raises(lookup.Misconfigured, match=r"lookup\.database is not set"):
        lookup.Lookup.from_options({})
    with pytest.raises(lookup.BadURL):
        lookup.Lookup.from_options({"lookup.database": "images.db"})


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"query": "SELECT 1", "query_one": "SELECT 1"}, "must have :id"),
        ({"query": "SELECT :id", "query_one": "SELECT :id"}, "cannot have :id"),
        ({"query": "SELECT :since", "query_one": "SELECT :id"}, "cannot have :since"),
        (
            {"query": "SELECT 1", "query_one": "SELECT :id", "query_updated": "SELECT :id"},
            "must have :since",
        ),
        ({"query": "SELECT 1", "query_one": "SELECT :id", "table": "t"}, "no meaning"),
    ],
)
def test_wrong_queries_are_refused(given, says):
    with pytest.raises(lookup.Misconfigured, match=says):
        options.from_mapping(DATABASE | {f"lookup.{name}": text for name, text in given.items()})


def test_percent_style_keeps_percent_signs():
    assert percent_style("WHERE a LIKE 'x%' AND id=:id AND b=:ident", ["id"]) == (
        "WHERE a LIKE 'x%%' AND id=%(id)s AND b=:ident"
    )


def test_snapshot_and_its_defaults():
    read = options.from_mapping(
        {**DATABASE, "lookup.snapshot": "/var/cache/s", "lookup.updated": "changed_at"}
    )
    assert read.snapshot == "/var/cache/s"
    assert (read.refresh, read.preload, read.hot, read.queries_per_second) == (
        3600,
        20_000,
        20_000,
        50,
    )
    columns = "SELECT `id` AS `id`, `path` AS `path`, `changed_at` AS `updated` FROM `images`"
    assert read.queries.all == columns
    assert read.queries.updated == f"{columns} WHERE `changed_at` >= :since"
    assert read.queries.count == f"SELECT COUNT(*) FROM ({columns}\n) AS counted"
    assert options.from_mapping(DATABASE).snapshot is None


def test_open_gives_one_lookup_for_one_configuration():
    found = []
    given = {**DATABASE, "lookup.missing_ttl": "7"}
    threads = [
        threading.Thread(target=lambda: found.append(lookup.open(dict(given)))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1
    assert lookup.open({**given, "thumbnail.sizes": "1x1"}) is found[0]
    assert lookup.open({**given, "lookup.missing_ttl": "8"}) is not found[0]
