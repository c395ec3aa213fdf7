"""What the requests on one thread hold of sessions: locks, and saves that are still to be made.

One request runs on one thread from its start to its cleanups; whatever else runs on that thread
meanwhile (an internal redirect, a PSP page with a session of its own) belongs to it. So a lock that
the thread holds is shared by all its session objects, where waiting for it would never end.
"""

from collections.abc import Callable
from threading import get_ident

from .store import Held, LockTimeout, Store


class SessionLocked(LockTimeout):
    """Raised when another request held a session for longer than the lock's time limit."""

    part = "sessions: "


# By thread, store and session id. Not threading.local: mod_python runs an internal redirect under a
# thread state of its own, which would find that empty, though the thread is the same.
_holds: dict[tuple, Held] = {}
_postponed: dict[tuple, "Postponed"] = {}


class Postponed:
    """A save that is made once: after the response, or as soon as somebody must see it."""

    def __init__(self, key: tuple, write: Callable[[], None]):
        self._key = key
        self._write = write

    def make(self, _=None) -> None:
        """Make the save if it has not been made."""
        if _postponed.get(self._key) is self:
            del _postponed[self._key]
            self._write()


def hold(store: Store, sid: str, timeout: float) -> Held:
    """Take a session's lock, or a share of it if this thread has it already.

    :func:`give_up` ends it.

    :raises SessionLocked: if it was not free within *timeout* seconds.
    """
    place = (get_ident(), id(store), sid)
    held = _holds.get(place)
    if held is not None:
        held.shares += 1
        return held
    try:
        held = store.lock(sid, timeout)
    except LockTimeout:
        raise SessionLocked(
            f"another request has held this session for {timeout:g} s and more"
            " (mod_python.session.lock_timeout)"
        ) from None
    held.place, held.shares = place, 1
    _holds[place] = held
    return held


def give_up(held: Held) -> None:
    """Give up one share of a lock; the last one gives the lock back."""
    held.shares -= 1
    if held.shares == 0:
        _holds.pop(held.place, None)
        held.release()


def postpone(store: Store, sid: str, write: Callable[[], None]) -> Postponed:
    """Keep *write* for later, in the place of an earlier one for the same session."""
    key = (get_ident(), id(store), sid)
    save = _postponed[key] = Postponed(key, write)
    return save


def make_postponed(store: Store, sid: str) -> None:
    """Make the save of a session that this thread has postponed, if there is one."""
    if _postponed:
        save = _postponed.get((get_ident(), id(store), sid))
        if save is not None:
            save.make()
