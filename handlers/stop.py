"""How a child of the prefork MPM ends when httpd is stopped or restarted.

httpd sends its children SIGTERM or SIGHUP then. Apache's own handler of these frees the child's
memory pools and finalizes Python on the spot, on top of whatever the signal came in the middle of.
If that was malloc() or the GIL's change of hands, as it often is while Python runs beside a thread,
the child waits for a lock that it holds itself, until httpd kills it nine seconds later.

So the two signals do here what ``graceful`` does: the child closes its listening sockets, answers
the request that it is at, and ends between two requests, where nothing is held. Python's own signal
handler does no more than write the signal's number to a pipe (:func:`signal.set_wakeup_fd`); a
thread reads it and sends the main thread SIGUSR1, Apache's signal for that. The same thread ends
the process, without cleanups, when that takes too long: a request after :data:`BUSY` seconds, a
connection on which nothing is answered after :data:`IDLE` seconds.

Other MPMs and mod_wsgi's daemon processes take their signals in a thread of their own; they are
left alone, and so is ``httpd -X``.

A thread that still runs while the process takes down its libraries fails in strange ways. The code
that starts one also ends it, with :func:`at_end`.
"""

# not signal: it imports enum, and mod_wsgi replaces its signal() by one that does nothing
import _signal
import atexit
import os
import sys
import threading
import time

#: Seconds from the signal on that a request gets to end; httpd complains after three.
BUSY = 2.0
#: Seconds that Apache gets to send an answer, or to notice that a connection is idle.
IDLE = 0.25
#: Seconds after which a child ends in any case; httpd kills it after nine.
LATEST = 6.0

_SIGNALS = (_signal.SIGTERM, _signal.SIGHUP)
_GRACEFUL = _signal.SIGUSR1
_LOOK = 0.02
# what one look counts for at most: a machine that stands still lets nobody go on
_LONGEST_LOOK = 0.1
# AP_MPMQ_IS_THREADED of ap_mpm.h
_IS_THREADED = 2

# the end of the pipe that signals are written to
_writing = -1
# of the threads that are about to fork, the masks that they had
_masks: dict[int, set[int]] = {}
# what a child of real mod_python calls at its end, last things first
_ends = []


def wait_for_requests() -> bool:
    """Let SIGTERM and SIGHUP end this process between two requests; return whether they now do.

    It is for a child of prefork, before its first request, in the main thread. In any other process
    nothing changes. A process that is forked from this one has the default actions of both.
    """
    global _writing
    if not (_is_child_of_prefork() and _has_apache_handlers() and _is_free()):
        return False
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(writing, False)
    arguments = (reading, threading.get_ident())
    try:
        threading.Thread(target=_end, args=arguments, name="stop", daemon=True).start()
    except RuntimeError:
        # it may have no more threads
        os.close(reading)
        os.close(writing)
        return False
    os.register_at_fork(before=_before_fork, after_in_parent=_unmask, after_in_child=_after_fork)
    _writing = writing
    _signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in _SIGNALS:
        _signal.signal(number, _noted)
    if _is_mod_python():
        from mod_python import apache

        apache.register_cleanup(_run_ends)
    return True


def at_end(function) -> None:
    """Have ``function()`` called when this process ends in good order, while threads still run.

    The functions are called in the main thread, the last one first. One that waits for a thread
    does so for less than half a second. mod_wsgi finalizes Python then (:mod:`atexit`). Real
    mod_python does not; there the child calls them before it exits, if it has succeeded in
    :func:`wait_for_requests`.
    """
    if _is_mod_python():
        _ends.append(function)
    else:
        atexit.register(function)


def left_to_child() -> tuple[int, ...]:
    """Return the signals that do not end this process at once: none, or those of a stop.

    httpd sends them to all processes of its group. One that works for a request has to block them,
    or the request fails, and to end with the child that it works for.
    """
    return _SIGNALS if _writing >= 0 else ()


def _is_mod_python() -> bool:
    """Tell whether this process runs real mod_python."""
    ours = sys.modules.get("handlers.mod_python._apache")
    return sys.modules.get("_apache") not in (None, ours)


def _run_ends(data) -> None:
    while _ends:
        _ends.pop()()


def _is_child_of_prefork() -> bool:
    """Tell whether this is one of Apache's own children, and has one thread for requests."""
    mod_wsgi = sys.modules.get("mod_wsgi")
    if hasattr(mod_wsgi, "process_group"):
        return mod_wsgi.process_group == "" and mod_wsgi.threads_per_process == 1
    mod_python = sys.modules.get("_apache")
    return mod_python is not None and not mod_python.mpm_query(_IS_THREADED)


def _has_apache_handlers() -> bool:
    """Tell whether all three signals are caught: with ``httpd -X``, SIGUSR1 is not.

    Python knows only what was the case when it was started, maybe in another process.
    """
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            caught = int(file.read().partition("\nSigCgt:")[2].split(None, 1)[0], 16)
    except (OSError, ValueError, IndexError):
        return False
    return all(caught >> number - 1 & 1 for number in (*_SIGNALS, _GRACEFUL))


def _is_free() -> bool:
    """Tell whether this is the main interpreter, and nobody else in it waits for signals."""
    try:
        others = _signal.set_wakeup_fd(-1)
    except ValueError:
        return False
    if others != -1:
        _signal.set_wakeup_fd(others)
    return others == -1


def _noted(number, frame) -> None:
    """Write what the pipe has already, unless a handler module has taken set_wakeup_fd."""
    # contextlib would be one more module in each child
    try:  # noqa: SIM105
        os.write(_writing, bytes([number]))
    except BlockingIOError:
        pass


def _end(reading: int, main: int) -> None:
    """Wait for one of the signals, and end the process.

    :param reading: where the numbers of all signals come in that have a handler in Python.
    :param main: the thread that Apache runs in.
    """
    while not any(
        number in _SIGNALS and _signal.getsignal(number) is _noted
        for number in os.read(reading, 64)
    ):
        pass
    _signal.pthread_kill(main, _GRACEFUL)
    now = time.monotonic()
    latest, waited, idle = now + LATEST, 0.0, 0.0
    while waited < BUSY and idle < IDLE and now < latest:
        time.sleep(_LOOK)
        before, now = now, time.monotonic()
        passed = min(now - before, _LONGEST_LOOK)
        waited += passed
        idle = 0.0 if main in sys._current_frames() else idle + passed
    os._exit(0)


def _before_fork() -> None:
    # until it has handlers of its own, a signal to the new process would come from the pipe here
    _masks[threading.get_ident()] = _signal.pthread_sigmask(_signal.SIG_BLOCK, _SIGNALS)


def _unmask() -> None:
    _signal.pthread_sigmask(_signal.SIG_SETMASK, _masks.pop(threading.get_ident()))


def _after_fork() -> None:
    global _writing
    _writing = -1
    _ends.clear()
    try:
        _signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            if _signal.getsignal(number) is _noted:
                _signal.signal(number, _signal.SIG_DFL)
    except ValueError:
        # forked in another interpreter
        pass
    _unmask()
