"""Databases: their URLs, hosts, connections and errors, for the lookup, sessions and quickstart.

:mod:`~handlers.database.url` takes a URL apart, :class:`~handlers.database.hosts.Hosts` finds the
host to ask, :mod:`~handlers.database.mysql` and :mod:`~handlers.database.sqlite` connect, and all
that can go wrong is one of :mod:`~handlers.database.errors`.
"""

from .errors import DatabaseAway, DatabaseMisconfigured
from .url import URL, BadURL, parse

__all__ = ["URL", "BadURL", "DatabaseAway", "DatabaseMisconfigured", "parse"]
