"""Signatures: HMAC-SHA256 (RFC 2104) by secrets that can be replaced, for one purpose each.

Cookies, stored sessions and the URLs of thumbnails are signed by it. The cookies of sessions and
what is stored of them share one file of secrets, so each purpose has a key of its own, derived from
the secret: a signature for one purpose does not verify for another. Signatures of an older version,
made by the secret itself, still verify.

The signature of a thumbnail's URL is that of its name as it stands there,
``300x200-crop/12345.jpg``, or without its extension, by the key itself, in base64 for URLs (RFC
4648, section 5), so that other programs can sign, too. It is not access control: once made, the
thumbnail is served to everybody. It stops strangers from having others made.
"""

import base64
import hmac
from collections.abc import Sequence

from handlers import names

_PURPOSE = b"modpython-handlers: "
#: A shorter key is refused: who has one URL could try all of them.
SHORTEST_KEY = 16


def keys_for(purpose: bytes, secrets: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return the keys for one purpose: those derived from *secrets*, then these themselves.

    The latter are for what an older version has signed.
    """
    salt = _PURPOSE + purpose
    return (*(hmac.digest(one, salt, "sha256") for one in secrets), *secrets)


class Signer:
    """Signs and verifies.

    :param keys: the first one signs, each verifies.
    """

    def __init__(self, keys: Sequence[bytes]):
        self._keys = tuple(keys)

    def sign(self, content: bytes) -> bytes:
        """Return the signature of *content*, 32 bytes."""
        return hmac.digest(self._keys[0], content, "sha256")

    def is_signed(self, content: bytes, signature: bytes) -> bool:
        """Tell whether *signature* is one of *content*.

        The time it takes tells nothing about how much of it was right.
        """
        digests = (hmac.digest(key, content, "sha256") for key in self._keys)
        return any(hmac.compare_digest(digest, signature) for digest in digests)


class BadKey(ValueError):
    """Raised for a list of keys that is empty, or has one that is too short."""


def keys(text: str) -> tuple[str, ...]:
    """Return the keys in *text*, separated by blanks; the first one signs, each is accepted.

    :raises BadKey: if there is none, or one is shorter than :data:`SHORTEST_KEY` characters.
    """
    found = tuple(text.split())
    if not found or min(map(len, found)) < SHORTEST_KEY:
        raise BadKey(f"each key needs at least {SHORTEST_KEY} characters")
    return found


def sign(name: str, key: str) -> str:
    """Return the signature of the thumbnail *name*, such as ``300x200/12345.jpg``.

    The signature of a name without extension holds for every format.
    """
    return _text(Signer([key.encode()]).sign(name.encode()))


def is_signed(name: str, signature: str, keys: Sequence[str]) -> bool:
    """Tell whether *signature* is one of *name*, or of it without extension, by one of *keys*.

    The time it takes tells nothing about how much of it was right.
    """
    names = (name, name.rpartition(".")[0])
    given = signature.encode("utf-8", "surrogatepass")
    right = False
    for key in keys:
        for one in names:
            right |= hmac.compare_digest(sign(one, key).encode(), given)
    return right


def _text(signature: bytes) -> str:
    return base64.urlsafe_b64encode(signature).rstrip(b"=").decode("ascii")


def url(name: str, key: str, prefix: str = "/thumbs") -> str:
    """Return the path and query under which the thumbnail *name* is served.

    :param prefix: the option ``thumbnail.url``.
    """
    return f"{prefix}/{names.in_url(name)}?s={sign(name, key)}"
