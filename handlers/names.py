"""Names of pictures: what stands for an id in the cache, and in the path that Apache decodes.

An id of letters, digits, ``_`` and ``-`` is its own name. Of any other id, each byte of its UTF-8
that is none of these becomes ``%XX``, in upper case (RFC 3986, section 2.1). So a name never holds
a dot or a slash, and each id has one name and each name one id. In a URL the ``%`` of a name is
itself encoded, as ``%25``: Apache decodes a URL once.

Ids that are no UTF-8 come as ``bytes.decode("utf-8", "surrogateescape")`` gives them.
"""

import re
from urllib.parse import unquote_to_bytes

#: characters of a name at most: with size and extension it must fit in a file's name
LONGEST = 200

_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,128}")
_SPECIAL = re.compile(rb"[^A-Za-z0-9_-]")
_NAME = re.compile(rf"(?:[A-Za-z0-9_-]|%[0-9A-F]{{2}}){{1,{LONGEST}}}")


def is_plain(id: str) -> bool:
    """Tell whether *id* is ``[A-Za-z0-9_-]{1,128}``."""
    return _PLAIN.fullmatch(id) is not None


def has_name(id: str) -> bool:
    """Tell whether *id* has a name: it is not empty, and the name is not too long."""
    if is_plain(id):
        return True
    try:
        return 0 < len(id) <= LONGEST and len(of(id)) <= LONGEST
    except UnicodeEncodeError:
        # half of a surrogate pair stands for no bytes
        return False


def of(id: str) -> str:
    """Return the name of *id*, however long."""
    if is_plain(id):
        return id
    return _SPECIAL.sub(_escaped, id.encode("utf-8", "surrogateescape")).decode("ascii")


def id_of(name: str) -> str | None:
    """Return the id whose name is *name*; None if it is no id's."""
    if is_plain(name):
        return name
    if len(name) > LONGEST or not _NAME.fullmatch(name):
        return None
    id = unquote_to_bytes(name).decode("utf-8", "surrogateescape")
    # %41 is no name: that of A is A
    return id if of(id) == name else None


def in_url(name: str) -> str:
    """Return *name* as it stands in a URL."""
    return name.replace("%", "%25")


def _escaped(byte: re.Match[bytes]) -> bytes:
    return b"%%%02X" % byte[0][0]
