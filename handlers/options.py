"""Every option of the package, declared once: its name, kind, default, meaning and an example.

:func:`handlers.settings.value` reads an option by its name, and nothing else knows a default. The
tables in README say the same, which a test compares.
"""

from typing import NamedTuple

from handlers import database_url, kinds, signing
from handlers.image import geometry
from handlers.kinds import Kind


class Words(str):
    """A default in words, where it is no value: ``none``, or what it is worked out from."""

    __slots__ = ()


NONE = Words("none")


class Option(NamedTuple):
    """A declared option.

    :ivar name: ``section.key``.
    :ivar kind: how its value is read.
    :ivar default: the value it has if it is not given, as one would write it; :class:`Words` if
        there is none.
    :ivar meaning: for README, in its markup.
    :ivar example: a value.
    """

    name: str
    kind: Kind
    default: str
    meaning: str
    example: str


def _sizes(text: str) -> tuple[str, ...]:
    try:
        return tuple(str(geometry.parse(size)) for size in text.split())
    except geometry.BadGeometry:
        raise ValueError("is not a list of sizes such as 200x200 400x400-crop") from None


def _qualities(text: str) -> dict[str, int]:
    found = {}
    for pair in text.split():
        ext, _, number = pair.partition(":")
        if ext not in EXTENSIONS or not number.isdecimal() or not 1 <= int(number) <= 100:
            raise ValueError("is not as in jpg:80 webp:75 avif:60")
        found[ext] = int(number)
    return found


def _keys(text: str) -> tuple[str, ...]:
    try:
        return signing.keys(text)
    except signing.BadKey:
        least = signing.SHORTEST_KEY
        raise ValueError(f"is no list of keys of {least} characters or more") from None


def _holds_password(url: str) -> bool:
    credentials, at, _ = url.partition("@")
    return bool(at) and ":" in credentials.partition("://")[2]


#: The extensions of thumbnails, and Pillow's names of the formats that sources may have.
EXTENSIONS = ("jpg", "png", "webp", "avif")
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF")

_FLAG = Kind(kinds.flag)
_COUNT = Kind(kinds.count())
_FROM_1 = Kind(kinds.count(1))
_BYTES = Kind(kinds.size)
_SECONDS = Kind(kinds.amount("seconds"))
# a day: more is a slip of the pen, and too much for the system's timers
_WAIT = Kind(kinds.amount("seconds", most=86_400, zero=False))
_WAIT_OR_0 = Kind(kinds.amount("seconds", most=86_400))
_DAYS = Kind(kinds.amount("days"))
_PER_SECOND = Kind(kinds.amount("deletions", zero=False))
_PATH = Kind(kinds.path)
_URL_PATH = Kind(kinds.url_path)
_URL_PATH_OR_OFF = Kind(kinds.url_path_or_off)
_TEXT = Kind(kinds.text)
_LIST = Kind(kinds.words)
_TABLE = Kind(kinds.table)
_COLUMN = Kind(kinds.column)
_SIZES = Kind(_sizes)
_QUALITIES = Kind(_qualities)
_SOURCES = Kind(kinds.some_of(*FORMATS))
_KEYS = Kind(_keys, is_secret=bool)
_DATABASE = Kind(database_url.parse, is_secret=_holds_password)

