"""Session ids: made from the system's random source, and never stored as they are."""

import functools
import hashlib
import re
import secrets

_SID = re.compile(r"[0-9a-f]{32}")


def new() -> str:
    """Return a new session id: 128 random bits as 32 lower-case hexadecimal digits."""
    return secrets.token_hex(16)


def valid(text: str) -> bool:
    """Tell whether *text* is a session id and nothing more, not even a newline at its end."""
    return _SID.fullmatch(text) is not None


@functools.lru_cache(maxsize=8)
def key(sid: str) -> str:
    """Return what stands for *sid* in a store: 32 hexadecimal digits of its SHA-256.

    Whoever reads a store's directory, table or backup learns no id that a cookie could carry, and
    no text, however hostile, becomes a path.
    """
    return hashlib.sha256(sid.encode()).hexdigest()[:32]
