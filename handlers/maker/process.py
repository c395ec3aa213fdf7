"""The process of a maker: started by a child, then alone with one socket."""

import contextlib
import ctypes
import fcntl
import gc
import io
import math
import os
import resource
import select
import signal
import socket
import time
import traceback

from PIL import AvifImagePlugin, Image, WebPImagePlugin

from handlers.image import encode, geometry, libraries, strips, thumbnail
from handlers.maker import confinement, job, wire
from handlers.maker.kept import Pictures

_BACKLOG = 8
_PR_SET_NAME = 15
_TICK = 0.01

_libc = ctypes.CDLL(None)
# in the encoder's tables from now on; Pillow would look for them on the disk at the first use
_PLUGINS = (AvifImagePlugin, WebPImagePlugin)


def run(
    parent: int,
    first: socket.socket,
    directory: int,
    slot: int,
    title: str,
    idle: float,
    most_kept: int,
) -> None:
    """Serve the connection *first*, then one after the other, until it is time to go.

    :param parent: a pidfd of the process with which the maker goes, httpd's parent process.
    :param directory: a descriptor of the directory in which the maker's socket is.
    :param idle: seconds without a job after which the maker goes.
    :param most_kept: resident bytes that it may have kept from its jobs, or it goes, too.
    """
    _name(title)
    job.load()
    strips.load()
    listening = _listening(directory, slot)
    os.close(directory)
    _warm_up()
    process = _Process(most_kept)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # while their files can be looked for
    libraries.installed()
    missing = confinement.confine()
    _warm_up()
    gc.freeze()
    # sched(7). Requests that keep all cores busy keep 0.93 of their rate beside such processes, and
    # 0.81 beside those of nice value 19, which keep the CPU for a slice once they have it.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    hello = {"build": wire.BUILD, "missing": missing, "pid": os.getpid(), "jobs": 0}
    hello["libraries"] = libraries.used()
    connection = first
    while connection is not None:
        with connection:
            hello["jobs"] += 1
            if not process.serve(connection, hello):
                return
        if listening is None:
            return
        connection = _next(listening, parent, idle, process.pictures)


