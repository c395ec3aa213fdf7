"""Sessions in memcached servers, through pymemcache.

Limits, before anything else:

- A session of more than 1 MB (the servers' own limit) is refused.
- memcached forgets: it evicts sessions when its memory is full, and loses all of them when it is
  restarted. What a save has returned for may be gone.
- Sessions cannot be listed, counted, or purged by user.
- A session lock is an entry that ends by itself after ``lock_life`` seconds: a request that takes
  longer has lost its lock, and a killed child's lock stays that long.
- memcached has no accounts: whoever reaches its port reads and writes sessions. Bind it to the
  loopback or a private network, and give the serialiser a secret.

Of several servers each holds its share, by rendezvous hashing. One that does not answer costs its
share of the sessions and no errors: its visitors are new to the others until it is back. What it
still holds then may be older than what they have seen meanwhile.
"""

import contextlib
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Sequence

from pymemcache.client.base import normalize_server_spec
from pymemcache.client.hash import HashClient
from pymemcache.exceptions import MemcacheError

from handlers.locks import LockTimeout
from handlers.sessions import sid as sids
from handlers.sessions import slots
from handlers.sessions.store import Conflict, Held, Record, Store, StoreUnavailable
from handlers.sessions.sweep import Pace, Swept

# memcached's own limit is 1 MiB for key, data and its header
LARGEST = 1024 * 1024 - 1024
LOCK_LIFE = 60
_MONTH = 30 * 86400
# a key has neither spaces nor control characters, and 250 bytes at most (protocol.txt)
_PREFIX = re.compile(r"[!-~]{0,100}")
_FIRST_WAIT = 0.002
_LONGEST_WAIT = 0.05


def _check_server(server: str) -> None:
    try:
        address = normalize_server_spec(server)
        if isinstance(address, str) or (address[0] and 0 < address[1] < 1 << 16):
            return
    except ValueError:
        pass
    raise ValueError(f"servers: {server!r} is neither host:port nor the path of a unix socket")


class MemcachedStore(Store):
    """Sessions in one or several memcached servers.

    :param servers: ``host:port`` or the path of a unix socket, each.
    :param prefix: what the keys begin with, so that sites can share the servers.
    :param lock_life: seconds after which a lock that was not given back ends.
    :param timeout: seconds to wait for a server to connect or to answer.
    :param pause: seconds for which a server that failed is left alone.
    :raises ValueError: if no server is named, or one or the prefix cannot be used.
    """

    trusted = False
    lists = False
    sweeps = False

    def __init__(
        self,
        servers: Sequence[str],
        *,
        prefix: str = "mps:",
        lock_life: int = LOCK_LIFE,
        timeout: float = 1.0,
        pause: float = 10.0,
        max_size: int = LARGEST,
        clock: Callable[[], float] = time.time,
    ):
        super().__init__(max_size=min(max_size, LARGEST), clock=clock)
        if not servers:
            raise ValueError("no memcached server is named")
        for server in servers:
            _check_server(server)
        if not _PREFIX.fullmatch(prefix):
            raise ValueError(f"key_prefix {prefix!r}: at most 100 ASCII characters, without spaces")
        self._servers = list(servers)
        self._prefix = prefix
        self._lock_life = lock_life
        self._timeout = timeout
        self._pause = pause
        self._own = threading.local()

    def load(self, sid: str, held: Held | None = None) -> Record | None:
        key = sids.key(sid)
        record = self._get(key)[0]
        return None if record is None or record.expired(self.clock()) else record

    def save(
        self, sid: str, record: Record, expected: int | None = None, held: Held | None = None
    ) -> int:
        name = self._check(record)
        key = sids.key(sid)
        record = record._replace(version=secrets.randbits(62))
        if expected is None:
            self._put(key, record, name)
        else:
            current, token = self._get(key)
            if current is None or current.version != expected:
                raise Conflict("saved or gone since it was loaded")
            if not self._put(key, record, name, token):
                raise Conflict("saved by another at the same moment")
        return record.version

    def touch(self, sid: str, accessed: float) -> bool:
        key = sids.key(sid)
        record, token = self._get(key)
        if record is None:
            return False
        accessed = record.touched(accessed, self.clock())
        if accessed != record.accessed:
            # a save that came between has set a later access itself
            user = (record.user or "").encode()
            self._put(key, record._replace(accessed=accessed), user, token)
        return True

    def sweep(self, pace: Pace, grace: float = 0) -> Swept | None:
        """Do nothing: memcached forgets what has expired by itself."""
        return Swept(0, 0, 0.0, True)

    def close(self) -> None:
        client, self._own.client = getattr(self._own, "client", None), None
        if client is not None and self._own.pid == os.getpid():
            client.close()

    def _get(self, key: str) -> tuple[Record | None, bytes | None]:
        blob, token = self._ask("gets", self._prefix + key)
        found = blob and slots.unpack(blob, key)
        return (found[0], token) if found else (None, None)

    def _put(self, key: str, record: Record, user: bytes, token: bytes | None = None) -> bool:
        left = record.accessed + record.timeout - self.clock()
        # 0 would mean for ever, and more than a month is taken for a date, of 31 bits
        seconds = max(int(left) + 1, 1)
        expire = seconds if seconds <= _MONTH else min(int(time.time()) + seconds, 2**31 - 1)
        blob = slots.pack(key, record, user, record.version)
        name = self._prefix + key
        if token is None:
            return bool(self._ask("set", name, blob, expire=expire, noreply=False))
        return bool(self._ask("cas", name, blob, token, expire=expire, noreply=False))

    def _delete(self, key: str) -> bool:
        return bool(self._ask("delete", self._prefix + key, noreply=False))

    def _acquire(self, name: str, timeout: float | None) -> Held:
        name = f"{self._prefix}lock:{name}"
        mine = secrets.token_hex(8).encode()
        deadline = None if timeout is None else time.monotonic() + timeout
        wait = _FIRST_WAIT
        while not self._ask("add", name, mine, expire=self._lock_life, noreply=False):
            left = wait if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise LockTimeout(f"not free within {timeout:g} s")
            time.sleep(min(wait, left))
            wait = min(wait * 2, _LONGEST_WAIT)
        return Held(lambda: self._release(name, mine))

    def _release(self, name: str, mine: bytes) -> None:
        # unreachable, the lock ends by itself
        with contextlib.suppress(StoreUnavailable):
            holder, token = self._ask("gets", name)
            if holder == mine:
                # an entry that is over at once: only cas leaves alone what another has taken
                self._ask("cas", name, b"", token, expire=-1, noreply=False)

    def _ask(self, method: str, *args, **options):
        """Ask the server of the key; if it fails, the one that takes over its share."""
        client = self._connected()
        # a connection that the server has closed meanwhile is no sign that the server is dead
        for _ in range(2 * len(self._servers)):
            try:
                return getattr(client, method)(*args, **options)
            except (OSError, MemcacheError, ValueError, IndexError) as error:
                # the last two: the server speaks another protocol
                failure = error
        raise StoreUnavailable(f"no memcached server answers: {failure}") from failure

    def _connected(self) -> HashClient:
        # one for each thread: HashClient's account of dead servers is not made for several
        if getattr(self._own, "client", None) is None or self._own.pid != os.getpid():
            self._own.pid = os.getpid()
            self._own.client = HashClient(
                self._servers,
                connect_timeout=self._timeout,
                timeout=self._timeout,
                no_delay=True,
                retry_attempts=0,
                dead_timeout=self._pause,
            )
        return self._own.client
