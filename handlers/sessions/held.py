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
_holds: dict[tuple, "Hold"] = {}
_postponed: dict[tuple, "Postponed"] = {}


class Hold:
    """A session's lock, shared by the session objects of a thread until the last one releases.

    :ivar held: the store's lock.
    """

    __slots__ = ("_count", "_key", "held")

    def __init__(self, key: tuple, held: Held):
        self._key = key
        self.held = held
        self._count = 1

    def is_of(self, sid: str) -> bool:
        """Tell whether it is the lock of the session *sid*."""
        return self._key[2] == sid

    def share(self) -> "Hold":
        """Count one more session object."""
        self._count += 1
        return self

    def release(self) -> None:
        """Give up one share; the last one gives the lock back."""
        self._count -= 1
        if self._count == 0:
            _holds.pop(self._key, None)
            self.held.release()


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


def hold(store: Store, sid: str, timeout: float) -> Hold:
    """Take a session's lock, or a share of it if this thread has it already.

    :raises SessionLocked: if it was not free within *timeout* seconds.
    """
    key = (get_ident(), id(store), sid)
    found = _holds.get(key)
    if found is not None:
        return found.share()
    try:
        held = store.lock(sid, timeout)
    except LockTimeout:
        raise SessionLocked(
            f"another request has held this session for {timeout:g} s and more"
            " (mod_python.session.lock_timeout)"
        ) from None
    found = _holds[key] = Hold(key, held)
    return found


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
