"""Sessions in the stores of handlers.sessions: what is loaded from them, and what is written."""

import contextlib
import logging

from handlers.sessions import backing as backings
from handlers.sessions import held
from handlers.sessions import options as session_options
from handlers.sessions.serial import SerialError
from handlers.sessions.store import Conflict, Record

from .session_base import BaseSession

logger = logging.getLogger(__name__)

_CONFLICTS = 5


class StoredSession(BaseSession):
    """A session in one of the stores of :mod:`handlers.sessions`.

    Nothing is written where nothing has changed since the load, but for the time of the access,
    once in a 20th of the timeout.

    :param options: options that win over those of the request.
    """

    store_name = ""
    _empty_is_stored = False
    _cleaned_by_chance = False
    _loaded: Record | None = None
    _loaded_sid = ""

    def __init__(self, req, sid=0, secret=None, timeout=0, lock=1, **options):
        self._options = session_options.of(req, options)
        self._backing = backings.open_backing(self.store_name, self._options)
        BaseSession.__init__(self, req, sid=sid, secret=secret, timeout=timeout, lock=lock)

    def unlock(self) -> None:
        """Give the lock back before the request ends; a save that waits is made first."""
        if self._locked:
            self._make_postponed()
        BaseSession.unlock(self)

    def do_load(self) -> dict | None:
        """Return what is stored, None if that is nothing or cannot be read."""
        self._make_postponed()
        record = self._backing.store.load(self._sid)
        if record is None:
            return self._take_over()
        try:
            values = self._backing.serializer.loads(record.data, self._sid)
        except SerialError as error:
            logger.warning("session not loaded: %s", error)
            return None
        if not isinstance(values, dict):
            return None
        self._loaded, self._loaded_sid = record, self._sid
        return _as_dict(values, record)

    def do_save(self, dict) -> None:
        """Store what *dict* says, unless that is what is stored already."""
        self._make_postponed()
        backing, sid = self._backing, self._sid
        record = Record(
            backing.serializer.dumps(dict["_data"], sid),
            dict["_created"],
            dict["_accessed"],
            max(dict["_timeout"], 0),
            _user(dict["_data"].get(self._options.user_key)),
        )
        loaded = self._loaded if self._loaded_sid == sid else None
        same = loaded is not None and _content(loaded) == _content(record)
        if same and not loaded.touch_due(record.accessed):
            return

        def write():
            if same:
                backing.store.touch(sid, record.accessed)
                self._loaded = loaded._replace(accessed=record.accessed)
            else:
                self._write(sid, record, loaded)

        if self._options.save_after_response:
            save = held.postpone(backing.store, sid, write)
            self._req.register_cleanup(save.make)
        else:
            write()

    def do_delete(self) -> None:
        """Delete what is stored."""
        self._make_postponed()
        self._backing.store.delete(self._sid)
        if self._loaded_sid == self._sid:
            self._loaded = None

    def do_cleanup(self) -> None:
        """Start the sweeper of this child, if it does not run; the elected one sweeps."""
        self._backing.sweeper.start()

    def _write(self, sid, record, loaded):
        # without the lock, a session that another request has ended must not come back
        expected = loaded.version if loaded is not None and not self._locked else None
        for _ in range(_CONFLICTS):
            try:
                version = _save(self._backing.store, sid, record, expected)
                break
            except Conflict:
                current = self._backing.store.load(sid)
                if current is None:
                    logger.info("session not saved: another request has ended it")
                    return
                expected = current.version
        else:
            raise Conflict("others keep saving the same session")
        self._loaded, self._loaded_sid = record._replace(version=version), sid

    def _take_over(self) -> dict | None:
        takeover = self._backing.takeover
        taken = takeover and takeover.take(self._sid)
        if not taken:
            return None
        data = self._backing.serializer.dumps(taken.values, self._sid)
        user = _user(taken.values.get(self._options.user_key))
        record = Record(data, taken.created, taken.accessed, taken.timeout, user)
        self._write(self._sid, record, None)
        takeover.remove(self._sid)
        return _as_dict(taken.values, record)

    def _lock_store(self):
        return self._backing.store

    def _make_postponed(self):
        held.make_postponed(self._backing.store, self._sid)


def _as_dict(values: dict, record: Record) -> dict:
    timeout = record.timeout
    return {
        "_data": values,
        "_created": record.created,
        "_accessed": record.accessed,
        # stores give floats; people print what they have set
        "_timeout": int(timeout) if timeout == int(timeout) else timeout,
    }


def _content(record: Record) -> tuple:
    return record.data, record.timeout, record.user


def _user(value) -> str | None:
    """Return the user's name as the stores take it, None for what is no name."""
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        name = str(value)
        # a lone surrogate is no text that a store could keep
        with contextlib.suppress(UnicodeEncodeError):
            if 0 < len(name.encode()) <= 255:
                return name
    return None


def _save(store, sid: str, record: Record, expected: int | None) -> int:
    return store.save(
        sid,
        record.data,
        timeout=record.timeout,
        created=record.created,
        accessed=record.accessed,
        user=record.user,
        expected=expected,
    )