def _listening(directory: int, slot: int) -> socket.socket | None:
    """Return the socket that the maker listens on; None if it cannot be made, on a full disk."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    name = wire.socket_name(slot)
    os.umask(0o177)
    try:
        # who starts a maker holds its turn, so what is there is of one that has gone
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)
        # a path of its own may be longer than an address can be
        listening.bind(f"/proc/self/fd/{directory}/{name}")
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        return None
    return listening


def _next(
    listening: socket.socket, parent: int, idle: float, pictures: Pictures
) -> socket.socket | None:
    """Return the next connection of this user; None if none comes in time, or httpd has gone.

    What is kept too long is dropped meanwhile.
    """
    deadline = time.monotonic() + idle
    poll = select.poll()
    poll.register(listening, select.POLLIN)
    poll.register(parent, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0:
        kept = pictures.left()
        ready = dict(poll.poll(1000 * (left if kept is None else min(left, kept))))
        if parent in ready:
            return None
        if not ready:
            continue
        connection = listening.accept()[0]
        _, uid = wire.peer_of(connection)
        if uid == os.geteuid():
            return connection
        connection.close()
    return None


class _Process:
    """This process, and what bounds it from job to job.

    :ivar pictures: what it keeps from one job for the next.
    """

    def __init__(self, most_kept: int):
        # opened before there is nothing to open any more
        self._memory = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._peak = None
        with contextlib.suppress(OSError):
            self._peak = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
        self._most_kept = self._pages()[1] + most_kept
        self.pictures = Pictures()
        # a signal of Python's own is told to the connection from C, whatever Python is waiting for
        signal.signal(signal.SIGPROF, lambda *_: None)

    def serve(self, connection: socket.socket, hello: dict) -> bool:
        """Do the one job that comes through *connection*; tell whether another one may follow.

        The process ends by a signal if the other side gives the job up, or dies.
        """
        try:
            wire.send(connection, hello)
            asked, _, (alive, *descriptors) = wire.receive(connection)
        except (wire.Ended, OSError):
            # a child that has died, or wants a maker of another build
            return False
        work = job.unpacked(asked["job"])
        with _bound_to(connection, alive):
            started = resource.getrusage(resource.RUSAGE_SELF)
            self._bound(asked["cpu_seconds"], asked["memory"], started)
            try:
                answer, data = job.run(descriptors, work, self.pictures)
            except MemoryError:
                answer, data = {"traceback": f"over {asked['memory']} bytes of memory"}, b""
            except Exception:
                answer, data = {"traceback": traceback.format_exc()}, b""
            signal.setitimer(signal.ITIMER_PROF, 0)
        used = resource.getrusage(resource.RUSAGE_SELF)
        answer["cpu_seconds"] = _cpu_seconds(used) - _cpu_seconds(started)
        answer["peak_bytes"] = used.ru_maxrss * 1024
        with contextlib.suppress(OSError):
            wire.send(connection, answer, data)
        resident = self._pages()[1] - self.pictures.bytes
        return "traceback" not in answer and resident <= self._most_kept

    def _bound(self, cpu_seconds: float, memory: int, used: resource.struct_rusage) -> None:
        # a job that needs their memory drops the pictures first
        _set_soft(resource.RLIMIT_AS, self._pages()[0] - self.pictures.bytes + memory)
        # the kernel's own end, in whole seconds, in case that nobody listens to the timer
        _set_soft(resource.RLIMIT_CPU, math.ceil(_cpu_seconds(used) + cpu_seconds) + 1)
        signal.setitimer(signal.ITIMER_PROF, max(_TICK, cpu_seconds))
        if self._peak is not None:
            # proc_pid_clear_refs(5): 5 resets the peak of the resident memory
            os.write(self._peak, b"5")

    def _pages(self) -> tuple[int, int]:
        """Return the bytes of the address space, and those that are resident."""
        size, resident = os.pread(self._memory, 64, 0).split()[:2]
        return int(size) * resource.getpagesize(), int(resident) * resource.getpagesize()


@contextlib.contextmanager
def _bound_to(connection: socket.socket, alive: int):
    """End this process if the other side closes its end of the pipe *alive* inside the block.

    The kernel sends SIGIO then, which nothing here catches: a decoder need not come to its end.
    Should the timer of the CPU time expire, its number goes through the *connection*.
    """
    fd = connection.fileno()
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
    # nothing is ever written to it, so there is no other reason for the signal
    fcntl.fcntl(alive, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(alive, fcntl.F_SETFL, os.O_ASYNC)
    poll = select.poll()
    poll.register(alive, select.POLLIN)
    if poll.poll(0):
        # closed before that
        os._exit(0)
    try:
        yield
    finally:
        # the other side has the same open file, and closing this end alone would change nothing
        fcntl.fcntl(alive, fcntl.F_SETFL, 0)
        os.close(alive)
        signal.set_wakeup_fd(-1)
        fcntl.fcntl(fd, fcntl.F_SETFL, flags)


def _warm_up() -> None:
    """Make a thumbnail in each format, so that all that Pillow loads late is there.

    Once more behind the walls it shows that nothing is missing: what fails here ends the process,
    and the child that has started it does without.
    """
    Image.preinit()
    source = io.BytesIO()
    Image.new("RGB", (8, 8)).save(source, "JPEG")
    strips.check()
    for name in encode.FORMATS:
        thumbnail.make(source, geometry.parse("4x4"), name)


def _cpu_seconds(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def _set_soft(which: int, limit: int) -> None:
    hard = resource.getrlimit(which)[1]
    resource.setrlimit(which, (limit if hard < 0 else min(limit, hard), hard))


def _name(title: str) -> None:
    """Have ps(1) show *title* instead of the command line, if it fits in there."""
    _libc.prctl(_PR_SET_NAME, b"thumbnail-maker", 0, 0, 0)
    with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    # proc_pid_stat(5): arg_start and arg_end are 48 and 49, and this list begins with 3
    start, end = int(fields[45]), int(fields[46])
    text = os.fsencode(title)[: max(0, end - start - 1)]
    if text:
        ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)
