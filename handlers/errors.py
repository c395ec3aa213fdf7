"""What can go wrong, in three kinds; the errors of each part are kinds of these.

A handler may let all of them through. :func:`handlers.faults.answer` logs each once and says what
the client gets: 500 for what an admin must mend, 503 with Retry-After for what passes by itself.
The command line prints one sentence instead.
"""


class Misconfigured(ValueError):
    """An option, a file or a table is not as it must be, and an admin has to change it.

    The message names the option or the file, says what was given, and never holds a secret.

    :ivar part: what the log puts in front of the message.
    """

    part = ""


class Unavailable(Exception):
    """What is needed is away for now: a database, a disk, a server of sessions.

    :ivar retry_after: seconds after which it is worth trying again.
    :ivar part: what the log puts in front of the message.
    :ivar is_logged: whether the part that raised it keeps the log itself, one line per outage.
    """

    part = ""
    is_logged = False

    def __init__(self, message: str = "", retry_after: float = 3.0):
        super().__init__(message)
        self.retry_after = retry_after


class Busy(Unavailable):
    """Others hold what is needed, for longer than this request or command may wait."""
