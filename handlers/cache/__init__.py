"""The directory of finished thumbnails, and everything that keeps it in order.

::

    <cache>/thumbs/200x200/12345.jpg   at the path that Apache computes from the URL

    <cache>/handlers-state/            what has no URL, for Apache's user alone:
        private/200x200/67.jpg         a private picture's thumbnail
        copies/12345.jpg               a middle-size copy, from which small sizes are made
        failures/200x200~12345.jpg     why it could not be made, and until when that is believed
        tmp/200x200~12345.jpg          while it is being written
        stamp                          the configuration that the cache belongs to
        emptied/                       what another configuration made, until it is deleted
        invalidated                    when an admin's command hid a picture
        lock makers waiters sweeper    locks, one byte each
        maker-0                        the socket of the first maker
        pace                           how long a thumbnail takes, by those made last
        sleepers                       a named pipe: requests that wait for a maker sleep on it
        round                          how far the sweep has come
        growth                         as long as blocks have been written since it began
        lookup.snapshot                the lookup's, if the settings say so

:class:`~handlers.cache.store.Store` is the directory, :class:`~handlers.cache.turns.Turns` decides
who may make a thumbnail, :mod:`~handlers.cache.failures` remembers what cannot be made, and
:mod:`~handlers.cache.sweep` keeps the directory within its limits. No request object here.
"""

from handlers.cache.store import Store, purge
from handlers.cache.turns import Turns

__all__ = ["Store", "Turns", "purge"]
