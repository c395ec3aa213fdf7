"""What the processes that share a snapshot tell each other: the line in ``<snapshot>.state``.

The file is also the lock that makes one process of all the one that writes the snapshot. It is
never unlinked. Only the holder of the lock writes the line: see
:func:`handlers.elected.write_state`.
"""

from dataclasses import dataclass, field

from .updated import Mark

_STARTS_KEPT = 8


@dataclass
class State:
    """The line.

    :ivar starts: the generation that the snapshot was last refreshed for, of each server.
    :ivar refreshed: when the snapshot was last compared with the table, in seconds since 1970.
    :ivar full: when all rows were last read for it.
    :ivar counted: when the rows of the table were last counted, and how long that took.
    :ivar shrunk: since when the table has far fewer rows than the snapshot, 0 if it has not.
    :ivar serial: the last snapshot that was written; ``mark`` and ``settled`` belong to it.
    :ivar mark: up to where the column ``updated`` was seen, as of ``refreshed``.
    :ivar zone: what the database's time of day was ahead of UTC then, in seconds.
    :ivar settled: what ``mark`` was when all rows of the overlap were last read.
    :ivar reread: when that was, and how long it took.
    :ivar told: the snapshot whose changed ids have been told to everybody who must know.
    """

    starts: dict[str, int] = field(default_factory=dict)
    refreshed: float = 0.0
    full: float = 0.0
    counted: float = 0.0
    count_seconds: float = 0.0
    reread: float = 0.0
    reread_seconds: float = 0.0
    shrunk: float = 0.0
    serial: str = ""
    mark: Mark | None = None
    zone: float = 0.0
    settled: Mark | None = None
    told: str = ""

    def knows(self, start: tuple[str, int]) -> bool:
        """Tell whether the snapshot was refreshed since that start of a server."""
        server, generation = start
        return not server or self.starts.get(server, -1) >= generation

    def supersedes(self, serial: str, began: int) -> bool:
        """Tell whether a snapshot was there before the last one: somebody has put it back.

        One that is new, and not noted here yet, began after the last refresh.

        :param began: see :class:`.snapshot.Snapshot`.
        """
        return self.serial not in ("", serial) and began < self.refreshed * 10**9

    def note(self, start: tuple[str, int]) -> None:
        """Remember that it was, and forget the servers of long ago."""
        server, generation = start
        if server:
            self.starts.pop(server, None)
            self.starts[server] = generation
            for oldest in list(self.starts)[:-_STARTS_KEPT]:
                del self.starts[oldest]
