"""Where a form was sent from: the header Origin (RFC 6454) and Fetch Metadata.

Browsers send ``Origin`` with every POST. It must be the scheme, host and port that the request
came by. Behind a proxy Apache knows these only if ``ProxyPreserveHost On`` keeps the host, and if
``SetEnvIf X-Forwarded-Proto https HTTPS=on`` passes on that TLS ends at the proxy.
"""

import logging
import re

from handlers.sessions import cookie

log = logging.getLogger(__name__)

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = r"([A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?"
_ORIGIN = re.compile(rf"(https?)://{_HOST}", re.ASCII)
_AUTHORITY = re.compile(_HOST, re.ASCII)
_OWN_SITES = ("same-origin", "none")
_SHOWN = 100


def is_own(req) -> bool:
    """Tell whether the request comes from a page of this site, or from no page at all.

    What cannot be understood, and ``null``, is foreign. A refusal is one line in the log.
    """
    try:
        origin = req.headers_in.get("Origin")
        host = req.headers_in.get("Host") or ""
        site = req.headers_in.get("Sec-Fetch-Site")
    except UnicodeDecodeError:
        # mod_python decodes a header when it is asked for
        log.warning("form refused: one of Origin, Host and Sec-Fetch-Site is not UTF-8")
        return False
    if site is not None and site.strip().lower() not in _OWN_SITES:
        log.warning("form refused: a page of another site sent it (Sec-Fetch-Site %r)", site[:20])
        return False
    if origin is None:
        return True
    scheme = "https" if cookie.by_https(req) else "http"
    if _parts(origin) == _own_parts(scheme, host) is not None:
        return True
    log.warning(
        "form refused: it came from the origin %r, and this site is %r (behind a proxy set"
        " ProxyPreserveHost On; where TLS ends at the proxy, SetEnvIf X-Forwarded-Proto https"
        " HTTPS=on)",
        origin[:_SHOWN],
        f"{scheme}://{host[:_SHOWN]}",
    )
    return False


def _parts(origin: str) -> tuple[str, str, int] | None:
    found = _ORIGIN.fullmatch(origin)
    return found and (found[1], found[2].lower(), int(found[3] or _DEFAULT_PORTS[found[1]]))


def _own_parts(scheme: str, host: str) -> tuple[str, str, int] | None:
    found = _AUTHORITY.fullmatch(host)
    return found and (scheme, found[1].lower(), int(found[2] or _DEFAULT_PORTS[scheme]))
