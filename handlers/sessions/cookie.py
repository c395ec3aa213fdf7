"""The session's id in the Cookie field of a request, and what its own cookie says."""

import functools
import itertools
import re
from collections.abc import Callable, Collection

from .options import Options

# more cookies of one name than any browser has a reason for; each costs a look into the store
_MOST = 8
# and more than fit into one field; each costs a signature at most
_MOST_READ = 256
_SID = "[0-9a-f]{32}"
_SIGNATURE = "[0-9a-f]{64}"


def ids_in(
    field: str, name: str, unsigned: Callable[[str], str | None] | None = None
) -> Collection[str]:
    """Return the session ids in the cookies *name*, in the order sent, each once, at most 8.

    Only ids that may be ours count: a value that a former secret has signed takes no place.

    There may be several: browsers send one for each path, and one that an older release has set
    stays for years. The field is searched for the name itself, so no quote or comma in a foreign
    cookie can hide ours. Apache joins two fields by a comma.

    :param field: the text of the request's Cookie field.
    :param unsigned: returns the id of a signed value, None if the signature is wrong; values are
        ids where it is None or empty.
    """
    if name not in field:
        return ()
    found: dict[str, None] = {}
    values = _pattern(name, bool(unsigned)).finditer(field)
    for match in itertools.islice(values, _MOST_READ):
        sid = unsigned(match[1]) if unsigned else match[1]
        if sid is not None:
            found[sid] = None
            if len(found) == _MOST:
                break
    return found


def by_https(req) -> bool:
    """Tell whether the request came by https, to this server or to a proxy in front of it."""
    # the variable is how a proxy's word is passed on (SetEnvIf X-Forwarded-Proto https HTTPS=on)
    return bool(req.is_https()) or req.subprocess_env.get("HTTPS", "").lower() in ("on", "1")


def is_secure(req, options: Options) -> bool:
    """Tell whether the cookie is to come back over https only."""
    # browsers refuse SameSite=None without it
    if options.samesite == "None" or options.secure:
        return True
    return options.secure is None and by_https(req)


@functools.lru_cache(maxsize=64)
def _pattern(name: str, signed: bool) -> re.Pattern:
    value = _SIGNATURE * signed + _SID
    return re.compile(
        rf'(?:^|[;,])[ \t]*{re.escape(name)}[ \t]*=[ \t]*"?({value})"?'
        r"[ \t]*(?![^;,])"
    )
