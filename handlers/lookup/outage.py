"""The time during which a database is not asked, because it was away a moment ago."""

import logging
import random
import threading
import time

from handlers import faults

from . import verdict
from .errors import Contended, DatabaseAway, DatabaseMisconfigured

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
    :param shared: the file of :mod:`.verdict`, None if there is none.
    """

    def __init__(self, name: str, longest: float, shared: str | None = None):
        self._name = name
        # One process may ask the same database on several connections.
        self._subject = "database", name
        self._longest = longest
        self._shared = shared
        # the last entry may be that of a process that has ended
        self._is_confirmed = False
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
            cure = "start it, or correct lookup.database"
            if isinstance(error, Contended):
                cure = "end what keeps its table locked (SHOW PROCESSLIST)"
            said = f"database {self._name} is away ({error}): {cure}"
            # how it is away differs from one attempt to the next
            level, key = logging.WARNING, DatabaseAway
        else:
            said = f"database {self._name}: {error}"
            level, key = logging.ERROR, said
        if self._shared is not None:
            verdict.failed(self._shared, said)
        faults.tell(logger, level, self._subject, f"lookup: {said}; {meanwhile}", key=key)

    def end(self, is_rare: bool = False) -> None:
        """Note that the database has answered; log it if it had been away.

        :param is_rare: whether there is time to look at what other processes say of it.
        """
        if self._shared is not None and (is_rare or not self._is_confirmed):
            self._is_confirmed = True
            if verdict.read(self._shared).is_away():
                verdict.answered(self._shared)
        if self._error is None:
            return
        with self._lock:
            if self._error is None:
                return
            self._error = None
            lasted = time.monotonic() - self._since
        if self._shared is not None:
            verdict.answered(self._shared)
        if faults.over(self._subject):
            logger.warning("lookup: database %s is back after %.1f s", self._name, lasted)
