"""Asking a maker for a thumbnail, from a child of the server or from a command."""

import contextlib
import errno
import functools
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence

from handlers import faults, state_directory, stop, worker
from handlers.maker import roll, wire
from handlers.maker.job import NOT_KEPT, Job, load, run

log = logging.getLogger(__name__)

#: Seconds without a job after which a maker goes.
IDLE = 10.0
#: Bytes that a maker may have kept from its jobs, beyond those that it began with, or it goes, too.
MOST_KEPT = 64 << 20
#: Seconds that a maker may take to start.
_STARTING = 30.0
_STARTS = 3
#: Seconds without an answer after which a maker is looked at: one that is stopped has none.
_PROMPT = 1.0
#: Seconds for which a child does without makers after one could not be started.
_PAUSE = 60.0
_BOOT = """
import json, os, socket, sys
if os.fork():
    os._exit(0)
told = json.loads(sys.argv[1])
sys.path[:] = told.pop("path")
keep = told["parent"], told["first"], told["directory"]
at = 3
for fd in sorted(keep):
    os.closerange(at, fd)
    at = fd + 1
os.closerange(at, 1 << 20)
told["first"] = socket.socket(fileno=told["first"])
os.chdir("/")
from handlers.maker.process import run
run(**told)
"""

# the process with which makers end, if it is not the parent of this one
_ends_with: int | None = None
_PACKAGES = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# by the cache, as each site has makers of its own
_not_before: dict[str, float] = {}


def end_with_this_process() -> None:
    """Let the makers that this process starts end with it, and not with its parent.

    For a command: a maker holds the command's output open, and who reads that waits for its end.
    """
    global _ends_with
    _ends_with = os.getpid()


def make(
    cache: str, slot: int, job: Job, descriptors: Sequence[int], bounds: worker.Bounds
) -> worker.Done:
    """Have *job* done by the maker *slot* of the cache directory *cache*; return what came of it.

    Where no maker can be started, a process is forked for this job alone, and one line says so.

    :param slot: whose turn the caller holds, see :meth:`handlers.cache.turns.Turns.maker`.
    :param descriptors: of the source, and of its middle-size copy if there is one.
    :raises handlers.worker.WorkerDied, WorkerTimeout, NotStarted: as :func:`handlers.worker.call`.
    """
    if time.monotonic() >= _not_before.get(cache, 0.0):
        try:
            done = ask(cache, slot, job, descriptors, bounds)
            faults.over(("makers", cache))
            return done
        except worker.NotStarted as error:
            _not_before[cache] = time.monotonic() + _PAUSE
            message = f"no maker can be started, each thumbnail takes a process: {error}"
            faults.tell(log, logging.WARNING, ("makers", cache), message)
    load()
    return worker.call(functools.partial(run, tuple(descriptors), job), bounds, descriptors)


def ask(
    cache: str, slot: int, job: Job, descriptors: Sequence[int], bounds: worker.Bounds
) -> worker.Done:
    """Do what :func:`make` does, by a maker in any case.

    :raises handlers.worker.NotStarted: if there is none and none can be started.
    """
    began, starting = time.monotonic(), 0.0
    try:
        found = _connected(cache, slot, bounds.seconds)
        if found is None:
            # one that somebody kills while it starts says nothing about the next one
            starts = (_started(cache, slot) for _ in range(_STARTS))
            found = next(filter(None, starts), None)
            starting = time.monotonic() - began
        if found is None:
            raise OSError(errno.ECONNREFUSED, "it ends at once")
    except OSError as error:
        raise worker.NotStarted(error.errno, error.strerror or str(error)) from error
    done = _done(cache, slot, found, job, descriptors, bounds)
    return done._replace(starting_seconds=starting)


def ask_for_kept(
    cache: str, slot: int, job: Job, descriptors: Sequence[int], bounds: worker.Bounds
) -> worker.Done | None:
    """Have *job* done by the maker *slot* of what it has kept; None if it has not, or has gone.

    :param job: one that is ``of_kept``.
    :raises handlers.worker.WorkerDied, WorkerTimeout: as :func:`make`.
    """
    try:
        found = _connected(cache, slot, bounds.seconds)
    except OSError as error:
        raise worker.WorkerDied(f"it cannot be asked: {error}") from error
    if found is None:
        return None
    done = _done(cache, slot, found, job, descriptors, bounds)
    return None if done.answer.get("error") == NOT_KEPT else done


