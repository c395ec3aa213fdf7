"""One row of the table of pictures, and how it is read from what a database driver returns."""

import logging
import math
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from handlers import faults, names

from .errors import DatabaseMisconfigured

logger = logging.getLogger(__name__)

_SHOWN = 40
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
# SQLite's dates, and those of MySQL that do not exist, come as text
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?)?")
NAMES = ("id", "path", "private", "focus_x", "focus_y", "placeholder")
#: Characters of a placeholder, at most: they lie in the memory of each child.
LONGEST_PLACEHOLDER = 300
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2,3}={1,2})?", re.ASCII)


class Row(NamedTuple):
    """What the lookup knows of one picture.

    :ivar path: as the database has it; bytes that are no UTF-8 come as surrogate escapes.
    :ivar private: True if not everybody may see it: what SQL calls true, and text that is no
        number; a NULL is False.
    :ivar focus_x: where the picture's subject is, from 0 (left) to 1 (right), or None.
    :ivar focus_y: the same from 0 (top) to 1 (bottom).
    :ivar placeholder: a blurred picture of some pixels in base64, for
        :func:`handlers.html.img`, or None.
    """

    path: str
    private: bool = False
    focus_x: float | None = None
    focus_y: float | None = None
    placeholder: str | None = None


class Skipped:
    """Counts the rows that no caller can ask for, to name them in the log.

    :ivar total: how many rows there are; the caller counts them.
    :ivar repeated: how many have the id of another row, which counts in their place.
    """

    def __init__(self, encode_ids: bool):
        self.total = self.repeated = 0
        self._is_id = names.has_name if encode_ids else names.is_plain
        self._cure = (
            f"names are {names.LONGEST} characters at most"
            if encode_ids
            else "set lookup.encode_ids = on"
        )
        self._bad = self._without_id = self._without_path = 0
        self._example = ""

    @property
    def count(self) -> int:
        """How many rows are skipped."""
        return self._bad + self._without_id + self._without_path

    def add(self, id: str) -> None:
        """Count a row that is skipped."""
        if not id:
            self._without_id += 1
        elif self._is_id(id):
            self._without_path += 1
        else:
            self._example = self._example or id
            self._bad += 1

    def lines(self) -> list[str]:
        """Return what to log: nothing, if no row is skipped."""
        lines = []
        if self._bad:
            shown = self._example[:_SHOWN] + ("..." if len(self._example) > _SHOWN else "")
            lines.append(
                f"{self._bad} of {self.total} ids cannot stand in a URL, for example {shown!r}: "
                f"{self._cure}"
            )
        for count, column in ((self._without_id, "id"), (self._without_path, "path")):
            if count:
                has = "has" if count == 1 else "have"
                lines.append(f"{count} of {self.total} rows {has} no {column}")
        if self.repeated:
            lines.append(
                f"{self.repeated} of {self.total} rows repeat the id of another one, and the last "
                "row of an id counts: give each id once, by lookup.query"
            )
        return lines


def reader(
    columns: Sequence[str], is_id: Callable[[str], bool], private_column: str = "private"
) -> Callable[[Sequence], tuple[str, Row | None]]:
    """Return a function that reads the id and the Row from a result with these *columns*.

    That function returns (id, None) for a row that no caller can ask for: *is_id* is not true of
    its id, or it has no path. A value of the column ``private`` that is neither true nor false is
    one error in the log.

    :param private_column: what the log calls that column.
    :raises DatabaseMisconfigured: if the result has no column ``id`` or ``path``.
    """
    places = {name.lower(): place for place, name in enumerate(columns)}
    for name in ("id", "path"):
        if name not in places:
            raise DatabaseMisconfigured(f"the query returns no column named {name}")
    id_at, path_at = places["id"], places["path"]
    private_at, x_at, y_at, placeholder_at = (places.get(name) for name in NAMES[2:])
    plain = private_at is x_at is y_at is placeholder_at is None

    def read(values: Sequence) -> tuple[str, Row | None]:
        id, path = values[id_at], values[path_at]
        id = "" if id is None else _text(id)
        if path.__class__ is bytes:
            # a BINARY column is filled up with these
            path = path.rstrip(b"\0")
        if not is_id(id) or path is None or not (path := _text(path)):
            return id, None
        if plain:
            return id, Row(path)
        return id, Row(
            path,
            private_at is not None and _flag(values[private_at], private_column),
            None if x_at is None else _fraction(values[x_at]),
            None if y_at is None else _fraction(values[y_at]),
            None if placeholder_at is None else _placeholder(values[placeholder_at]),
        )

    return read


def _text(value) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if value.__class__ is float and value.is_integer():
        # as MySQL shows it, and every database takes it
        value = int(value)
    return value if isinstance(value, str) else str(value)


def _flag(value, column: str) -> bool:
    """Tell what SQL takes a value for; text that is no number is told to the admin, and True."""
    if not isinstance(value, str | bytes):
        # also a date, which is true, and a NULL
        return bool(value)
    # a BINARY column is filled up with these
    text = value.decode("latin-1").rstrip("\0") if isinstance(value, bytes) else value
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return float(text) != 0
    if _DATE.fullmatch(text):
        # what does not exist at all is 0 where a number is wanted
        return any(digit in text for digit in "123456789")
    if isinstance(value, bytes) and not any(value):
        # a byte of a BLOB, or nothing
        return False
    if not text:
        return False
    if value != b"\1":
        faults.tell(
            logger,
            logging.ERROR,
            ("private", column),
            f"lookup.private: column {column} has {text[:_SHOWN]!r}, which is no number: pictures "
            "with such a value are private; let it have 0 or 1",
            key=column,
        )
    return True


def _placeholder(value) -> str | None:
    """Return what is base64 and short; other programs may write anything into the column."""
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    if not isinstance(text, str) or not 0 < len(text) <= LONGEST_PLACEHOLDER:
        return None
    return text if _BASE64.fullmatch(text) else None


def _fraction(value) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
