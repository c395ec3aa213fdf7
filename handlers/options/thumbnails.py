"""The options of thumbnails, their cache, the pictures and the gallery."""

from collections.abc import Collection, Iterable

from handlers import kinds, signing
from handlers.image import geometry
from handlers.kinds import (
    BYTES,
    COUNT,
    DAYS,
    FLAG,
    FROM_1,
    NONE,
    PATH,
    SECONDS,
    TABLE,
    URL_PATH,
    URL_PATH_OR_OFF,
    Kind,
    Option,
    Words,
)


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


def unknown_sizes(
    wanted: Iterable[str], sizes: Collection[str] | None, keys: Collection[str] | None, largest: int
) -> list[str]:
    """Return those of the *wanted* sizes that do not exist: neither listed, nor to be signed.

    The other parameters are what the options of these names mean.
    """
    return [
        size
        for size in wanted
        if size not in (sizes or ()) and not (keys and max(geometry.parse(size)[:2]) <= largest)
    ]


#: The extensions of thumbnails, and Pillow's names of the formats that sources may have.
EXTENSIONS = ("jpg", "png", "webp", "avif")
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF")

_SIZES = Kind(_sizes)
_QUALITIES = Kind(_qualities)
_SOURCES = Kind(kinds.some_of(*FORMATS))
_KEYS = Kind(_keys, is_secret=bool)

OPTIONS = (
    Option(
        "thumbnail.cache",
        PATH,
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
        "thumbnail.together",
        _SIZES,
        NONE,
        "sizes that visitors want of the same picture: when one was made, an idle maker makes the "
        "others of what it has decoded, where that costs the first one little; see below",
        "200x200 400x400",
    ),
    Option(
        "thumbnail.url",
        URL_PATH,
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
        FROM_1,
        "2000",
        "pixels of the longer side of a signed size, at most",
        "1200",
    ),
    Option(
        "thumbnail.makers",
        FROM_1,
        Words("the CPUs"),
        "thumbnails made at a time on this machine",
        "1",
    ),
    Option(
        "thumbnail.waiters",
        COUNT,
        Words("three in four of the server's requests, less the makers"),
        "requests that may wait for them",
        "4",
    ),
    Option(
        "thumbnail.soon",
        SECONDS,
        "1",
        "unless `thumbnail.waiters` is set, another one waits as well if its turn is expected "
        "within this many seconds; otherwise it gets 503 at once",
        "0.5",
    ),
    Option("thumbnail.wait", SECONDS, "10", "seconds that a request waits in total, then 503", "5"),
    Option("thumbnail.cpu", SECONDS, "5", "seconds of CPU time that one thumbnail may take", "2"),
    Option("thumbnail.tries", FROM_1, "3", "attempts at a source that kills its maker", "1"),
    Option(
        "thumbnail.failure_ttl",
        SECONDS,
        "3600",
        "seconds that a failure is remembered, unless the source changes",
        "600",
    ),
    Option(
        "thumbnail.error_picture",
        PATH,
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
    Option("thumbnail.animated", FLAG, "off", "keep animated GIF and WebP animated, as WebP", "on"),
    Option(
        "thumbnail.memory",
        BYTES,
        "256M",
        "bytes that making one thumbnail may take, judged from the header",
        "128M",
    ),
    Option("thumbnail.file_bytes", BYTES, "128M", "bytes of a source", "20M"),
    Option("thumbnail.pixels", FROM_1, "250M", "pixels of a source", "100M"),
    Option(
        "thumbnail.whole_pixels",
        FROM_1,
        "52M",
        "pixels of a source that is no baseline JPEG, which alone need not be decoded whole",
        "24M",
    ),
    Option("thumbnail.scans", FROM_1, "64", "scans of a progressive JPEG", "32"),
    Option("thumbnail.frames", FROM_1, "120", "frames of what is kept animated", "50"),
    Option(
        "thumbnail.frame_pixels",
        FROM_1,
        "30M",
        "frames times pixels of what is kept animated",
        "10M",
    ),
    Option(
        "cache.bytes",
        BYTES,
        NONE,
        "bytes that the cache may have; the least recently used thumbnails go first",
        "20G",
    ),
    Option("cache.age", DAYS, NONE, "days after which an unused thumbnail goes", "90"),
    Option(
        "cache.interval",
        SECONDS,
        "3600",
        "seconds between two rounds of the child that keeps the cache",
        "600",
    ),
    Option(
        "cache.purges",
        TABLE,
        NONE,
        "table of `lookup.database` by which `cache purge --everywhere` reaches all machines",
        "purges",
    ),
    Option(
        "images.root",
        PATH,
        NONE,
        "directory of the pictures: paths in the table are relative to it, or lie below it",
        "/srv/pictures",
    ),
    Option(
        "images.url",
        URL_PATH_OR_OFF,
        "/images",
        "where the URLs of originals begin, set in the drop-in; off: originals are not published",
        "/site/images",
    ),
    Option(
        "gallery.users",
        PATH,
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
        PATH,
        Words("`settings.ini` beside `handlers.wsgi`"),
        "settings file of a virtual host (PythonOption only)",
        "/etc/modpython-handlers/b.ini",
    ),
)
