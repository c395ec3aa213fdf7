"""The picture that stands for a thumbnail there is none of, in the size that was asked for."""

import functools
import logging
import os

from handlers import access, faults
from handlers.image import geometry
from handlers.image.errors import ImageError

log = logging.getLogger(__name__)

_KEPT = 32


def of(path: str, size: str, ext: str) -> bytes | None:
    """Return the picture *path* as a file of that *size* and format.

    It is read from the site's own file, so no process of its own makes it, and this process keeps
    it until the file changes. None, and a line in the log, if it cannot be used.
    """
    try:
        return _scaled(path, os.stat(path).st_mtime_ns, size, ext)
    except (OSError, ImageError) as error:
        why = access.why_unreadable(path, error) if isinstance(error, OSError) else str(error)
        message = f"thumbnail.error_picture {path}: {why}"
        faults.tell(log, logging.ERROR, ("error picture", path), message)
        return None


@functools.lru_cache(maxsize=_KEPT)
def _scaled(path: str, mtime_ns: int, size: str, ext: str) -> bytes:
    # loads Pillow, which a child does not need otherwise
    from handlers.image import thumbnail

    with open(path, "rb") as file:
        return thumbnail.make(file, geometry.parse(size), ext).data
