"""One process of all brings the snapshot up to date."""

import dataclasses
import itertools
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager

from handlers import access, faults, locks
from handlers.elected import Worker, read_state, write_state
from handlers.restart import server_start

from .database import Database, Reading
from .errors import DatabaseAway, DatabaseMisconfigured
from .options import Options
from .row import Skipped
from .snapshot import (
    Identity,
    Replaced,
    Snapshot,
    Unusable,
    fingerprint,
    identity,
    require_layer,
)
from .state import State
from .writing import DeletedRows, Record, Written, write_all, write_changes

logger = logging.getLogger(__name__)

# A query for all rows may need its time, and no request waits for it.
_PATIENCE = 30.0
# Until then every child has noticed a new snapshot, and had a second to finish what it was about.
_NOTICED = 2.0
# a count that took a second is made every hundred
_COUNTS_SHARE = 100
# Of the overlap, a refresh reads this many rows whenever that is due, and more of them in a
# twentieth of the time: just after an import it may have all rows of the table.
_REREAD = 10_000
_REREAD_SHARE = 20
_OVERLAPS = (1, 1 / 8, 1 / 64, 0)
# A table that has so many rows and then less than half of them may be one that is being filled
# anew: seconds for which nobody believes that they are gone.
_LARGE = 1000
_DOUBT = 600.0

OnChange = Callable[[Iterator[str]], None]
Watch = Callable[[Iterator, int | None], Iterator]


class Shrunk(Exception):
    """The table has far fewer rows than the snapshot."""


