"""Dangerous work in a process of its own: short-lived, bounded, and less urgent than its server.

Decoders run in C, to their end, on files that strangers have made. In a child of the server, one
that loops, crashes or swallows memory takes a warm child with it, and no signal handler may be
installed there to stop it. A process that is forked for one piece of work can be bounded by the
kernel, and whatever becomes of it, the child only reads how it ended. It gets the CPU time that
nobody else wants, so requests that need no such work are served first. A fork and its end cost some
5 ms of CPU time.
"""

import contextlib
import ctypes
import json
import math
import os
import resource
import select
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from typing import NamedTuple

_PR_SET_PDEATHSIG = 1
_PIECE = 1 << 20
# what the server's own handlers would do on these is not for a process that serves nobody
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGWINCH)
_libc = ctypes.CDLL(None)


class WorkerDied(Exception):
    """Raised when the process ended without an answer; the message says how."""


class WorkerTimeout(Exception):
    """Raised when the process had to be stopped because it took too long by the clock."""


class Bounds(NamedTuple):
    """What the process may take, and the wall-clock time that its parent waits for it."""

    #: Seconds by the clock.
    seconds: float
    #: Seconds of CPU time, rounded up to whole ones.
    cpu_seconds: float
    #: Bytes of address space beyond what the parent has.
    memory: int


class Done(NamedTuple):
    """What came of a piece of work: what it returned, and what it took."""

    answer: dict
    data: bytes
    cpu_seconds: float
    peak_bytes: int


def call(
    function: Callable[[], tuple[dict, bytes]], bounds: Bounds, keep: Sequence[int] = ()
) -> Done:
    """Run *function* in a forked process and return what it returns.

    Its memory is that of the caller at this moment; what the function changes stays in the process.
    Should the caller die, the kernel kills the process with it.

    :param function: returns a dict for JSON, and bytes.
    :param keep: descriptors that it needs. All others above 2 are closed: the process must hold
        neither the locks of other threads nor the server's port, nor anybody's connection.
    :raises WorkerDied: if the process was killed, by the kernel for exceeding *bounds* or by
        anybody, crashed, or *function* raised something, whose traceback is the message then.
    :raises WorkerTimeout: if it took longer than ``bounds.seconds`` and was killed for that.
    :raises OSError: if no process can be made.
    """
    reading, writing = os.pipe()
    parent = os.getpid()
    # until the process has its own, a signal to all of the server's would run the server's handlers
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        pid = os.fork()
        if pid == 0:
            _work(function, bounds, parent, writing, keep, mask)
    except BaseException:
        os.close(reading)
        os.close(writing)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.close(writing)
    deadline = time.monotonic() + bounds.seconds
    said = None
    try:
        said = _read(reading, deadline)
    finally:
        os.close(reading)
        if said is None:
            os.kill(pid, signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
    if said is None:
        raise WorkerTimeout(f"not finished within {bounds.seconds:g} s")
    head, separator, data = said.partition(b"\n")
    if not separator:
        raise WorkerDied(_cause(status, bounds))
    answer = json.loads(head)
    if "traceback" in answer:
        raise WorkerDied(answer["traceback"])
    return Done(answer, data, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def die_with_parent(number: signal.Signals) -> None:
    """Have the kernel send the signal *number* to this process when its parent's thread ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)


def _work(function, bounds, parent, writing, keep, mask):
    """Do the work and end the process, without ever returning into the server's code."""
    try:
        for number in _SIGNALS:
            _libc.signal(int(number), None)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        die_with_parent(signal.SIGKILL)
        if os.getppid() == parent:
            _close_but({0, 1, 2, writing, *keep})
            _bound(bounds)
            try:
                answer, data = function()
            except MemoryError:
                answer, data = {"traceback": f"over {bounds.memory} bytes of memory"}, b""
            except Exception:
                answer, data = {"traceback": traceback.format_exc()}, b""
            view = memoryview(json.dumps(answer).encode() + b"\n" + data)
            while view:
                view = view[os.write(writing, view) :]
    finally:
        os._exit(0)


def _close_but(kept):
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            # the descriptor of the listing itself is closed already
            with contextlib.suppress(OSError):
                os.close(int(name))


def _bound(bounds):
    # sched(7). Requests that keep all cores busy keep 0.93 of their rate beside such processes, and
    # 0.81 beside those of nice value 19, which keep the CPU for a slice once they have it.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    seconds = _whole(bounds.cpu_seconds)
    _lower(resource.RLIMIT_CPU, seconds, seconds + 1)
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[0])
    size = pages * resource.getpagesize() + bounds.memory
    _lower(resource.RLIMIT_AS, size, size)


def _whole(seconds: float) -> int:
    return max(1, math.ceil(seconds))


def _lower(which: int, soft: int, hard: int) -> None:
    highest = resource.getrlimit(which)[1]
    if highest == resource.RLIM_INFINITY or highest > hard:
        resource.setrlimit(which, (soft, hard))


def _read(fd: int, deadline: float) -> bytes | None:
    """Return all that comes from *fd*; None if its end has not come by the *deadline*."""
    pieces, poll = [], select.poll()
    poll.register(fd, select.POLLIN)
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            return None
        piece = os.read(fd, _PIECE)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)


def _cause(status: int, bounds: Bounds) -> str:
    number = os.waitstatus_to_exitcode(status)
    if number == -signal.SIGXCPU:
        return f"over {_whole(bounds.cpu_seconds)} s of CPU time"
    if number < 0:
        return f"killed by {signal.Signals(-number).name}"
    return "ended without an answer"
