"""Dangerous work in a process of its own: short-lived, bounded, and less urgent than its server.

Decoders run in C, to their end, on files that strangers have made. In a child of the server, one
that loops, crashes or swallows memory takes a warm child with it, and no signal handler may be
installed there to stop it. A process that is forked for one piece of work can be bounded by the
kernel, and whatever becomes of it, the child only reads how it ended. It gets the CPU time that
nobody else wants, so requests that need no such work are served first.

Thumbnails are made like this only where no maker can be started (:mod:`handlers.maker`).
"""

import contextlib
import ctypes
import errno
import json
import math
import os
import pickle
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import NamedTuple

from handlers import stop

_PR_SET_PDEATHSIG = 1
_PIECE = 1 << 20
_STATM = "/proc/self/statm"
# The server has handlers of its own for most of these, and a shell that starts it in the background
# has it ignore SIGINT and SIGQUIT: in a process that serves nobody each must end it.
_SIGNALS = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP),
    *(signal.SIGUSR1, signal.SIGWINCH, signal.SIGPROF, signal.SIGXCPU, signal.SIGIO),
)
#: Of a new Python. With large pages, glibc.malloc.hugetlb in glibc's manual, a picture of 48 MB is
#: decoded in 0.9 of the time, as most of its pages need not be asked for one by one.
_ENVIRONMENT = {"LANG": "C.UTF-8", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
_libc = ctypes.CDLL(None)
# with the GIL held, as ctypes.pythonapi does it
_interpreters = ctypes.pythonapi
for _name in ("PyInterpreterState_Head", "PyInterpreterState_Next"):
    getattr(_interpreters, _name).restype = ctypes.c_void_p
_interpreters.PyInterpreterState_Next.argtypes = (ctypes.c_void_p,)
_BOOT = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from handlers.worker import run_spawned
run_spawned(int(sys.argv[2]), int(sys.argv[3]))
"""


class WorkerDied(Exception):
    """Raised when the process ended without an answer; the message says how."""


class NotStarted(OSError):
    """Raised when no process can be made: too many of them, or no Python to start."""


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
    #: Seconds by the clock until there was a process to do it, 0 if one was there.
    starting_seconds: float = 0.0


def call(
    function: Callable[[], tuple[dict, bytes]], bounds: Bounds, keep: Sequence[int] = ()
) -> Done:
    """Run *function* in a process of its own and return what it returns.

    What the function changes stays in the process. Should the caller die, the kernel kills the
    process with it. It is forked, unless other applications of the server have interpreters of
    their own in the caller's process: then a new Python is started, which takes 100 ms more.

    :param function: returns a dict for JSON, and bytes; to be pickled in a server, as a partial of
        a function of a module.
    :param keep: descriptors that it needs. All others above 2 are closed: the process must hold
        neither the locks of other threads nor the server's port, nor anybody's connection.
    :raises WorkerDied: if the process was killed, by the kernel for exceeding *bounds* or by
        anybody, crashed, or *function* raised something, whose traceback is the message then.
    :raises WorkerTimeout: if it took longer than ``bounds.seconds`` and was killed for that.
    :raises NotStarted: if no process can be made.
    """
    try:
        pid, reading = _started(function, bounds, keep)
    except OSError as error:
        raise NotStarted(error.errno, error.strerror, error.filename) from error
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


def run_spawned(parent: int, writing: int) -> None:
    """Do in a new Python what :func:`call` has sent to its standard input, and end the process."""
    try:
        die_with_parent(signal.SIGKILL)
        keep, bounds, function = pickle.load(sys.stdin.buffer)
        if os.getppid() == parent:
            _close_but({0, 1, 2, writing, *keep})
            _answer(function, bounds, writing)
    finally:
        os._exit(0)


def _started(function, bounds: Bounds, keep: Sequence[int]) -> tuple[int, int]:
    """Start the process; return its id and the descriptor that its answer comes from."""
    reading, writing = os.pipe()
    try:
        start = _spawned if _is_one_of_several_interpreters() else _forked
        return start(function, bounds, writing, keep), reading
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)


def _is_one_of_several_interpreters() -> bool:
    # os.fork() in such a process never returns in the child (seen in Python 3.11)
    first = _interpreters.PyInterpreterState_Head()
    return bool(_interpreters.PyInterpreterState_Next(first))


def _forked(function, bounds: Bounds, writing: int, keep: Sequence[int]) -> int:
    _check_proc()
    parent = os.getpid()
    # until the process has its own, a signal to all of the server's would run the server's handlers
    blocked = stop.left_to_child()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        pid = os.fork()
        if pid == 0:
            _work(function, bounds, parent, writing, keep, mask.union(blocked))
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def spawn(
    code: str,
    arguments: Sequence[str],
    keep: Sequence[int],
    stdin: int = -1,
    blocked: Sequence[signal.Signals] = (),
) -> int:
    """Start a new Python that runs *code*; return its id.

    It has the signals of a program started from a shell, and a bare environment.

    :param keep: descriptors that it has under the same numbers.
    :param stdin: what it reads as its standard input; by default nothing.
    :param blocked: signals that do not reach it.
    :raises OSError: if it cannot be started, or there is no Python.
    """
    _check_proc()
    actions: list[tuple] = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    if stdin >= 0:
        actions = [(os.POSIX_SPAWN_DUP2, stdin, 0)]
    actions.append((os.POSIX_SPAWN_DUP2, 2, 1))
    # a descriptor that becomes itself is one that the new program keeps, posix_spawn(3)
    actions += [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in keep]
    python = _python()
    return os.posix_spawn(
        python,
        [python, "-I", "-S", "-B", "-c", code, *arguments],
        _ENVIRONMENT,
        file_actions=actions,
        setsigmask=blocked,
        setsigdef=_SIGNALS,
    )


def _spawned(function, bounds: Bounds, writing: int, keep: Sequence[int]) -> int:
    job = pickle.dumps((keep, bounds, function))
    sending = os.memfd_create("job")
    try:
        os.write(sending, job)
        os.lseek(sending, 0, os.SEEK_SET)
        arguments = [json.dumps(sys.path), str(os.getpid()), str(writing)]
        return spawn(_BOOT, arguments, [writing, *keep], sending, stop.left_to_child())
    finally:
        os.close(sending)


def _check_proc() -> None:
    # the process reads there how much memory it has to begin with, and limits itself by that
    if not os.path.exists(_STATM):
        message = "/proc is not mounted (with ChrootDir, mount it in that directory, too)"
        raise FileNotFoundError(errno.ENOENT, message, _STATM)


def _python() -> str:
    """Return the Python to start: sys.executable names it in no server."""
    version = "bin/python{}.{}".format(*sys.version_info)
    # <environment>/lib/python3.11/site-packages/handlers/worker.py
    homes = (__file__.rsplit("/", 5)[0], sys.prefix, sys.base_prefix, "/usr")
    for home in homes:
        path = f"{home}/{version}"
        if os.access(path, os.X_OK):
            return path
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{homes[0]}/{version}")


def _work(function, bounds, parent, writing, keep, mask):
    """Do the work and end the process, without ever returning into the server's code."""
    try:
        for number in _SIGNALS:
            _libc.signal(int(number), None)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        die_with_parent(signal.SIGKILL)
        if os.getppid() == parent:
            _close_but({0, 1, 2, writing, *keep})
            _answer(function, bounds, writing)
    finally:
        os._exit(0)


def _answer(function, bounds, writing):
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
    with open(_STATM, encoding="ascii") as file:
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
