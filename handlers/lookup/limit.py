"""How often something may be done in a second."""

import threading
import time


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