class Refresher:
    """Writes ``lookup.snapshot`` when that is due, if no other process is about it.

    It is due if there is no snapshot of this configuration, if there was none written since this
    start of the server, and ``lookup.refresh`` seconds after the last time. All rows are read in
    the first two cases, and ``lookup.full_refresh`` seconds after they were last. Of all processes
    that find it due, the one that gets the lock reads the table; should it be killed, the next one
    does. While the database is away, that one alone tries again, and the snapshot stays as it is.

    When more than half of a thousand rows or more are gone, somebody may be filling the table anew:
    they stay in the snapshot for ten minutes. :meth:`refresh` believes that at once.

    One thread at a time may use it.

    :ivar damaged: the identity of a snapshot that a child met damage in; it is written anew.
    """

    def __init__(self, options: Options):
        self.path = options.snapshot
        self.state_path = self.path + ".state"
        self.fingerprint = fingerprint(options)
        self.damaged: Identity | None = None
        self._refresh_after = options.refresh
        self._full_after = options.full_refresh
        self._overlap = options.overlap
        self._encode_ids = options.encode_ids
        self._database = Database(
            dataclasses.replace(options, timeout=max(options.timeout, _PATIENCE))
        )
        self._start = server_start()
        self._started = time.time()
        self._is_settled = False
        self._seen: tuple[Identity | None, str, int] = None, "", 0

    def elect(self, on_change: OnChange | None) -> AbstractContextManager[int] | None:
        """Stand for election if something is due, see :class:`handlers.elected.Worker`."""
        return locks.held(self.state_path, timeout=0) if self._is_due(on_change) else None

    def work(
        self, lock: int, worker: Worker, on_change: OnChange | None, written: Callable[[], None]
    ) -> None:
        """Do what is due until nothing is, as the elected process.

        :param on_change: gets the ids whose row is new, changed or went away, after the snapshot
            was replaced and no child answers from the old one any more. It is called again if it
            raises, or the process is killed while it runs.
        :param written: called when there is a new snapshot.
        """
        while not worker.stopped and self._is_due(on_change):
            self._work(worker, on_change, written)
        faults.over(self.path)

    def complain(self, error: Exception) -> bool:
        """Log why the snapshot cannot be written; tell whether *error* is a reason of that kind."""
        directory = os.path.dirname(self.path)
        if isinstance(error, PermissionError | FileNotFoundError):
            # the cache mostly lies there, too, and has the same fault
            why = access.why_unwritable(directory, error)
            faults.tell(logger, logging.ERROR, directory, f"lookup.snapshot {why}", key=why)
        elif isinstance(error, OSError | sqlite3.Error | Unusable | Replaced):
            message = f"lookup: snapshot {self.path} cannot be written: {error}"
            faults.tell(logger, logging.ERROR, self.path, message)
        else:
            # on_change is not ours
            logger.exception("lookup: refreshing the snapshot %s failed", self.path)
        return True

    def abort(self) -> None:
        """Make :meth:`work`, which another thread is at, end soon, with an error."""
        self._database.abort()

    def refresh(
        self, lock_timeout: float, on_change: OnChange | None = None, watch: Watch | None = None
    ) -> Written:
        """Read all rows and bring the snapshot up to date now, due or not.

        :param lock_timeout: seconds to wait for another process that does it.
        :param on_change: gets the ids whose row changed or went away, before this returns; to be
            given only while no child answers from the old snapshot.
        :param watch: is given the rows and how many the table had before, None if nobody knows;
            returns the rows.
        :raises handlers.locks.LockTimeout: if that takes longer.
        :raises DatabaseAway: if the database does not answer.
        :raises DatabaseMisconfigured: if it does not answer to what is configured.
        :raises OSError: if the snapshot cannot be written.
        :raises sqlite3.Error: the same.
        """
        with locks.held(self.state_path, timeout=lock_timeout):
            state = self._state()
            done = self._refresh(state, self._usable(), full=True, watch=watch)
            fresh = Snapshot(self.path, self.fingerprint)
            if on_change is not None and fresh.serial != state.told:
                on_change(fresh.changed())
                state.told = fresh.serial
                write_state(self.state_path, state)
            return done

    def open(self) -> Snapshot:
        """Open the snapshot that lies there; raises as :class:`.snapshot.Snapshot` does.

        :raises Unusable: also if there has been a later one.
        """
        snapshot = Snapshot(self.path, self.fingerprint)
        if self._state().supersedes(snapshot.serial, snapshot.began):
            # or it was replaced since it was opened
            snapshot.check_replaced()
            raise Unusable("it is an earlier one than the last that was written")
        return snapshot

    def ensure(self, lock_timeout: float) -> None:
        """Write the snapshot now if there is none that can be used; raises as :meth:`refresh`."""
        with locks.held(self.state_path, timeout=lock_timeout):
            current = self._usable()
            if current is None:
                self._refresh(self._state(), None, full=True)

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

    def _state(self) -> State:
        return read_state(self.state_path, State) or State()

    def _serial(self, state: State) -> str | None:
        """Return the serial of the snapshot that lies there, None if there is none to use."""
        found = identity(self.path)
        if found is None or found == self.damaged:
            return None
        if found != self._seen[0]:
            try:
                snapshot = Snapshot(self.path, self.fingerprint)
                self._seen = snapshot.identity, snapshot.serial, snapshot.began
            except (FileNotFoundError, Unusable, Replaced):
                self._seen = found, "", 0
        _, serial, began = self._seen
        return serial if serial and not state.supersedes(serial, began) else None

    def _is_due(self, on_change: OnChange | None) -> bool:
        state = self._state()
        serial = self._serial(state)
        if serial is None:
            return True
        if not self._is_settled:
            # Asked until the answer is yes for the first time: what is on its way out after a
            # graceful restart must not take the new generation's work for missing.
            if not state.knows(self._start):
                return True
            self._is_settled = True
        if on_change is not None and state.told != serial:
            return True
        if state.shrunk and not _is_recent(state.shrunk, _DOUBT):
            return True
        return self._refresh_after > 0 and not _is_recent(state.refreshed, self._refresh_after)

    def _is_full_due(self, state: State) -> bool:
        """Tell whether all rows are to be read, and not only those that say they have changed.

        A row may have changed and not say so: written by a clock that is slow, an hour back when
        summer time ends, in a transaction that lasted, or with the date of another system.
        """
        if state.shrunk or not state.knows(self._start):
            return True
        return self._full_after > 0 and not _is_recent(state.full, self._full_after)

    def _work(
        self, worker: Worker, on_change: OnChange | None, written: Callable[[], None]
    ) -> None:
        state, current = self._state(), self._usable()
        if current is not None and current.serial != state.told and on_change is not None:
            self._tell(worker, state, current, on_change)
            return
        try:
            full = self._is_full_due(state)
            state.note(self._start)
            done = self._refresh(state, current, full, doubt=True)
        except (DatabaseAway, DatabaseMisconfigured) as error:
            worker.rest(max(0.05, error.retry_after))
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
            snapshot = self.open()
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
        if snapshot.number > snapshot.required:
            # who wrote the layer was killed before the last step
            require_layer(self.path, snapshot.number)
        return snapshot

    def _refresh(
        self,
        state: State,
        current: Snapshot | None,
        full: bool,
        watch: Watch | None = None,
        doubt: bool = False,
    ) -> Written:
        start = time.monotonic()
        untold = current is not None and current.serial != state.told
        if current is not None:
            # What is noted of another one tells nothing of this.
            current.mark = state.mark if current.serial == state.serial else None
        done, skipped, began = None, Skipped(self._encode_ids), time.time_ns()

        def write(records: Iterable[Record], count: Callable[[], int] | None) -> Written:
            path, known_by = self.path, self.fingerprint
            return write_changes(path, known_by, records, count, began, current, untold, skipped)

        with self._database.reading() as reading:
            # In another zone, what is written now may look like long ago.
            zone, is_comparable = reading.zone, current is not None and current.mark is not None
            if not full and is_comparable and zone == state.zone:
                try:
                    records, is_whole = self._late(reading, state)
                    done = write(records, self._counter(state, reading))
                except DeletedRows as reason:
                    logger.info("lookup: reading all rows: %s", reason)
                    skipped = Skipped(self._encode_ids)
            if done is None:
                full = is_whole = True
                rows = reading.all()
                if doubt and current is not None and current.total >= _LARGE:
                    rows = self._doubted(rows, reading, state, current.total)
                if watch is not None:
                    rows = watch(rows, current and current.total)
                try:
                    done = write_all(
                        self.path, self.fingerprint, rows, began, current, untold, skipped
                    )
                except Shrunk as reason:
                    # a row that is there is believed: it may be private now
                    full = is_whole = False
                    skipped = Skipped(self._encode_ids)
                    done = write(reading.all(), None)
                    state.shrunk = state.shrunk or time.time()
                    self._tell_shrunk(reason)
            seconds = time.monotonic() - start
            if full and done.mark is not None and done.read > _REREAD:
                # what it would take to read the overlap
                seconds *= reading.count_since(done.mark, self._overlap) / done.read
        fresh = Snapshot(self.path, self.fingerprint)
        if current is None:
            # what was made of rows before is for the cache's next round to compare
            state.told = fresh.serial
        state.serial, state.mark, state.refreshed = fresh.serial, done.mark, time.time()
        state.zone = zone
        if is_whole:
            state.settled, state.reread, state.reread_seconds = done.mark, time.time(), seconds
        if full:
            state.full, state.shrunk = state.refreshed, 0.0
            faults.over(("shrunk", self.path))
        write_state(self.state_path, state)
        self.damaged = None
        logger.info(
            "lookup: %d rows from %s in %.0f ms: %s, %d changed or gone%s",
            done.read,
            self._database.name,
            (time.monotonic() - start) * 1000,
            "new snapshot" if done.new else "snapshot as before",
            done.changed,
            f", {skipped.count} left out" if skipped.count else "",
        )
        if done.new:
            for line in skipped.lines():
                logger.warning("lookup: %s", line)
        return done

    def _late(self, reading: Reading, state: State) -> tuple[Iterable[Record], bool]:
        """Return the rows that may have changed, and whether the whole overlap is among them.

        If that has too many rows to read them again each time, later parts of it are tried, down to
        the rows that say they have changed since the last refresh. The next time that it is read
        whole, it begins where it would have begun after the last one.
        """
        for overlap in sorted({self._overlap * share for share in _OVERLAPS}, reverse=True):
            is_whole = overlap == self._overlap
            mark = state.settled if is_whole and state.settled is not None else state.mark
            records = list(reading.since(mark, overlap, _REREAD + 1))
            if len(records) <= _REREAD:
                return records, is_whole
            if is_whole and not _is_recent(state.reread, _REREAD_SHARE * state.reread_seconds):
                return reading.since(mark, overlap), True
        return reading.after(state.mark), False

    def _doubted(
        self, rows: Iterator[Record], reading: Reading, state: State, before: int
    ) -> Iterator[Record]:
        """Yield *rows*; raise Shrunk if there are far fewer than *before*, and it is not known why.

        Once that is in doubt, they are counted first.
        """
        if state.shrunk and not _is_recent(state.shrunk, _DOUBT):
            yield from rows
            return
        number = reading.count() if state.shrunk else before
        if number >= before / 2:
            number = 0
            for row in rows:
                number += 1
                yield row
        if number < before / 2:
            raise Shrunk(f"{number} rows in the table instead of {before}")

    def _tell_shrunk(self, reason: Shrunk) -> None:
        message = (
            f"lookup: {self._database.name} has {reason}: those that are gone stay in the snapshot "
            f"for {_DOUBT / 60:.0f} minutes, as for a table that is being filled anew; "
            "`modpython-handlers lookup warm` believes it at once"
        )
        faults.tell(logger, logging.WARNING, ("shrunk", self.path), message)

    def _counter(self, state: State, reading: Reading) -> Callable[[], int] | None:
        """Return what counts the rows to notice those that are gone; None if that can wait.

        A count reads the whole index: it gets a hundredth of the time.
        """
        if 0 <= time.time() - state.counted < _COUNTS_SHARE * state.count_seconds:
            return None

        def count() -> int:
            start = time.monotonic()
            number = reading.count()
            state.counted, state.count_seconds = time.time(), time.monotonic() - start
            return number

        return count

    def _tell(self, worker: Worker, state: State, current: Snapshot, on_change: OnChange) -> None:
        ids = current.changed()
        first = next(ids, None)
        if first is not None:
            if not worker.rest(min(_NOTICED, current.written + _NOTICED - time.time())):
                return
            on_change(itertools.chain((first,), ids))
        state.told = current.serial
        write_state(self.state_path, state)


def _is_recent(moment: float, seconds: float) -> bool:
    # A clock that was set back makes nothing recent for long.
    return -60 <= time.time() - moment < seconds
