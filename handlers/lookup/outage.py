"""The time during which a database is not asked, because it was away a moment ago."""

import logging
import random
import threading
import time

from handlers import faults

from .errors import DatabaseAway, DatabaseMisconfigured

logger = logging.getLogger(__name__)

_FIRST_PAUSE = 0.5
# The global generator of forked children gives all of them the same numbers.
_jitter = random.SystemRandom().uniform


class Outage:
    """Counts failures, grows the pause after each, and logs the first and the end of them.

    Every child has its own, and its own jitter: children that lost the database at the same moment
    do not come back to it at the same moment. May be used by any thread.

    :param name: what the log calls the database.
    :param longest: seconds that a pause grows to, before jitter of a half more or less.
    """

    def __init__(self, name: str, longest: float):
        self._name = name
        # One process may ask the same database on several connections.
        self._subject = "database", name
        self._longest = longest
        self._lock = threading.Lock()
        self._error: DatabaseAway | DatabaseMisconfigured | None = None
        self._since = 0.0
        self._until = 0.0
        self._pause = 0.0

    @property
    def lasts(self) -> bool:
        """True from the first failure until the database has answered again."""
        return self._error is not None

    @property
    def retry_after(self) -> float:
        """Seconds until the database may be asked again; 0 if it may."""
        return max(0.0, self._until - time.monotonic()) if self._error else 0.0

    def check(self) -> None:
        """Return if the database may be asked.

        :raises DatabaseAway: during a pause after such a failure.
        :raises DatabaseMisconfigured: during a pause after such a failure.
        """
        error, wait = self._error, self.retry_after
        if error is not None and wait > 0:
            raise type(error)(str(error), retry_after=wait)

    def begin(self, error: DatabaseAway | DatabaseMisconfigured) -> None:
        """Start a pause, longer than the one before; log the failure, unless it goes on."""
        with self._lock:
            now = time.monotonic()
            if self._error is None:
                self._since = now
                self._pause = min(_FIRST_PAUSE, self._longest)
            else:
                self._pause = min(self._pause * 2, self._longest)
            wait = self._pause * _jitter(0.5, 1.5)
            self._until = now + wait
            self._error = error
        error.retry_after = wait
        meanwhile = "until then known ids are answered from memory"
        if isinstance(error, DatabaseAway):
            faults.tell(
                logger,
                logging.WARNING,
                self._subject,
                f"lookup: database {self._name} is away ({error}): start it, or correct "
                f"lookup.database; {meanwhile}",
                # how it is away differs from one attempt to the next
                key=DatabaseAway,
            )
        else:
            message = f"lookup: database {self._name}: {error}; {meanwhile}"
            faults.tell(logger, logging.ERROR, self._subject, message)

    def end(self) -> None:
        """Note that the database has answered; log it if it had been away."""
        if self._error is None:
            return
        with self._lock:
            if self._error is None:
                return
            self._error = None
            lasted = time.monotonic() - self._since
        if faults.over(self._subject):
            logger.warning("lookup: database %s is back after %.1f s", self._name, lasted)
