"""What a session object knows of its session in a store: the version loaded, and what to write."""

import contextlib
import logging

from handlers import counters

from .backing import Backing
from .serial import SerialError
from .store import REPLACED, Conflict, Held, Record

#: seconds for which a request with an id that was replaced gets no new session
GRACE = 60
_CONFLICTS = 5

logger = logging.getLogger(__name__)


class Stored:
    """The stored side of one session object, which one request uses.

    The dicts are those of mod_python's ``do_load`` and ``do_save``: ``_data``, ``_created``,
    ``_accessed``, ``_timeout``.

    :param user_key: the key of ``_data`` that names the user.
    :ivar version: the version that was loaded or stored last.
    :ivar replaced: the last load found that the session goes on under another id.
    """

    def __init__(self, backing: Backing, user_key: str):
        self._backing = backing
        self._user_key = user_key
        self._loaded: Record | None = None
        self.version = 0
        self._loaded_sid = ""
        self.replaced = False

    def load(self, sid: str, held: Held | None) -> dict | None:
        """Return what is stored, None if that is nothing or cannot be read.

        :param held: the session's lock, if it is held.
        """
        store = self._backing.store
        record = store.load(sid, held)
        if record is None:
            self.replaced = False
            return self._take_over(sid)
        data, _, accessed, _, _, version = record
        self.replaced = data == REPLACED
        if self.replaced:
            return None
        now = store.clock()
        if accessed > now and record.from_future(now):
            # only read, it would not end before that time has come
            store.touch(sid, now)
        try:
            values = self._backing.serializer.loads(data, sid)
        except SerialError as error:
            logger.warning("session not loaded: %s", error)
            return None
        if not isinstance(values, dict):
            return None
        self._loaded, self.version, self._loaded_sid = record, version, sid
        timeout = record.timeout
        return {
            "_data": values,
            "_created": record.created,
            "_accessed": accessed,
            # stores give floats; people print what they have set
            "_timeout": int(timeout) if timeout == int(timeout) else timeout,
        }

    def record(self, sid: str, content: dict) -> Record:
        """Return what is to be written for *content*.

        :raises SerialError: for a value that cannot be stored.
        """
        values = content["_data"]
        user = values.get(self._user_key)
        return Record(
            self._backing.serializer.dumps(values, sid),
            content["_created"],
            content["_accessed"],
            max(content["_timeout"], 0),
            None if user is None else _user(user),
        )

    def write(self, sid: str, record: Record, held: Held | None) -> bool:
        """Store *record*, or nothing but the time of the access if the rest is stored already.

        A save that comes after another one wins. A session that has ended since it was loaded does
        not come back, also where the lock was lost with a server that failed over.

        :return: False if it has ended.
        """
        store, loaded = self._backing.store, self._loaded
        expected = None
        if loaded is not None and self._loaded_sid == sid:
            expected = self.version
            if record.data == loaded.data and record[3:5] == loaded[3:5]:
                if loaded.touch_due(record.accessed):
                    store.touch(sid, record.accessed)
                    self._loaded = loaded._replace(accessed=record.accessed)
                return True
        for _ in range(_CONFLICTS):
            try:
                version = store.save(sid, record, expected, held)
            except Conflict:
                current = store.load(sid)
                if current is None or current.data == REPLACED:
                    return False
                expected = current.version
            else:
                if expected is None:
                    counters.add("sessions_begun")
                self._loaded, self.version, self._loaded_sid = record, version, sid
                return True
        raise Conflict("others keep saving the same session")

    def delete(self, sid: str) -> None:
        """Delete what is stored."""
        self._backing.store.delete(sid)
        self._forget_taken_over(sid)
        counters.add("sessions_ended")
        self._forget(sid)

    def retire(self, sid: str, version: int) -> bool:
        """End the id *sid*, which was replaced, and remember that for a minute.

        :param version: the one that was loaded.
        :return: False if it has ended already, or another request has replaced it.
        """
        store = self._backing.store
        now = store.clock()
        for _ in range(_CONFLICTS):
            try:
                store.save(sid, Record(REPLACED, now, now, GRACE), version)
                self._forget_taken_over(sid)
                return True
            except Conflict:
                current = store.load(sid)
                if current is None or current.data == REPLACED:
                    return False
                version = current.version
        raise Conflict("others keep saving the same session")

    def take_over(self, sid: str, held: Held) -> bool:
        """Store the session *sid* of mod_python, unless it is stored already; tell whether it was.

        :param held: its lock.
        """
        if self._backing.store.load(sid, held) is not None:
            # a child was killed between the two
            self._backing.takeover.remove(sid)
            return False
        return self._take_over(sid) is not None

    def _forget_taken_over(self, sid):
        # a child that was killed in a takeover has left what would come back
        if self._backing.takeover:
            self._backing.takeover.remove(sid)

    def _forget(self, sid):
        if self._loaded_sid == sid:
            self._loaded = None

    def _take_over(self, sid) -> dict | None:
        takeover = self._backing.takeover
        taken = takeover and takeover.take(sid)
        if not taken:
            return None
        content = {
            "_data": taken.values,
            "_created": taken.created,
            "_accessed": taken.accessed,
            "_timeout": max(taken.timeout, 0),
        }
        self._loaded = None
        self.write(sid, self.record(sid, content), None)
        takeover.remove(sid)
        return content


def _user(value) -> str | None:
    """Return the user's name as the stores take it, None for what is no name."""
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        name = str(value)
        # a lone surrogate is no text that a store could keep
        with contextlib.suppress(UnicodeEncodeError):
            if 0 < len(name.encode()) <= 255:
                return name
    return None
