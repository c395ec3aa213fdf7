"""What can go wrong with a lookup, by name."""

from handlers import errors
from handlers.errors import Misconfigured

__all__ = ["DatabaseAway", "DatabaseMisconfigured", "Misconfigured", "Unavailable"]


class DatabaseAway(errors.Unavailable):
    """The database does not answer for now: refused, lost, timed out, overloaded.

    :ivar retry_after: seconds until it is worth asking again.
    :ivar timed_out: True if a timeout was waited for, so that trying again would cost another one.
    """

    def __init__(self, message: str, retry_after: float = 0.0, timed_out: bool = False):
        super().__init__(message, retry_after)
        self.timed_out = timed_out


class DatabaseMisconfigured(Misconfigured):
    """The database answers, but not to what was configured: file, password, table, column, query.

    ``str()`` says what is wrong, and what an admin should do.

    :ivar retry_after: seconds until it will be asked again.
    :ivar missing: ``("table", name)`` or ``("column", name)`` if it does not exist.
    :ivar cure: what to do.
    """

    def __init__(
        self,
        message: str,
        retry_after: float = 0.0,
        missing: tuple[str, str] | None = None,
        cure: str = "",
    ):
        super().__init__(message)
        self.retry_after = retry_after
        self.missing = missing
        self.cure = cure

    def __str__(self):
        return f"{self.args[0]}: {self.cure}" if self.cure else self.args[0]


class Unavailable(errors.Unavailable):
    """Memory does not know the id, and the database is away or not asked: 503 with Retry-After.

    :ivar retry_after: seconds until the database will be asked again.
    """

    # handlers.lookup.outage logs each outage
    is_logged = True