_OF_THUMBNAILS = (
    Option(
        "thumbnail.cache",
        _PATH,
        Words("set in the drop-in"),
        "directory of finished thumbnails",
        "/var/cache/modpython-handlers",
    ),
    Option(
        "thumbnail.sizes",
        _SIZES,
        Words("set in `settings.ini`"),
        "the sizes that exist",
        "200x200 400x400-crop",
    ),
    Option(
        "thumbnail.url",
        _URL_PATH,
        "/thumbs",
        "where the URLs of thumbnails begin, set in the drop-in",
        "/site/thumbs",
    ),
    Option(
        "thumbnail.keys",
        _KEYS,
        NONE,
        "keys that sign the URLs of other sizes, of 16 characters or more; the first one signs, "
        "each is accepted",
        "a-key-of-24-characters-.",
    ),
    Option(
        "thumbnail.largest",
        _FROM_1,
        "2000",
        "pixels of the longer side of a signed size, at most",
        "1200",
    ),
    Option(
        "thumbnail.makers",
        _FROM_1,
        Words("the CPUs"),
        "thumbnails made at a time on this machine",
        "1",
    ),
    Option(
        "thumbnail.waiters",
        _COUNT,
        Words("half of the server's requests"),
        "requests that may wait for them; the others get 503 at once",
        "4",
    ),
    Option(
        "thumbnail.wait", _SECONDS, "10", "seconds that a request waits in total, then 503", "5"
    ),
    Option("thumbnail.cpu", _SECONDS, "5", "seconds of CPU time that one thumbnail may take", "2"),
    Option("thumbnail.tries", _FROM_1, "3", "attempts at a source that kills its maker", "1"),
    Option(
        "thumbnail.failure_ttl",
        _SECONDS,
        "3600",
        "seconds that a failure is remembered, unless the source changes",
        "600",
    ),
    Option(
        "thumbnail.error_picture",
        _PATH,
        NONE,
        "picture sent, in the size asked for, with a status from 400 on",
        "/srv/none.png",
    ),
    Option(
        "thumbnail.formats",
        _SOURCES,
        "JPEG PNG GIF WEBP AVIF",
        "formats of sources; `TIFF` may be added",
        "JPEG PNG",
    ),
    Option(
        "thumbnail.quality", _QUALITIES, "jpg:80 webp:80 avif:60", "quality by extension", "jpg:85"
    ),
    Option(
        "thumbnail.animated", _FLAG, "off", "keep animated GIF and WebP animated, as WebP", "on"
    ),
    Option(
        "thumbnail.memory",
        _BYTES,
        "52M",
        "bytes that making one thumbnail may take, judged from the header",
        "128M",
    ),
    Option("thumbnail.file_bytes", _BYTES, "50M", "bytes of a source", "20M"),
    Option("thumbnail.pixels", _FROM_1, "250M", "pixels of a source", "100M"),
    Option("thumbnail.scans", _FROM_1, "64", "scans of a progressive JPEG", "32"),
    Option("thumbnail.frames", _FROM_1, "120", "frames of what is kept animated", "50"),
    Option(
        "thumbnail.frame_pixels",
        _FROM_1,
        "30M",
        "frames times pixels of what is kept animated",
        "10M",
    ),
    Option(
        "cache.bytes",
        _BYTES,
        NONE,
        "bytes that the cache may have; the least recently used thumbnails go first",
        "20G",
    ),
    Option("cache.age", _DAYS, NONE, "days after which an unused thumbnail goes", "90"),
    Option(
        "cache.interval",
        _SECONDS,
        "3600",
        "seconds between two rounds of the child that keeps the cache",
        "600",
    ),
    Option(
        "images.root",
        _PATH,
        NONE,
        "directory of the pictures: paths in the table are relative to it, or lie below it",
        "/srv/pictures",
    ),
    Option(
        "images.url",
        _URL_PATH_OR_OFF,
        "/images",
        "where the URLs of originals begin, set in the drop-in; off: originals are not published",
        "/site/images",
    ),
    Option(
        "gallery.users",
        _PATH,
        NONE,
        "file of htpasswd(1) with those who may sign in",
        "/etc/modpython-handlers/htpasswd",
    ),
    Option(
        "gallery.new_sessions",
        Kind(kinds.amount("sessions")),
        "20",
        "sessions that one address (IPv6: one /64) may begin in a second, then 429; 0: no limit",
        "2",
    ),
    Option(
        "handlers.settings",
        _PATH,
        Words("`settings.ini` beside `handlers.wsgi`"),
        "settings file of a virtual host (PythonOption only)",
        "/etc/modpython-handlers/b.ini",
    ),
)

