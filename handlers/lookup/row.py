"""One row of the table of pictures, and how it is read from what a database driver returns."""

import math
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .errors import DatabaseMisconfigured

is_id = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII).fullmatch

NAMES = ("id", "path", "private", "focus_x", "focus_y")


class Row(NamedTuple):
    """What the lookup knows of one picture.

    :ivar path: as the database has it; bytes that are no UTF-8 come as surrogate escapes.
    :ivar private: True if not everybody may see it; a NULL is False.
    :ivar focus_x: where the picture's subject is, from 0 (left) to 1 (right), or None.
    :ivar focus_y: the same from 0 (top) to 1 (bottom).
    """

    path: str
    private: bool = False
    focus_x: float | None = None
    focus_y: float | None = None


def reader(names: Sequence[str]) -> Callable[[Sequence], tuple[str, Row | None]]:
    """Return a function that reads the id and the Row from a result with the columns *names*.

    That function returns (id, None) for a row that no caller can ask for: its id is not
    ``[A-Za-z0-9_-]{1,128}``, or its path is NULL.

    :raises DatabaseMisconfigured: if the result has no column ``id`` or ``path``.
    """
    places = {name.lower(): place for place, name in enumerate(names)}
    for name in ("id", "path"):
        if name not in places:
            raise DatabaseMisconfigured(f"the query returns no column named {name}")
    id_at, path_at = places["id"], places["path"]
    private_at, x_at, y_at = (places.get(name) for name in NAMES[2:])
    plain = private_at is x_at is y_at is None

    def read(values: Sequence) -> tuple[str, Row | None]:
        id, path = values[id_at], values[path_at]
        id = "" if id is None else _text(id)
        if path is None or not is_id(id):
            return id, None
        if plain:
            return id, Row(_text(path))
        return id, Row(
            _text(path),
            private_at is not None and _flag(values[private_at]),
            None if x_at is None else _fraction(values[x_at]),
            None if y_at is None else _fraction(values[y_at]),
        )

    return read


def _text(value) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return value if isinstance(value, str) else str(value)


def _flag(value) -> bool:
    # BIT(1) comes as a byte
    return any(value) if isinstance(value, bytes) else bool(value)


def _fraction(value) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
