"""id -> path from memory: a per-child dict, a snapshot that all children share, the database.

::

    from handlers import lookup

    pictures = lookup.open(options)     # {"lookup.database": "sqlite:////srv/site/images.db", ...}
    pictures.warm()                     # once per child, before its first request
    row = pictures.get("12345")         # Row(path='2019/05/boat.jpg', ...) or None

:mod:`~handlers.lookup.options` lists the options, :class:`Lookup` gives the guarantees.
"""

from handlers.database.url import BadURL

from .errors import Misconfigured, Unavailable
from .mapping import Lookup, open
from .row import Row

__all__ = ["BadURL", "Lookup", "Misconfigured", "Row", "Unavailable", "open"]
