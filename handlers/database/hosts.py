"""The hosts of a database URL: which one to ask, and which one after it."""

import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from .errors import DatabaseAway, DatabaseMisconfigured
from .url import URL

#: Seconds for which a connection to a read-only server is used while another host may take changes.
STANDBY = 60.0
# seconds for which a host that failed is not tried again while a read-only one answers
_FAILED = 60.0

Host = tuple[str, int] | None


class Connected(Protocol):
    """What :class:`Hosts` wants of a connection.

    :ivar read_only: whether its server takes no changes.
    """

    read_only: bool

    def close(self) -> None:
        """Close it; raises nothing."""


C = TypeVar("C", bound=Connected)


class Hosts:
    """The hosts of one URL, in their order, from the one that answered last.

    A host that fails is passed over for the next one, and so is a server that takes no changes, as
    long as another one does: after a failover that is the old primary, or a replica that has not
    been promoted yet. If no host takes changes, one that answers is as good as any.

    Threads may share it: the worst that happens is that a host is passed over twice.
    """

    def __init__(self, url: URL):
        self._hosts: tuple[Host, ...] = url.hosts or (None,)
        self._at = 0
        self._failed: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._hosts)

    def skip(self) -> None:
        """Begin with the next host from now on, as the present one failed."""
        self._failed[self._at % len(self)] = time.monotonic()
        self._at += 1

    def first(
        self,
        connect: Callable[[Host], C],
        ask: Callable[[C], Any] = lambda connection: None,
        attempts: int | None = None,
    ) -> tuple[C, Any]:
        """Connect to the first host that answers *ask*; return (connection, answer).

        :param connect: connects to (host, port), or to what None stands for.
        :param attempts: how many hosts to try, all of them by default.
        :raises DatabaseAway: if none answers.
        :raises DatabaseMisconfigured: the same, if one of them refuses what is configured.
        """
        standbys: list[tuple[int, C]] = []
        errors: list[DatabaseAway | DatabaseMisconfigured] = []
        try:
            for _ in range(len(self) if attempts is None else attempts):
                here = self._at % len(self)
                if not (standbys and self._failed_lately(here)):
                    try:
                        connection = connect(self._hosts[here])
                        if not connection.read_only or len(self) == 1:
                            return connection, _asked(connection, ask)
                        standbys.append((self._at, connection))
                    except (DatabaseAway, DatabaseMisconfigured) as error:
                        self._failed[here] = time.monotonic()
                        errors.append(error)
                self._at += 1
            while standbys:
                self._at, connection = standbys.pop(0)
                try:
                    return connection, _asked(connection, ask)
                except (DatabaseAway, DatabaseMisconfigured) as error:
                    errors.append(error)
                self.skip()
        finally:
            for _, connection in standbys:
                connection.close()
        raise next((e for e in errors if isinstance(e, DatabaseMisconfigured)), errors[-1])

    def _failed_lately(self, here: int) -> bool:
        return time.monotonic() - self._failed.get(here, -_FAILED) < _FAILED


def _asked(connection: C, ask: Callable[[C], Any]) -> Any:
    try:
        return ask(connection)
    except BaseException:
        connection.close()
        raise
