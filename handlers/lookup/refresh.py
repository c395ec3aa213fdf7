"""One process of all brings the snapshot up to date."""

import dataclasses
import itertools
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator

from handlers import access, faults, locks
from handlers.restart import server_start

from . import state as states
from . import updated
from .database import Database
from .errors import DatabaseAway, DatabaseMisconfigured
from .options import Options
from .row import Skipped
from .snapshot import Replaced, Snapshot, Unusable, fingerprint, identity
from .state import State
from .writing import DeletedRows, Written, write_all, write_changes

logger = logging.getLogger(__name__)

# A query for all rows may need its time, and no request waits for it.
_PATIENCE = 30.0
# Until then every child has noticed a new snapshot, and had a second to finish what it was about.
_NOTICED = 2.0
_PAUSE = 30.0

OnChange = Callable[[Iterator[str]], None]


class Refresher:
    """Writes ``lookup.snapshot`` when that is due, if no other process is about it.

    It is due if there is no snapshot of this configuration, if there was none written since this
    start of the server, and ``lookup.refresh`` seconds after the last time. Of all processes that
    find it due, the one that gets the lock reads the table; should it be killed, the next one does.
    While the database is away, that one alone tries again, and the snapshot stays as it is.

    One thread at a time may use it.

    :param stop: set to make :meth:`step` end early.
    :ivar damaged: the identity of a snapshot that a child met damage in; it is written anew.
    """

    def __init__(self, options: Options, stop: threading.Event | None = None):
        self.path = options.snapshot
        self.state_path = self.path + ".state"
        self.fingerprint = fingerprint(options)
        self.damaged: tuple[int, int] | None = None
        self._refresh_after = options.refresh
        self._encode_ids = options.encode_ids
        self._database = Database(
            dataclasses.replace(options, timeout=max(options.timeout, _PATIENCE))
        )
        self._start = server_start()
        self._started = time.time()
        self._is_settled = False
        self._seen: tuple[tuple[int, int] | None, str | None] = None, None
        self._pause_until = 0.0
        self._stop = stop or threading.Event()

    def step(self, on_change: OnChange | None, written: Callable[[], None]) -> None:
        """Do what is due, if anything; return at once if another process does it.

        :param on_change: gets the ids whose row is new, changed or went away, after the snapshot
            was replaced and no child answers from the old one any more. It is called again if it
            raises, or the process is killed while it runs.
        :param written: called when there is a new snapshot.
        """
        if time.monotonic() < self._pause_until or not self._is_due(on_change):
            return
        try:
            with locks.held(self.state_path, timeout=0) as lock:
                while not self._stop.is_set() and self._is_due(on_change):
                    self._work(lock, on_change, written)
            faults.over(self.path)
        except locks.LockTimeout:
            return
        except (OSError, sqlite3.Error, Unusable, Replaced) as error:
            self._pause_until = time.monotonic() + _PAUSE
            self._complain(error)

    def refresh(self, lock_timeout: float, on_change: OnChange | None = None) -> Written:
        """Read all rows and bring the snapshot up to date now, due or not.

        :param lock_timeout: seconds to wait for another process that does it.
        :param on_change: gets the ids whose row changed or went away, before this returns; to be
            given only while no child answers from the old snapshot.
        :raises handlers.locks.LockTimeout: if that takes longer.
        :raises DatabaseAway: if the database does not answer.
        :raises DatabaseMisconfigured: if it does not answer to what is configured.
        :raises OSError: if the snapshot cannot be written.
        :raises sqlite3.Error: the same.
        """
        with locks.held(self.state_path, timeout=lock_timeout) as lock:
            state = self._state()
            done = self._refresh(lock, state, self._usable(), full=True)
            fresh = Snapshot(self.path, self.fingerprint)
            if on_change is not None and fresh.serial != state.told:
                on_change(fresh.changed())
                state.told = fresh.serial
                states.write(lock, state)
            return done

    def ensure(self, lock_timeout: float) -> None:
        """Write the snapshot now if there is none that can be used; raises as :meth:`refresh`."""
        with locks.held(self.state_path, timeout=lock_timeout) as lock:
            current = self._usable()
            if current is None:
                self._refresh(lock, self._state(), None, full=True)

    def refreshed(self) -> float:
        """Return when the snapshot was last compared with the table, 0 if that is not known."""
        return self._state().refreshed

    def refreshed_mark(self) -> tuple[int, int] | None:
        """Return what changes with each refresh, whether there was a new snapshot or not."""
        try:
            status = os.stat(self.state_path)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size

    def pause(self) -> None:
        """Do nothing for a while, as something went wrong."""
        self._pause_until = time.monotonic() + _PAUSE

    def _complain(self, error: Exception) -> None:
        directory = os.path.dirname(self.path)
        if isinstance(error, PermissionError | FileNotFoundError):
            # the cache mostly lies there, too, and has the same fault
            why = access.why_unwritable(directory, error)
            faults.tell(logger, logging.ERROR, directory, f"lookup.snapshot {why}", key=why)
        else:
            message = f"lookup: snapshot {self.path} cannot be written: {error}"
            faults.tell(logger, logging.ERROR, self.path, message)

    def _state(self) -> State:
        return states.read(self.state_path) or State()

    def _serial(self) -> str | None:
        """Return the serial of the snapshot that lies there, None if there is none to use."""
        found = identity(self.path)
        if found is None or found == self.damaged:
            return None
        if found != self._seen[0]:
            try:
                snapshot = Snapshot(self.path, self.fingerprint)
                self._seen = snapshot.identity, snapshot.serial
            except (FileNotFoundError, Unusable, Replaced):
                self._seen = found, None
        return self._seen[1]

    def _is_due(self, on_change: OnChange | None) -> bool:
        serial = self._serial()
        if serial is None:
            return True
        state = self._state()
        if not self._is_settled:
            # Asked until the answer is yes for the first time: what is on its way out after a
            # graceful restart must not take the new generation's work for missing.
            if not state.knows(self._start):
                return True
            self._is_settled = True
        if on_change is not None and state.told != serial:
            return True
        # A clock that was set back must not stop the refreshes.
        return self._refresh_after > 0 and not (
            -60 <= time.time() - state.refreshed < self._refresh_after
        )

    def _work(self, lock: int, on_change: OnChange | None, written: Callable[[], None]) -> None:
        state, current = self._state(), self._usable()
        if current is not None and current.serial != state.told and on_change is not None:
            self._tell(lock, state, current, on_change)
            return
        try:
            state.note(self._start)
            done = self._refresh(lock, state, current, full=False)
        except (DatabaseAway, DatabaseMisconfigured) as error:
            self._stop.wait(max(0.05, error.retry_after))
            return
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            if current is None:
                raise
            # The damage is in the old one, whose changes then cannot be told.
            self.damaged = current.identity
            return
        self._is_settled = True
        if done.new:
            written()

    def _usable(self) -> Snapshot | None:
        """Return the snapshot that lies there, or None if there is none to go on from.

        :raises Unusable: if it is of another configuration, and not an old one.
        """
        try:
            snapshot = Snapshot(self.path, self.fingerprint)
        except FileNotFoundError:
            return None
        except Unusable as error:
            if error.foreign and os.stat(self.path).st_mtime > self._started:
                raise Unusable(
                    "another configuration uses it; give each its own lookup.snapshot"
                ) from error
            logger.warning("lookup: snapshot %s is written anew: %s", self.path, error)
            return None
        if snapshot.identity == self.damaged:
            logger.warning("lookup: snapshot %s is written anew: it is damaged", self.path)
            return None
        return snapshot

    def _refresh(self, lock: int, state: State, current: Snapshot | None, full: bool) -> Written:
        start = time.monotonic()
        untold = current is not None and current.serial != state.told
        if current is not None and current.serial == state.serial:
            current.mark = state.mark
        done, skipped, began = None, Skipped(self._encode_ids), time.time_ns()
        with self._database.reading() as reading:
            if not full and current is not None and current.mark is not None:
                try:
                    records = reading.since(updated.since(current.mark))
                    done = write_changes(
                        self.path,
                        self.fingerprint,
                        records,
                        reading.count,
                        began,
                        current,
                        untold,
                        skipped,
                    )
                except DeletedRows as reason:
                    logger.info("lookup: reading all rows: %s", reason)
                    skipped = Skipped(self._encode_ids)
            if done is None:
                rows = reading.all()
                done = write_all(self.path, self.fingerprint, rows, began, current, untold, skipped)
        fresh = Snapshot(self.path, self.fingerprint)
        if current is None:
            # what was made of rows before is for the cache's next round to compare
            state.told = fresh.serial
        state.serial, state.mark, state.refreshed = fresh.serial, done.mark, time.time()
        states.write(lock, state)
        self.damaged = None
        logger.info(
            "lookup: %d rows from %s in %.0f ms: %s, %d changed or gone",
            done.read,
            self._database.name,
            (time.monotonic() - start) * 1000,
            "new snapshot" if done.new else "snapshot as before",
            done.changed,
        )
        if done.new:
            for line in skipped.lines():
                logger.warning("lookup: %s", line)
        return done

    def _tell(self, lock: int, state: State, current: Snapshot, on_change: OnChange) -> None:
        ids = current.changed()
        first = next(ids, None)
        if first is not None:
            if self._stop.wait(max(0.0, min(_NOTICED, current.written + _NOTICED - time.time()))):
                return
            on_change(itertools.chain((first,), ids))
        state.told = current.serial
        states.write(lock, state)
