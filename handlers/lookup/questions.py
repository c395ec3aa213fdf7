"""Single ids that the database is asked for: how often it may be, and what it has answered."""

import logging
import threading
import time

from handlers import counters

from .database import Database
from .errors import DatabaseAway, DatabaseMisconfigured, Unavailable
from .memory import Memory
from .missing import Missing
from .row import Row

logger = logging.getLogger(__name__)

# seconds after which an id that was not asked for is worth another request
_UNASKED_RETRY = 1.0
# seconds between two lines in the log that say so
_QUIET = 60.0


class Limit:
    """Allows *rate* events per second, and as many at once after a quiet second.

    May be used by any thread.
    """

    def __init__(self, rate: int):
        self._rate = rate
        self._lock = threading.Lock()
        self._left = float(rate)
        self._counted = time.monotonic()

    def take(self) -> bool:
        """Return True and count an event, or False if there were too many."""
        with self._lock:
            now = time.monotonic()
            self._left = min(self._rate, self._left + (now - self._counted) * self._rate)
            self._counted = now
            if self._left < 1:
                return False
            self._left -= 1
            return True


class Questions:
    """Asks the database for single ids, and lets memory learn the answers.

    Any thread may use it. The counts are those of this process since it began;
    :mod:`handlers.counters` adds up those of all.

    :param rate: unknown ids that may be asked for in a second, see :meth:`ask_limited`.
    :ivar found: answers with a row.
    :ivar not_found: answers that there is none.
    :ivar not_asked: questions not put to the database, as there were too many.
    :ivar unavailable: questions that could not be answered.
    """

    def __init__(self, database: Database, rate: int):
        self._database = database
        self._rate = rate
        self._limit = Limit(rate)
        self._quiet_until = 0.0
        self.found = 0
        self.not_found = 0
        self.not_asked = 0
        self.unavailable = 0

    def ask_limited(self, id: str, memory: Memory, answered: Missing) -> Row | None:
        """Ask as :meth:`ask` does, unless too many unknown ids were asked for in this second.

        There is no limit before *memory* knows the table.

        :raises Unavailable: if there were too many, or as :meth:`ask` does.
        """
        if memory.complete and not self._limit.take():
            self._turn_away(id)
        return self.ask(id, memory, answered)

    def ask(self, id: str, memory: Memory, answered: Missing | None) -> Row | None:
        """Ask the database, and put the answer into *memory*.

        :param answered: the ids that are not worth a question; ``memory.hidden`` takes in those
            that are private, too. None asks in any case.
        :raises Unavailable: if the database does not answer.
        """
        is_hidden = answered is memory.hidden
        try:
            with self._database.turn():
                # Another thread may have asked the same while this one waited.
                row = None if answered is None else memory.rows.get(id)
                if row is not None and not (is_hidden and row.private):
                    return row
                if answered is not None and id in answered:
                    return None
                asked = time.time_ns()
                row = self._database.one(id)
                memory.learn(id, row, asked, is_hidden)
                if row is None:
                    self.not_found += 1
                    counters.add("lookup_missing")
                else:
                    self.found += 1
                    counters.add("lookup_found")
                return row
        except (DatabaseAway, DatabaseMisconfigured) as error:
            raise self.unanswered(f"{id}: {error}", error.retry_after) from error

    def unanswered(self, why: str, retry_after: float) -> Unavailable:
        """Count a question that cannot be answered, and return the error to raise."""
        self.unavailable += 1
        counters.add("lookup_unavailable")
        return Unavailable(why, retry_after)

    def _turn_away(self, id: str) -> None:
        why = f"{id}: the database was not asked, as for too many others"
        if self._database.is_away:
            raise self.unanswered(why, max(_UNASKED_RETRY, self._database.retry_after))
        self.not_asked += 1
        counters.add("lookup_not_asked")
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET
            logger.info(
                "lookup: more than %d unknown ids in a second: the others are answered 503 "
                "(lookup.queries)",
                self._rate,
            )
        raise Unavailable(why, _UNASKED_RETRY)
