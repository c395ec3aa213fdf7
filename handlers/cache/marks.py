"""Of which row a file of the cache was made, in the fraction of its modification time.

The seconds are those of the source. The nine digits behind them tell the extension, the path and
the focus that the row had, and where in its second the source was written, so that a sweep can
compare a file with the row without a record beside it, and the same thumbnail made again has the
same validators. Apache puts microseconds into the ETag and seconds into Last-Modified.

::

    microseconds  (moment * 1024 + row // 1000) * 4 + extension      moment < 244, extension < 4
    nanoseconds   row % 1000                                         row < 1,024,000

A file system that does not keep nanoseconds loses the mark: a round of the sweep then removes the
file as one of a row that is not known.
"""

import hashlib
import json

#: The extensions that thumbnails have, best compressed first.
EXTENSIONS = ("avif", "webp", "jpg", "png")

_SECOND = 10**9
_MOMENTS = 244
_ROWS = 1024
_DIGITS = 1000


def of_row(row, size: str | None = None) -> int:
    """Return the mark of *row*'s thumbnail in *size*, or of its middle-size copy without a size.

    The focus is a part of it where the size crops.
    """
    crops = size is not None and size.endswith("-crop")
    focus = (row.focus_x, row.focus_y) if crops and None not in (row.focus_x, row.focus_y) else None
    text = json.dumps([row.path, focus]).encode()
    digest = hashlib.blake2b(text, digest_size=8).digest()
    return int.from_bytes(digest, "big") % (_ROWS * _DIGITS)


def mtime_ns(extension: str, source_ns: int, mark: int, latest_ns: int | None = None) -> int:
    """Return the modification time of a file made of a source of the time *source_ns*.

    :param latest_ns: what it must not be later than, but for the fraction.
    """
    seconds = (source_ns if latest_ns is None else min(source_ns, latest_ns)) // _SECOND
    moment = source_ns // 1000 % _MOMENTS
    high = (moment * _ROWS + mark // _DIGITS) * len(EXTENSIONS) + EXTENSIONS.index(extension)
    return seconds * _SECOND + high * 1000 + mark % _DIGITS


def fits(found_ns: int, extension: str, mark: int) -> bool:
    """Tell whether a file with this modification time has that mark."""
    high, low = divmod(found_ns % _SECOND, 1000)
    row, index = divmod(high, len(EXTENSIONS))
    expected = row % _ROWS, low, index
    return expected == (mark // _DIGITS, mark % _DIGITS, EXTENSIONS.index(extension))
