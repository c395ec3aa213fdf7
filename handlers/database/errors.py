"""What a database can say instead of an answer."""

from handlers.errors import Busy, Misconfigured, Unavailable

#: What a cure calls the option that holds the URL, until somebody knows its name.
URL_WORDS = "the database URL"


class DatabaseAway(Unavailable):
    """The database does not answer for now: refused, lost, timed out, overloaded.

    :ivar retry_after: seconds until it is worth asking again.
    :ivar timed_out: True if a timeout was waited for, so that trying again would cost another one.
    :ivar code: the number of the error that the server or PyMySQL gave, 0 for none.
    """

    def __init__(
        self, message: str, retry_after: float = 0.0, timed_out: bool = False, code: int = 0
    ):
        super().__init__(message, retry_after)
        self.timed_out = timed_out
        self.code = code


class Lost(DatabaseAway):
    """The connection has ended; nobody knows whether the statement was carried out."""


class ReadOnly(DatabaseAway):
    """The server takes no changes, or nothing: another host of the URL may be the one that does."""


class DatabaseMisconfigured(Misconfigured):
    """The database answers, but not to what was configured: file, password, table, column, query.

    ``str()`` says what is wrong, and what an admin should do.

    :ivar retry_after: seconds until it will be asked again.
    :ivar missing: ``("table", name)`` or ``("column", name)`` if it does not exist.
    :ivar cure: what to do.
    :ivar code: the number of the server's error, 0 for none.
    """

    def __init__(
        self,
        message: str,
        retry_after: float = 0.0,
        missing: tuple[str, str] | None = None,
        cure: str = "",
        code: int = 0,
    ):
        super().__init__(message)
        self.retry_after = retry_after
        self.missing = missing
        self.cure = cure
        self.code = code

    def name_option(self, option: str) -> None:
        """Let the cure name the option that holds the database's URL."""
        self.cure = self.cure.replace(URL_WORDS, option)

    def __str__(self):
        return f"{self.args[0]}: {self.cure}" if self.cure else self.args[0]


class Contended(Busy, DatabaseAway):
    """The locks of others stood in the way, and nothing was changed: try again."""


class Duplicate(Exception):
    """The row is there already."""


class TooLarge(Exception):
    """A value is larger than the server takes, or than its column."""