def _done(
    cache: str,
    slot: int,
    found: tuple[socket.socket, dict],
    job: Job,
    descriptors: Sequence[int],
    bounds: worker.Bounds,
) -> worker.Done:
    """Have *job* done by a maker that has been *found*: its connection, and what it said first."""
    connection, hello = found
    roll.note(cache, slot, hello["pid"], hello["jobs"])
    if hello["jobs"] == 1:
        roll.note_libraries(cache, hello["libraries"])
    asked = {"job": job.packed(), "cpu_seconds": bounds.cpu_seconds, "memory": bounds.memory}
    with connection, _alive() as alive:
        try:
            wire.send(connection, asked, b"", [alive, *descriptors])
            answer, data, _ = wire.receive(connection, time.monotonic() + bounds.seconds)
        except wire.OutOfTime:
            raise worker.WorkerDied(f"over {bounds.cpu_seconds:g} s of CPU time") from None
        except TimeoutError:
            raise worker.WorkerTimeout(f"not finished within {bounds.seconds:g} s") from None
        except (wire.Ended, OSError):
            raise worker.WorkerDied("its maker was killed, or has crashed") from None
    if "traceback" in answer:
        raise worker.WorkerDied(answer["traceback"])
    return worker.Done(answer, data, answer.pop("cpu_seconds"), answer.pop("peak_bytes"))


@contextlib.contextmanager
def _alive():
    """Yield the end of a pipe for the maker, which ends when the other end is closed: at the end
    of the block, or with this process.
    """
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(writing)
        os.close(reading)


def _connected(cache: str, slot: int, seconds: float) -> tuple[socket.socket, dict] | None:
    """Return a connection to the maker that is there, and what it has said first; None if there is
    none to work with.

    :param seconds: that it may take to answer, as it gets the CPU time that others leave.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _directory(cache) as directory:
            connection.connect(f"/proc/self/fd/{directory}/{wire.socket_name(slot)}")
        if hello := _greeted(connection, seconds):
            return connection, hello
    except OSError:
        # none has been started, or it has gone
        pass
    connection.close()
    return None


def _greeted(connection: socket.socket, seconds: float) -> dict | None:
    """Return what a maker says first; None if it is none to work with."""
    began = time.monotonic()
    pid, uid = wire.peer_of(connection)
    try:
        try:
            wire.wait(connection, began + min(seconds, _PROMPT))
        except TimeoutError:
            if _is_stopped(pid):
                raise
        hello, _, _ = wire.receive(connection, began + seconds)
    except wire.Ended:
        return None
    except TimeoutError:
        # stopped, or at a job that nobody waits for: its turn is the caller's
        # the maker that this process has just started has its end from this process, and one of
        # another container that shares the cache has no number here but 0: everybody's in kill(2)
        if uid == os.geteuid() and pid not in (0, os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return None
    if hello["build"] != wire.BUILD:
        # this process, or the maker, is older than the last upgrade
        return None
    if hello["missing"]:
        missing = ", ".join(hello["missing"])
        message = f"makers are not shut in by {missing}, which this kernel or machine has not"
        faults.tell(log, logging.INFO, "confinement", message)
    return hello


def _is_stopped(pid: int) -> bool:
    """Tell whether the process is stopped by a signal, proc_pid_stat(5)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].startswith(" T")
    except OSError:
        return False


def _started(cache: str, slot: int) -> tuple[socket.socket, dict] | None:
    """Start a maker; return the connection over which it takes its first job, and what it has said
    first; None if it ends.

    Its parent ends at once, so it is no child of this process: this one may end before it, and
    need not wait for its end.

    :raises OSError: if that does not succeed.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # with the server it goes; the parent of a child is httpd itself
        parent = os.pidfd_open(_ends_with or os.getppid())
        try:
            with theirs, _directory(cache) as directory:
                keep = {"parent": parent, "first": theirs.fileno(), "directory": directory}
                title = f"modpython-handlers: maker {slot} of {cache}"
                # this very package first, wherever it has been found
                path = [_PACKAGES, *filter(os.path.isabs, sys.path)]
                told = {"path": path, "slot": slot, "title": title, "idle": IDLE}
                told |= {"most_kept": MOST_KEPT} | keep
                # Ctrl-C in a terminal is for the server or command there, with which a maker goes
                blocked = (signal.SIGINT, *stop.left_to_child())
                pid = worker.spawn(_BOOT, [json.dumps(told)], list(keep.values()), blocked=blocked)
                os.waitpid(pid, 0)
        finally:
            os.close(parent)
        if hello := _greeted(ours, _STARTING):
            return ours, hello
    except BaseException:
        ours.close()
        raise
    ours.close()
    return None


@contextlib.contextmanager
def _directory(cache: str):
    """Open the cache's directory that only its user can enter."""
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    directory = os.open(state_directory.path(cache), flags)
    try:
        yield directory
    finally:
        os.close(directory)
