"""The directory of finished thumbnails, and everything that keeps it in order.

::

    <cache>/thumbs/200x200/12345.jpg    at the path that Apache computes from the URL
    <cache>/private/200x200/67.jpg      a private picture's, where Apache does not look
    <cache>/copies/12345.jpg            a middle-size copy, from which small sizes are made
    <cache>/failures/200x200~12345.jpg  why it could not be made, and until when that is believed
    <cache>/tmp/200x200~12345.jpg       while it is being written
    <cache>/lock makers waiters sweeper locks, one byte each
    <cache>/sleepers                    a named pipe: who waits to be a maker sleeps on it
    <cache>/round                       how far the sweep has come
    <cache>/growth                      as long as blocks have been written since it began

:class:`~handlers.cache.store.Store` is the directory, :class:`~handlers.cache.turns.Turns` decides
who may make a thumbnail, :mod:`~handlers.cache.failures` remembers what cannot be made, and
:mod:`~handlers.cache.sweep` keeps the directory within its limits. No request object here.
"""

from handlers.cache.store import Store, purge
from handlers.cache.turns import Turns

__all__ = ["Store", "Turns", "purge"]
