"""What can go wrong with a lookup, by name."""

from handlers import errors
from handlers.database.errors import Contended, DatabaseAway, DatabaseMisconfigured
from handlers.errors import Misconfigured

__all__ = ["Contended", "DatabaseAway", "DatabaseMisconfigured", "Misconfigured", "Unavailable"]


class Unavailable(errors.Unavailable):
    """Memory does not know the id, and the database is away or not asked: 503 with Retry-After.

    :ivar retry_after: seconds until the database will be asked again.
    """

    # handlers.lookup.outage logs each outage
    is_logged = True
