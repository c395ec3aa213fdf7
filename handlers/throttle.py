"""Limits on what one address may do, counted over all children, in one file of a fixed size.

Two things are limited: guesses at passwords, by address and by user, and new sessions, by address.
Nobody ever waits in a child: a request that comes too early is refused, and told when to come back.

**Guesses.** Each guess is counted before the password is checked, so that guesses at the same time
count as well, and taken back if it was right. After :data:`FREE_GUESSES` wrong ones within an hour
the next is taken after 1 s, then after 2, 4, 8 ... up to :data:`LONGEST_FOR_ADDRESS` for guesses
from one address, and up to :data:`LONGEST_FOR_USER` for guesses at one user from anywhere. Refused
requests are not counted, so they make no delay longer. Guesses from other addresses cannot keep a
user out: an address from which the user has signed in within the last month is not subject to the
user's delay at all, and a new one waits :data:`LONGEST_FOR_USER` at most, after which the guessers
have their own, longer delays.

**Addresses** are those that Apache sees; IPv6 is counted by /64, which is what one customer gets.

**The file** has a header with a random key, then buckets of eight records of 32 bytes. A record is
known by a keyed hash of what it counts, so nobody can aim at another one's bucket. In a full bucket
the record that would be forgotten first gives way. One lock guards the file for a few system calls
(:mod:`handlers.locks`); a killed child gives it back. The records survive a restart of the server.
Where the file cannot be used, each process counts for itself (:class:`LocalThrottle`).
"""

import hashlib
import ipaddress
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from handlers import locks

FREE_GUESSES = 10
#: seconds
LONGEST_FOR_ADDRESS = 900.0
#: seconds; short, as others can cause it
LONGEST_FOR_USER = 30.0

# seconds after the last wrong guess that all of them are forgotten
_GUESSES_KEPT = 3600.0
# seconds for which an address is known as one that a user signs in from
_ADDRESS_KEPT = 30 * 86400.0
# seconds that a request waits for the lock, which is held for microseconds
_LOCK_TIMEOUT = 1.0
# seconds: a record from further in the future was written before the clock was put back
_CLOCK_SKEW = 60.0

_MAGIC = b"throttle 1\0\0\0\0\0\0"
_HEADER = struct.Struct("<16s16s")
# name, time in milliseconds, end in seconds, level in thousandths with the flag in the highest bit
_RECORD = struct.Struct("<16sQII")
_BUCKETS = 8192
_IN_BUCKET = 8
_START = 4096
_SIZE = _START + _BUCKETS * _IN_BUCKET * _RECORD.size
_LOGGED = 1 << 31
_MOST = _LOGGED - 1


class Verdict(NamedTuple):
    """Whether a request may go on.

    :ivar wait: seconds after which the client may come back; 0: it may go on.
    :ivar first: whether this is the first refusal of a burst, which is worth a line in the log.
    :ivar of_user: whether it was refused for guesses at the user, not for those of the address.
    """

    wait: float = 0.0
    first: bool = False
    of_user: bool = False


class _Record(NamedTuple):
    at: float = 0.0
    until: float = 0.0
    level: float = 0.0
    logged: bool = False


class Throttle:
    """The limits of one site; any thread and any process may use it.

    :param path: the file; it is made with mode 0600 when it is missing.
    """

    def __init__(self, path: str, clock: Callable[[], float] = time.time):
        self._path = path
        self._clock = clock

    def guess(self, address: str, user: str) -> Verdict:
        """Count a guess at the password of *user* from *address*, unless it comes too early.

        :raises handlers.locks.LockTimeout: if the file is locked for a second.
        :raises OSError: if it cannot be used.
        """
        names = _guess_names(address, user)
        with self._records() as records:
            now = records.now
            of_address, of_user, known = (records.get(name) for name in names)
            waits = (
                _delay(of_address, now, LONGEST_FOR_ADDRESS),
                0.0 if known.until else _delay(of_user, now, LONGEST_FOR_USER),
            )
            if max(waits) <= 0:
                for name, record in zip(names, (of_address, of_user), strict=False):
                    later = record._replace(at=now, until=now + _GUESSES_KEPT)
                    records.put(name, later._replace(level=record.level + 1))
                return Verdict()
            by_user = waits[1] > waits[0]
            name, record = (names[1], of_user) if by_user else (names[0], of_address)
            if not record.logged:
                records.put(name, record._replace(logged=True))
            return Verdict(max(waits), not record.logged, by_user)

    def right(self, address: str, user: str) -> None:
        """Take back the guess that was counted, as it was right; raises as :meth:`guess` does."""
        *counted, known = _guess_names(address, user)
        with self._records() as records:
            for name in counted:
                record = records.get(name)
                if record.until:
                    records.put(name, record._replace(level=max(0, record.level - 1)))
            records.put(known, _Record(records.now, records.now + _ADDRESS_KEPT))

    def new_session(self, address: str, rate: float) -> Verdict:
        """Count a new session from *address*, unless there are more than *rate* in a second.

        A rate below 1 is one session in several seconds. Raises as :meth:`guess` does.
        """
        burst = max(1.0, rate)
        name = f"session {network(address)}"
        with self._records() as records:
            record = records.get(name)
            level = max(0.0, record.level - (records.now - record.at) * rate)
            if level + 1 > burst:
                if not record.logged:
                    records.put(name, record._replace(logged=True))
                return Verdict((level + 1 - burst) / rate, not record.logged)
            # a burst is over when nothing is left of it
            logged = record.logged and level > 0
            until = records.now + (level + 1) / rate + 1
            records.put(name, _Record(records.now, until, level + 1, logged))
            return Verdict()

    @contextmanager
    def _records(self) -> Iterator["_Records"]:
        with locks.held(self._path, timeout=_LOCK_TIMEOUT) as fd:
            yield _Records(fd, self._clock())


