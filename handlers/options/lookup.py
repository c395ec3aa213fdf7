"""The options of the lookup: the database, its table, the snapshot, memory and outages."""

from handlers.database import url as database_url
from handlers.kinds import (
    COLUMN,
    COUNT,
    FLAG,
    FROM_1,
    NONE,
    PATH,
    TABLE,
    TEXT,
    WAIT,
    WAIT_OR_0,
    Kind,
    Option,
    Words,
)

_DATABASE = Kind(database_url.parse, is_secret=database_url.holds_password)

OPTIONS = (
    Option(
        "lookup.database",
        _DATABASE,
        NONE,
        "database URL; hosts may be a list, the next is tried when one fails",
        "mysql://u:p@db1,db2:3307/site",
    ),
    Option("lookup.table", TABLE, "images", "table, or database.table", "gallery.photo"),
    Option("lookup.id", COLUMN, "id", "its column with the id", "photo_id"),
    Option("lookup.path", COLUMN, "path", "its column with the path", "file"),
    Option(
        "lookup.private",
        COLUMN,
        NONE,
        "column that is true for what not everybody may see",
        "hidden",
    ),
    Option("lookup.focus_x", COLUMN, NONE, "column with the subject's place, 0 (left) to 1", "fx"),
    Option("lookup.focus_y", COLUMN, NONE, "column with the subject's place, 0 (top) to 1", "fy"),
    Option(
        "lookup.placeholder",
        COLUMN,
        NONE,
        "column for a blurred picture of 20 pixels, a VARCHAR(300) that `cache warm "
        "--placeholders` fills",
        "blur",
    ),
    Option(
        "lookup.query",
        TEXT,
        NONE,
        "a SELECT of all rows instead of table and columns",
        "SELECT id, path FROM photo",
    ),
    Option(
        "lookup.query_one",
        TEXT,
        NONE,
        "the same for one row, with `:id`",
        "SELECT id, path FROM photo WHERE id = :id",
    ),
    Option(
        "lookup.updated",
        COLUMN,
        NONE,
        "column with the time of a row's last change (date and time, or seconds since 1970): a "
        "refresh then reads only the rows changed since the last one",
        "updated_at",
    ),
    Option(
        "lookup.query_updated",
        TEXT,
        NONE,
        "a SELECT of the rows changed since `:since`; `lookup.query` then has a column `updated`",
        "SELECT id, path, at AS updated FROM photo WHERE at >= :since",
    ),
    Option(
        "lookup.encode_ids",
        FLAG,
        "off",
        "serve ids with other characters than letters, digits, `_` and `-`, too: percent-encoded, "
        "with `%` as `%25` in the URL",
        "on",
    ),
    Option(
        "lookup.snapshot",
        PATH,
        Words("none; set in `settings.ini`"),
        "file with all rows that the children share; without it each child reads the table into a "
        "dict of its own",
        "/var/cache/modpython-handlers/handlers-state/lookup.snapshot",
    ),
    Option(
        "lookup.refresh",
        WAIT_OR_0,
        "3600",
        "seconds after which the snapshot is brought up to date by one child, or each child reads "
        "its dict anew; 0: at a restart only",
        "60",
    ),
    Option(
        "lookup.full_refresh",
        WAIT_OR_0,
        "21600",
        "seconds after which a refresh reads all rows, as the first one after a restart does, and "
        "not only those that say by `lookup.updated` that they have changed; 0: at a restart only",
        "3600",
    ),
    Option(
        "lookup.overlap",
        WAIT_OR_0,
        "7200",
        "seconds that a refresh by `lookup.updated` goes back behind the last one: longer than a "
        "transaction lasts, a clock is slow, or summer time shifts it",
        "600",
    ),
    Option(
        "lookup.preload",
        COUNT,
        "20000",
        "a child loads a snapshot of up to this many rows into its dict whole",
        "50000",
    ),
    Option(
        "lookup.hot",
        FROM_1,
        "20000",
        "of a larger one it keeps this many of the rows last asked for",
        "5000",
    ),
    Option(
        "lookup.queries",
        FROM_1,
        "50",
        "unknown ids that a child asks the database for in a second; the others are 503 with "
        "Retry-After",
        "10",
    ),
    Option(
        "lookup.missing_ttl",
        WAIT_OR_0,
        "60",
        "seconds that an id which does not exist is remembered",
        "300",
    ),
    Option("lookup.missing_limit", FROM_1, "10000", "how many such ids are remembered", "50000"),
    Option(
        "lookup.connect_timeout", WAIT, "2", "seconds for the database to take a connection", "1"
    ),
    Option("lookup.timeout", WAIT, "2", "seconds for the next part of its answer", "5"),
    Option("lookup.idle", WAIT, "60", "seconds after which an unused connection is closed", "20"),
    Option(
        "lookup.longest_pause",
        WAIT,
        "30",
        "most seconds between two attempts to reach a database that is away",
        "10",
    ),
)
