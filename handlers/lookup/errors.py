"""What can go wrong with a lookup, by name."""


class BadOption(ValueError):
    """A ``lookup.*`` option that does not exist, is missing, or has a value it cannot have."""


class DatabaseAway(Exception):
    """The database does not answer for now: refused, lost, timed out, overloaded.

    :ivar retry_after: seconds until it is worth asking again.
    :ivar timed_out: True if a timeout was waited for, so that trying again would cost another one.
    """

    def __init__(self, message: str, retry_after: float = 0.0, timed_out: bool = False):
        super().__init__(message)
        self.retry_after = retry_after
        self.timed_out = timed_out


class DatabaseMisconfigured(Exception):
    """The database answers, but not to what was configured: password, table, column, query.

    :ivar retry_after: seconds until it will be asked again.
    """

    def __init__(self, message: str, retry_after: float = 0.0):
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(Exception):
    """Memory does not know the id, and the database is away or not asked: 503 with Retry-After.

    :ivar retry_after: seconds until the database will be asked again.
    """

    def __init__(self, message: str, retry_after: float = 0.0):
        super().__init__(message)
        self.retry_after = retry_after