class LocalThrottle(Throttle):
    """The limits of one site in one process, for as long as the file cannot be used.

    The records are in memory: other processes do not see them, and they go with the process.
    """

    def __init__(self, clock: Callable[[], float] = time.time):
        super().__init__("", clock)
        self._fd = os.memfd_create("throttle")
        self._lock = threading.Lock()

    @contextmanager
    def _records(self) -> Iterator["_Records"]:
        with self._lock:
            yield _Records(self._fd, self._clock())


class _Records:
    """The records of the file that is open and locked as *fd*."""

    def __init__(self, fd: int, now: float):
        self.now = now
        self._fd = fd
        header = os.pread(fd, _HEADER.size, 0)
        if not header.startswith(_MAGIC) or os.fstat(fd).st_size != _SIZE:
            os.ftruncate(fd, 0)
            # no count is lost to a full disk later
            os.posix_fallocate(fd, 0, _SIZE)
            header = _HEADER.pack(_MAGIC, os.urandom(16))
            os.pwrite(fd, header, 0)
        _, self._key = _HEADER.unpack(header)

    def get(self, name: str) -> _Record:
        """Return the record of *name*, an empty one if there is none or it has ended."""
        wanted, start = self._place(name)
        for found, record in self._bucket(start):
            if found == wanted:
                return record
        return _Record()

    def put(self, name: str, record: _Record) -> None:
        """Write the record of *name*, over the one that would have ended first if need be."""
        wanted, start = self._place(name)
        bucket = list(self._bucket(start))
        slot = min(
            range(_IN_BUCKET), key=lambda slot: (bucket[slot][0] != wanted, bucket[slot][1].until)
        )
        level = min(_MOST, round(record.level * 1000)) | (_LOGGED if record.logged else 0)
        until = min(2**32 - 1, round(record.until))
        data = _RECORD.pack(wanted, round(record.at * 1000), until, level)
        os.pwrite(self._fd, data, start + slot * _RECORD.size)

    def _bucket(self, start: int) -> Iterator[tuple[bytes, _Record]]:
        data = os.pread(self._fd, _IN_BUCKET * _RECORD.size, start)
        for name, at, until, level in _RECORD.iter_unpack(data):
            at /= 1000
            if until <= self.now or at > self.now + _CLOCK_SKEW:
                yield name, _Record()
            else:
                at = min(at, self.now)
                yield name, _Record(at, until, (level & _MOST) / 1000, bool(level & _LOGGED))

    def _place(self, name: str) -> tuple[bytes, int]:
        hashed = hashlib.blake2b(name.encode("utf-8", "replace"), key=self._key).digest()
        bucket = int.from_bytes(hashed[16:20], "big") % _BUCKETS
        return hashed[:16], _START + bucket * _IN_BUCKET * _RECORD.size


def network(address: str) -> str:
    """Return what is counted as one address: IPv4 as it is, of IPv6 the /64."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4:
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found) >> 64 << 64, 64)))


def _guess_names(address: str, user: str) -> tuple[str, str, str]:
    place = network(address)
    return f"guess from {place}", f"guess at {user}", f"known {place} {user}"


def _delay(record: _Record, now: float, longest: float) -> float:
    """Return the seconds until the next guess is taken."""
    over = int(record.level) - FREE_GUESSES
    if over < 0:
        return 0.0
    return record.at + min(2.0 ** min(over, 32), longest) - now
