"""Whether Apache's structures say of a request what its WSGI environment says."""

import re

from .request_rec import ConnRec, Record, ServerRec, Unusable

_PATHS = ("SCRIPT_FILENAME", "SERVER_ADMIN")
_ESCAPE = "surrogateescape"
_SLASHES = re.compile(rb"/+")


def check(request: Record, environ: dict) -> None:
    """Compare what a request_rec says with what the environment of its request says.

    :raises Unusable: naming the first field that differs, or one that leads nowhere.
    """
    client, server = request.follow("connection", ConnRec), request.follow("server", ServerRec)
    if client is None or server is None or not request.get("pool"):
        raise Unusable("request_rec has no connection")

    def compare(record, field, *wanted):
        try:
            found = record.text(field)
        except Unusable as error:
            raise Unusable(f"{field}: {error}") from None
        if found not in wanted:
            raise Unusable(f"{field} is {found!r}, not {wanted[0]!r}")

    def told(name):
        return environ.get(name, "").encode("utf-8" if name in _PATHS else "latin-1", _ESCAPE)

    # pointers that are NULL for no request
    method = told("REQUEST_METHOD")
    compare(request, "protocol", told("SERVER_PROTOCOL"))
    # mod_wsgi makes HEAD GET where filters need the body
    compare(request, "method", *((b"GET", b"HEAD") if method == b"GET" else (method,)))
    compare(request, "handler", told("mod_wsgi.request_handler"))
    line = request.text("the_request") or b""
    if told("REQUEST_URI") not in line:
        raise Unusable(f"the_request is {line!r}, without {told('REQUEST_URI')!r}")
    path = _SLASHES.sub(b"/", request.text("uri") or b"")
    if path != _SLASHES.sub(b"/", told("SCRIPT_NAME") + told("PATH_INFO")):
        raise Unusable(f"uri is {path!r}")
    compare(request, "filename", told("SCRIPT_FILENAME"))
    compare(request, "args", told("QUERY_STRING"), *([] if told("QUERY_STRING") else [None]))
    compare(request, "useragent_ip", told("REMOTE_ADDR"))
    compare(client, "local_ip", told("SERVER_ADDR"))
    compare(server, "server_admin", told("SERVER_ADMIN"))
    if request.get("status") not in (200, int(environ.get("REDIRECT_STATUS", "200"))):
        raise Unusable(f"status is {request.get('status')}")
    start = float(environ.get("mod_wsgi.request_start") or 0)
    if request.get("request_time") not in (round(start * 1_000_000), round(start)):
        raise Unusable(f"request_time is {request.get('request_time')}")
    _check_tables(request, told)
    if client.get("aborted") not in (0, 1) or not 0 <= client.get("keepalives") < 1 << 24:
        raise Unusable("connection has no number of requests")
    limits = [server.get(f"limit_req_{name}") for name in ("line", "fieldsize", "fields")]
    if not all(0 <= limit < 1 << 28 for limit in limits) or not server.text("server_hostname"):
        raise Unusable("server has no limits")


def _check_tables(request, told):
    fields: dict[str, list[bytes]] = {}
    for name, value in request.rows("headers_in"):
        if re.fullmatch(rb"[A-Za-z0-9-]+", name):
            key = name.decode().upper().replace("-", "_")
            fields.setdefault(key, []).append(value)
    for name, values in fields.items():
        found = told(f"HTTP_{name}") or told(name)
        if found and found != b", ".join(values):
            raise Unusable(f"the field {name} is {values!r}, not {found!r}")
    variables = dict(request.rows("subprocess_env"))
    if variables.get(b"SERVER_ADDR") != told("SERVER_ADDR"):
        raise Unusable("subprocess_env does not hold the environment")
    request.rows("notes")
    request.rows("headers_out")
    request.rows("err_headers_out")
