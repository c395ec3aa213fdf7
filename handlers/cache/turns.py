"""Who may make a thumbnail now, who waits, and who is sent away.

Three kinds of locks, of one byte each, all of which die with their holder: one for each thumbnail,
so that it is made once; one for each maker that may work at a time; one for each request that
waits. A request that waits occupies a child of the server, so some children are kept free for what
is made already: beyond the number of waiters, a request waits only if its turn comes soon, and is
turned away at once otherwise.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Sequence

from handlers import locks, state_directory
from handlers.cache import wakeup
from handlers.cache.pace import Pace
from handlers.errors import Busy

_LOOK_AGAIN = 0.5
#: Bytes of the file of waiters, from here on, of those of them that wait for a maker.
_QUEUE = 1 << 40
_LONGEST_QUEUE = 1 << 16


class Turns:
    """The queue for making thumbnails in the cache *directory*, for one request.

    :param makers: how many may work at once, on this machine.
    :param waiters: how many may wait at once; None for any number.
    :param wait: seconds that this request waits in total; None for as long as it takes.
    :param soon: one more than *waiters* waits if its turn is expected within *soon* seconds,
        and for no longer.
    :param first: the number of the maker to have if it is free.
    """

    def __init__(
        self,
        directory: str,
        makers: int,
        waiters: int | None,
        wait: float | None,
        soon: float = 0.0,
        first: int = 0,
    ):
        self._directory = directory
        self._makers = makers
        self._waiters = waiters
        self._deadline = None if wait is None else time.monotonic() + wait
        self._wait = wait
        self._soon = soon
        self._first = first
        self._pace = Pace(directory)
        self._left_out = 0.0

    @property
    def left(self) -> float | None:
        """Seconds left of the time that the request waits, None if there is no end to it."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    @contextlib.contextmanager
    def thumbnail(self, name: str) -> Iterator[None]:
        """Be the only one that makes the thumbnail *name*.

        :raises Busy: if another one makes it, and too many wait already.
        :raises handlers.locks.LockTimeout: if that other one took too long.
        :raises OSError: if the cache cannot be written.
        """
        fd, _ = self._taken("lock", (locks.key_offset(name),))
        try:
            yield
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def picture(self, id: str) -> Iterator[None]:
        """Be the only one that makes anything of the picture *id*; raises as :meth:`thumbnail`.

        So a source that kills its maker takes one maker at a time.
        """
        fd, _ = self._taken("lock", (locks.key_offset(f"picture/{id}"),))
        try:
            yield
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def maker(self) -> Iterator[int]:
        """Have the turn of a maker, whose number is yielded; raises as :meth:`thumbnail` does.

        If *first* is not free, it is the lowest one that is, so that the others become idle and go.
        Of those who wait, the one that has waited longest is woken first.
        """
        sleepers = state_directory.path(self._directory, "sleepers")
        numbers = sorted(range(self._makers), key=lambda number: number != self._first)
        fd, number = self._taken("makers", numbers, sleepers)
        started, self._left_out = time.monotonic(), 0.0
        try:
            yield number
            self._pace.note(max(0.0, time.monotonic() - started - self._left_out))
        finally:
            os.close(fd)
            wakeup.wake(sleepers)

    def leave_out(self, seconds: float) -> None:
        """Leave *seconds* out of what the maker's turn has taken: its process was starting then.

        The process stays, so the next turns will not take that time.
        """
        self._left_out += seconds

    @contextlib.contextmanager
    def idle_maker(self, number: int) -> Iterator[None]:
        """Have the turn of the maker *number* for a thumbnail that nobody has asked for.

        Only if nobody waits for a turn and, where there are several makers, another one is free
        for the next request. It does not change how long a thumbnail is expected to take.

        :raises handlers.locks.LockTimeout: if others come first.
        :raises OSError: if the cache cannot be used.
        """
        path = state_directory.path(self._directory, "makers")
        waiters = state_directory.path(self._directory, "waiters")

        def check() -> None:
            others = [other for other in range(self._makers) if other != number]
            if locks.is_held(waiters, _QUEUE, _LONGEST_QUEUE) or (
                others and all(locks.is_held(path, other) for other in others)
            ):
                raise locks.LockTimeout("others come first")

        # looking keeps nobody away from a turn, as taking one for a moment would
        check()
        fd = locks.acquire(path, number, 0)
        try:
            # who has come in between
            check()
            yield
        finally:
            os.close(fd)
            wakeup.wake(state_directory.path(self._directory, "sleepers"))

    def _taken(
        self, file: str, offsets: Sequence[int], sleepers: str | None = None
    ) -> tuple[int, int]:
        """Take one of the bytes *offsets*, waiting if need be and allowed.

        :return: the descriptor that holds it, and which one it is.
        """
        state_directory.ensure(self._directory)
        path = state_directory.path(self._directory, file)
        with contextlib.suppress(locks.LockTimeout):
            return locks.acquire_one(path, offsets, 0)
        started = time.monotonic()
        try:
            with self._waiting(sleepers is not None):
                if sleepers is None:
                    return locks.acquire_one(path, offsets, self.left)
                return self._taken_when_woken(path, offsets, sleepers)
        except locks.LockTimeout:
            waited = time.monotonic() - started
            # more than twice what is soon would keep requests away for longer than the fault lasts
            self._pace.note_at_least(min(waited, 2 * self._soon))
            raise locks.LockTimeout(f"{file} not free within {self._wait:g} s") from None

    def _taken_when_woken(
        self, path: str, offsets: Sequence[int], sleepers: str
    ) -> tuple[int, int]:
        with wakeup.sleeping(sleepers) as sleep:
            while True:
                try:
                    return locks.acquire_one(path, offsets, 0)
                except locks.LockTimeout:
                    left = self.left
                    if left == 0:
                        raise
                # a maker that was killed wakes nobody
                sleep(_LOOK_AGAIN if left is None else min(_LOOK_AGAIN, left))

    @contextlib.contextmanager
    def _waiting(self, for_maker: bool):
        """Wait inside the block, and be counted.

        :param for_maker: whether the turn of a maker is waited for, and not the end of what another
            one makes.
        """
        if self._waiters is None:
            yield
            return
        path = state_directory.path(self._directory, "waiters")
        with contextlib.ExitStack() as stack:
            queue = range(_QUEUE, _QUEUE + _LONGEST_QUEUE)
            place, number = locks.acquire_one(path, queue, 0)
            if for_maker:
                stack.callback(os.close, place)
            else:
                os.close(place)
            expected = self._pace.seconds() * (1 + (number - _QUEUE) // self._makers)
            try:
                stack.callback(os.close, locks.acquire_any(path, range(self._waiters), 0))
            except locks.LockTimeout:
                if not self._soon or expected > self._soon:
                    raise Busy(f"{self._waiters} requests wait already") from None
                if self.left is None or self._soon < self.left:
                    self._wait, self._deadline = self._soon, time.monotonic() + self._soon
            yield
