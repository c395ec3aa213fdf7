"""Waking one of those who wait for a turn, as soon as there is one.

Nobody can wait for a byte lock with a time limit, only look again and again. Forty who look every
50 ms take 5 % of a core from the requests that the whole queue is there to protect. So they sleep
on a named pipe (fifo(7)) in the cache, and a byte in it wakes the one that has slept longest
(EPOLLEXCLUSIVE, epoll_ctl(2)).

The byte is a hint and no token: who wakes up still has to take the lock. One that is lost with a
killed process costs the others a late look, and nothing else.
"""

import contextlib
import os
import select
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def sleeping(path: str) -> Iterator[Callable[[float], None]]:
    """Yield a function that sleeps for a number of seconds, or until :func:`wake` ends it.

    What is woken for between entering the with block and the call is not missed.

    :param path: of the named pipe, which is made if need be.
    :raises OSError: if it cannot be.
    """
    with contextlib.suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    # for writing, too: a pipe without writers would be at its end, and never sleep
    pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        with select.epoll() as epoll:
            epoll.register(pipe, select.EPOLLIN | select.EPOLLEXCLUSIVE)

            def sleep(seconds: float) -> None:
                if epoll.poll(seconds):
                    # another one may have been faster
                    with contextlib.suppress(BlockingIOError):
                        os.read(pipe, 1)

            yield sleep
    finally:
        os.close(pipe)


def wake(path: str) -> None:
    """Wake one of those who sleep at *path*, or the next one that is about to."""
    # nobody has opened it, it is full, or cannot be opened: they look again by themselves
    with contextlib.suppress(OSError):
        pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.write(pipe, b"\0")
        finally:
            os.close(pipe)
