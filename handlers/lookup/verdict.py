"""Whether the database answers, as the processes of a site have last found out.

Each process has its own connection, and some have none. A process that loses the database, or has
it back, writes that into a file that all of them share. The status page and the health check read
the file and ask the database nothing.
"""

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from handlers import locks
from handlers.elected import read_state, write_state

_WAIT = 0.2


@dataclass
class Verdict:
    """What is known of the database; times in seconds since 1970, 0 for never.

    :ivar since: when the outage that ``said`` tells of began.
    :ivar failed: when it last failed to answer a query.
    :ivar back: when a process that had lost it had an answer again.
    :ivar said: what was wrong, and what to do.
    """

    since: float = 0.0
    failed: float = 0.0
    back: float = 0.0
    said: str = ""

    def is_away(self, refreshed: float = 0.0) -> bool:
        """Tell whether the last that is known of the database is a failure.

        :param refreshed: when the snapshot was last compared with the table.
        """
        return self.failed > max(self.back, refreshed)


def read(path: str) -> Verdict:
    """Return the verdict in the file *path*; without one nothing is known of the database."""
    return read_state(path, Verdict) or Verdict()


def failed(path: str, said: str) -> None:
    """Note that the database has failed to answer a query.

    :param said: what is wrong, and what to do.
    """

    def change(before: Verdict) -> Verdict:
        now = time.time()
        begins = not before.is_away() or before.said != said
        return replace(before, since=now if begins else before.since, failed=now, said=said)

    _change(path, change)


def answered(path: str) -> None:
    """Note that the database answers again."""
    _change(path, lambda before: replace(before, back=time.time()))


def _change(path: str, change: Callable[[Verdict], Verdict]) -> None:
    # the log has it even if the file cannot be written
    with contextlib.suppress(OSError):
        if os.stat(os.path.dirname(path)).st_uid != os.geteuid():
            # a command must leave nothing that the children cannot write to
            return
        with locks.held(path, 0, _WAIT):
            write_state(path, change(read(path)))
