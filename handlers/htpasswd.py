"""Passwords in a file of Apache's htpasswd(1), checked by Apache's own library."""

import ctypes
import functools
import os

_LIBRARY = "libaprutil-1.so.0"
_ROUNDS = 5

# of no password: an unknown user costs the time that a known one costs
_NOBODY = "$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC"
_LONGEST = 1024


def check(path: str, user: str, password: str) -> bool:
    """Tell whether *password* is the one that the file *path* holds for *user*.

    Every format of htpasswd is understood: bcrypt (``htpasswd -B``), SHA-512, MD5, SHA-1. The file
    is read anew each time, so a change holds at once. Safe in any thread.

    :raises OSError: if the file cannot be read.
    """
    encoded = password.encode()
    if b"\0" in encoded or len(encoded) > _LONGEST:
        return False
    known = _hash_of(path, user)
    right = _validate()(encoded, (known or _NOBODY).encode()) == 0
    return known is not None and right


def encode(password: str) -> str:
    """Return the bcrypt hash of *password*, as ``htpasswd -B`` makes it."""
    salt, encoded = os.urandom(16), ctypes.create_string_buffer(128)
    function = ctypes.CDLL(_LIBRARY).apr_bcrypt_encode
    status = function(password.encode(), _ROUNDS, salt, len(salt), encoded, len(encoded))
    if status:
        raise OSError(status, "apr_bcrypt_encode")
    return encoded.value.decode()


def _hash_of(path: str, user: str) -> str | None:
    with open(path, encoding="utf-8") as file:
        for line in file:
            name, colon, rest = line.strip().partition(":")
            if colon and name == user and not name.startswith("#"):
                return rest.partition(":")[0]
    return None


@functools.cache
def _validate():
    library = ctypes.CDLL(_LIBRARY)
    library.apr_password_validate.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
    library.apr_password_validate.restype = ctypes.c_int
    return library.apr_password_validate
