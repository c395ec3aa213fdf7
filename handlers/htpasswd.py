"""Passwords in a file of Apache's htpasswd(1), checked by Apache's own library.

``apr_password_validate`` knows bcrypt (``htpasswd -B``), MD5 (``-m``) and SHA-1 (``-s``), and asks
crypt(3) for the rest: SHA-256 and SHA-512 (``-2``, ``-5``), yescrypt, DES (``-d``). Python's own
module for that, gone since 3.13, is not needed. It cannot check plain text (``-p``).
"""

import collections
import ctypes
import functools
import hashlib
import hmac
import logging
import os
import re
import time
from collections.abc import Iterator

from handlers import faults

log = logging.getLogger(__name__)

_LIBRARY = "libaprutil-1.so.0"
_ROUNDS = 5

# for a file without a password that can be checked
_NOBODY = b"$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC"
# bytes of a password
_LONGEST = 1024
_SALT = 16
# How long ago a file must have changed, in seconds, for its times to tell the next change: file
# systems count in ticks, and two writes may fall into one.
_SETTLED = 2.0
_READS = 3

# What the library can check. The first group is what a check costs: the scheme and its rounds.
_CHECKABLE = re.compile(
    rb"(\$2[abxy]\$[0-9]{2})\$[./A-Za-z0-9]{53}"
    rb"|(\$apr1\$|\$1\$)[^$]{0,8}\$[./A-Za-z0-9]{22}"
    rb"|(\{SHA\})[A-Za-z0-9+/]{27}="
    rb"|(\$[56]\$(?:rounds=[0-9]+\$)?)[^$]{0,16}\$[./A-Za-z0-9]{43,86}"
    rb"|(\$g?y\$[./A-Za-z0-9]+)\$[./A-Za-z0-9]{0,86}\$[./A-Za-z0-9]{43}"
    rb"|()[./A-Za-z0-9]{13}"
)


class Users:
    """The users of one state of the file; any thread may use it.

    :param lines: the lines of the file.
    :param path: its name, for the log.
    """

    def __init__(self, lines: list[bytes], path: str = ""):
        self._hashes: dict[str, bytes] = {}
        broken, unchecked = [], []
        schemes: dict[bytes, bytes] = {}
        counts = collections.Counter()
        for number, name, hashed in _entries(lines):
            if name is None:
                broken.append(number)
                continue
            scheme = _scheme(hashed)
            if scheme is None:
                unchecked.append(number)
                continue
            counts[scheme] += 1
            schemes.setdefault(scheme, hashed)
            # as Apache does: the first line of a name counts
            self._hashes.setdefault(name, hashed)
        # What is checked for an unknown user, so that it takes the time of a known one.
        self._nobody = schemes[counts.most_common(1)[0][0]] if counts else _NOBODY
        for numbers, why in (
            (broken, "not UTF-8, or without a name: skipped"),
            (unchecked, "a password in a form that cannot be checked: set it with htpasswd -B"),
        ):
            if numbers:
                faults.tell_once(
                    log,
                    logging.WARNING,
                    f"gallery.users {path}, line {', '.join(map(str, numbers[:5]))}"
                    f"{' and others' if len(numbers) > 5 else ''}: {why}",
                )

    def check(self, user: str, password: str) -> bool:
        """Tell whether *password* is that of *user*.

        An unknown user takes as long as one whose password is kept as most in the file are.
        """
        encoded = password.encode()
        if b"\0" in encoded or len(encoded) > _LONGEST:
            return False
        known = self._hashes.get(user)
        right = _validate()(encoded, known or self._nobody) == 0
        return known is not None and right

    def seal(self, user: str) -> str:
        """Return a text that :meth:`is_sealed` accepts for as long as the line of *user* stays.

        It tells nothing of the line: it is a keyed digest, and the key is new each time.

        :raises KeyError: for an unknown user.
        """
        salt = os.urandom(_SALT)
        return (salt + _digest(salt, user, self._hashes[user])).hex()

    def is_sealed(self, user: str, seal: str) -> bool:
        """Tell whether the line of *user* is the one that *seal* was made for."""
        hashed = self._hashes.get(user)
        try:
            given = bytes.fromhex(seal)
        except (TypeError, ValueError):
            return False
        salt = given[:_SALT]
        return (
            hashed is not None
            and len(salt) == _SALT
            and hmac.compare_digest(given[_SALT:], _digest(salt, user, hashed))
        )


def read(path: str) -> Users:
    """Return the users of the file *path*, as they are now.

    The file is read again when stat(2) tells that it has changed. Lines that are not UTF-8 or
    hold a password in a form that cannot be checked are left out, with one line in the log.

    :raises OSError: if the file cannot be read.
    """
    state = _state(os.stat(path))
    known = _known.get(path)
    if known is not None and known[0] == state:
        return known[1]
    for _ in range(_READS):
        with open(path, "rb") as file:
            state = _state(os.fstat(file.fileno()))
            users = Users(file.read().splitlines(), path)
            # htpasswd writes over the file; what was read in the middle of that is not kept
            if _state(os.fstat(file.fileno())) == state:
                break
    else:
        return users
    if time.time() - state[-1] / 1e9 > _SETTLED:
        _known[path] = state, users
    return users


def encode(password: str) -> str:
    """Return the bcrypt hash of *password*, as ``htpasswd -B`` makes it."""
    salt, encoded = os.urandom(16), ctypes.create_string_buffer(128)
    function = ctypes.CDLL(_LIBRARY).apr_bcrypt_encode
    status = function(password.encode(), _ROUNDS, salt, len(salt), encoded, len(encoded))
    if status:
        raise OSError(status, "apr_bcrypt_encode")
    return encoded.value.decode()


_known: dict[str, tuple[tuple[int, ...], Users]] = {}


def _state(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _entries(lines: list[bytes]) -> Iterator[tuple[int, str | None, bytes]]:
    """Yield line number, name and hash; a name of None stands for a line that cannot be used."""
    for number, line in enumerate(lines, 1):
        line = line.rstrip()
        if not line or line.startswith(b"#"):
            continue
        try:
            name = line.decode().partition(":")[0]
        except UnicodeDecodeError:
            name = ""
        usable = name.strip() and b"\0" not in line
        yield number, name if usable else None, line.split(b":")[1] if b":" in line else b""


def _scheme(hashed: bytes) -> bytes | None:
    found = _CHECKABLE.fullmatch(hashed)
    return None if found is None else next(part for part in found.groups() if part is not None)


def _digest(salt: bytes, user: str, hashed: bytes) -> bytes:
    line = b"%s:%s" % (user.encode(), hashed)
    return hashlib.blake2b(line, key=salt, digest_size=_SALT).digest()


@functools.cache
def _validate():
    library = ctypes.CDLL(_LIBRARY)
    library.apr_password_validate.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
    library.apr_password_validate.restype = ctypes.c_int
    return library.apr_password_validate