_OF_THE_LOOKUP = (
    Option(
        "lookup.database",
        _DATABASE,
        NONE,
        "database URL; hosts may be a list, the next is tried when one fails",
        "mysql://u:p@db1,db2:3307/site",
    ),
    Option("lookup.table", _TABLE, "images", "table, or database.table", "gallery.photo"),
    Option("lookup.id", _COLUMN, "id", "its column with the id", "photo_id"),
    Option("lookup.path", _COLUMN, "path", "its column with the path", "file"),
    Option(
        "lookup.private",
        _COLUMN,
        NONE,
        "column that is true for what not everybody may see",
        "hidden",
    ),
    Option("lookup.focus_x", _COLUMN, NONE, "column with the subject's place, 0 (left) to 1", "fx"),
    Option("lookup.focus_y", _COLUMN, NONE, "column with the subject's place, 0 (top) to 1", "fy"),
    Option(
        "lookup.query",
        _TEXT,
        NONE,
        "a SELECT of all rows instead of table and columns",
        "SELECT id, path FROM photo",
    ),
    Option(
        "lookup.query_one",
        _TEXT,
        NONE,
        "the same for one row, with `:id`",
        "SELECT id, path FROM photo WHERE id = :id",
    ),
    Option(
        "lookup.updated",
        _COLUMN,
        NONE,
        "column with the time of a row's last change (date and time, or seconds since 1970): a "
        "refresh then reads only the rows changed since the last one",
        "updated_at",
    ),
    Option(
        "lookup.query_updated",
        _TEXT,
        NONE,
        "a SELECT of the rows changed since `:since`; `lookup.query` then has a column `updated`",
        "SELECT id, path, at AS updated FROM photo WHERE at >= :since",
    ),
    Option(
        "lookup.encode_ids",
        _FLAG,
        "off",
        "serve ids with other characters than letters, digits, `_` and `-`, too: percent-encoded, "
        "with `%` as `%25` in the URL",
        "on",
    ),
    Option(
        "lookup.snapshot",
        _PATH,
        Words("none; set in `settings.ini`"),
        "file with all rows that the children share; without it each child reads the table into a "
        "dict of its own",
        "/var/cache/modpython-handlers/handlers-state/lookup.snapshot",
    ),
    Option(
        "lookup.refresh",
        _WAIT_OR_0,
        "3600",
        "seconds after which the snapshot is brought up to date by one child, or each child reads "
        "its dict anew; 0: at a restart only",
        "60",
    ),
    Option(
        "lookup.preload",
        _COUNT,
        "20000",
        "a child loads a snapshot of up to this many rows into its dict whole",
        "50000",
    ),
    Option(
        "lookup.hot",
        _FROM_1,
        "20000",
        "of a larger one it keeps this many of the rows last asked for",
        "5000",
    ),
    Option(
        "lookup.queries",
        _FROM_1,
        "50",
        "unknown ids that a child asks the database for in a second; the others are 503 with "
        "Retry-After",
        "10",
    ),
    Option(
        "lookup.missing_ttl",
        _WAIT_OR_0,
        "60",
        "seconds that an id which does not exist is remembered",
        "300",
    ),
    Option("lookup.missing_limit", _FROM_1, "10000", "how many such ids are remembered", "50000"),
    Option(
        "lookup.connect_timeout", _WAIT, "2", "seconds for the database to take a connection", "1"
    ),
    Option("lookup.timeout", _WAIT, "2", "seconds for the next part of its answer", "5"),
    Option("lookup.idle", _WAIT, "60", "seconds after which an unused connection is closed", "20"),
    Option(
        "lookup.longest_pause",
        _WAIT,
        "30",
        "most seconds between two attempts to reach a database that is away",
        "10",
    ),
)

_STORES = (
    "FileSession",
    "DbmSession",
    "MemorySession",
    "SqlSession",
    "MemcachedSession",
)
_S = "mod_python.session."
_FILE = "mod_python.file_session."
_DBM = "mod_python.dbm_session."

