"""Signatures of thumbnail URLs, for sizes that are not in the list.

A signature is the HMAC-SHA256 (RFC 2104) of the thumbnail's name as it stands in the URL,
``300x200-crop/12345.jpg``, or without its extension, in base64 for URLs (RFC 4648, section 5). It
is not access control: once made, the thumbnail is served to everybody. It stops strangers from
having others made.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence

from handlers import names

#: A shorter key is refused: who has one URL could try all of them.
SHORTEST_KEY = 16


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
    digest = hmac.digest(key.encode(), name.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


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


def url(name: str, key: str, prefix: str = "/thumbs") -> str:
    """Return the path and query under which the thumbnail *name* is served.

    :param prefix: the option ``thumbnail.url``.
    """
    return f"{prefix}/{names.in_url(name)}?s={sign(name, key)}"