_OF_SESSIONS = (
    Option(
        f"{_S}session_type",
        Kind(kinds.one_of(*_STORES)),
        "FileSession",
        "one of the stores above",
        "SqlSession",
    ),
    Option(f"{_S}cookie_name", _TEXT, "pysid", "the cookie", "visitor"),
    Option(
        f"{_S}application_domain",
        _TEXT,
        NONE,
        "domain of the cookie; without it, this host only",
        "example.org",
    ),
    Option(
        f"{_S}application_path",
        _TEXT,
        Words("the handler's directory; `/` on mod_wsgi"),
        "path of the cookie",
        "/shop",
    ),
    Option(f"{_S}cookie_httponly", _FLAG, "on", "keep the cookie from scripts", "off"),
    Option(
        f"{_S}cookie_samesite",
        Kind(kinds.one_of("Lax", "Strict", "None", "off")),
        "Lax",
        "`Lax`, `Strict`, `None` or off",
        "Strict",
    ),
    Option(
        f"{_S}cookie_secure",
        Kind(kinds.flag_or("auto")),
        "auto",
        "send the cookie over https only: on, off, or auto: if the request came by https",
        "on",
    ),
    Option(
        f"{_S}cookie_host_prefix",
        _FLAG,
        "off",
        "`__Host-` before the name: https, this host, path `/`",
        "on",
    ),
    Option(
        f"{_S}secret_file",
        _PATH,
        NONE,
        "secrets, one a line: the first signs cookies and stored sessions, all of them verify",
        "/etc/modpython-handlers/secrets",
    ),
    Option(
        f"{_S}serializer",
        Kind(kinds.one_of("pickle", "json", "msgpack")),
        "pickle",
        "`pickle`, `json` or `msgpack`; pickle needs `secret_file` in a store that others may "
        "write to",
        "json",
    ),
    Option(
        f"{_S}lock_timeout",
        _SECONDS,
        "30",
        "seconds to wait for a session's lock, then an error",
        "5",
    ),
    Option(
        f"{_S}save_after_response", _FLAG, "off", "`save()` writes when the response is out", "on"
    ),
    Option(
        f"{_S}store_empty",
        _FLAG,
        Words("off"),
        "store a session that was never given a key, and send its cookie, as mod_python does",
        "on",
    ),
    Option(
        f"{_S}user_key",
        _TEXT,
        "user",
        "key whose value names the user, for `list` and `purge`",
        "login",
    ),
    Option(
        f"{_S}takeover",
        _PATH,
        NONE,
        "mod_python's directory `mp_sess`: sessions found there are taken over at their first use",
        "/tmp/mp_sess",
    ),
    Option(
        f"{_S}takeover_classes", _FLAG, "off", "unpickle objects of any class from there, too", "on"
    ),
    Option(
        f"{_S}sweep",
        _FLAG,
        "on",
        "this child may be elected to sweep; off where cron does it",
        "off",
    ),
    Option(f"{_S}sweep_interval", _WAIT, "60", "seconds between two rounds of the sweep", "300"),
    Option(f"{_S}sweep_rate", _PER_SECOND, "600", "deletions per second", "100"),
    Option(f"{_S}max_size", _BYTES, "16M", "bytes of a stored session, at most", "1M"),
    Option(
        f"{_S}database_directory",
        _PATH,
        Words("the system's directory for temporary files, mostly `/tmp`"),
        "where files lie, in `mp_sessions`",
        "/var/lib/site",
    ),
    Option(f"{_S}sync", _FLAG, "off", "FileSession: wait for the disk in every save", "on"),
    Option(
        f"{_S}database",
        _DATABASE,
        NONE,
        "SqlSession: URL of the database",
        "mysql://site:secret@db.example.org/sessions",
    ),
    Option(f"{_S}table", _TEXT, "sessions", "SqlSession: the table", "visitors"),
    Option(
        f"{_S}servers",
        _LIST,
        "127.0.0.1:11211",
        "MemcachedSession: `host:port` or paths of sockets",
        "10.0.0.5:11211 10.0.0.6:11211",
    ),
    Option(f"{_S}key_prefix", _TEXT, "mps:", "MemcachedSession: what its keys begin with", "shop:"),
)

# mod_python's own, under the names it has for them
_OF_MOD_PYTHON = (
    Option(
        f"{_FILE}cleanup_grace_period",
        _SECONDS,
        "240",
        "seconds after a session's end that it is deleted",
        "60",
    ),
    Option(f"{_FILE}database_directory", _PATH, NONE, "the same for FileSession", "/var/lib/site"),
    Option(f"{_FILE}enable_fast_cleanup", _FLAG, "on", "nothing: expiry is exact", "on"),
    Option(f"{_FILE}verify_session_timeout", _FLAG, "on", "nothing: expiry is exact", "on"),
    Option(f"{_FILE}cleanup_time_limit", _SECONDS, "2", "nothing: no request sweeps", "2"),
    Option(f"{_DBM}database_directory", _PATH, NONE, "the same for DbmSession", "/var/lib/site"),
    Option(
        f"{_DBM}database_filename",
        _PATH,
        NONE,
        "DbmSession: the dbm file",
        "/var/lib/site/sessions.dbm",
    ),
)

_OF_REQUESTS = (
    Option("mod_python.form.memory", _BYTES, "512K", "bytes of names and text in all fields", "4M"),
    Option("mod_python.form.fields", _COUNT, "1000", "fields, files among them", "5000"),
    Option("mod_python.form.uploads", _COUNT, "100", "files", "10"),
    Option(
        "mod_python.form.header",
        _BYTES,
        "8K",
        "bytes of the header of one field in a multipart body",
        "2K",
    ),
    Option(
        "mod_python.auth_type",
        Kind(kinds.one_of("Basic")),
        NONE,
        "`Basic` where `AuthType Basic` holds, for `req.get_basic_auth_pw()`",
        "Basic",
    ),
)

OPTIONS: dict[str, Option] = {
    option.name: option
    for part in (_OF_THUMBNAILS, _OF_THE_LOOKUP, _OF_SESSIONS, _OF_MOD_PYTHON, _OF_REQUESTS)
    for option in part
}
SECTIONS = frozenset(name.rpartition(".")[0] for name in OPTIONS)
