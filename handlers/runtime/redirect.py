"""Internal redirects: another address of the same section answers for this one.

mod_wsgi cannot call Apache for another address, so the runtime works out the file and runs the
handlers of the section again. It does so only where it knows that the address is of this section:
below the directory of the section, or the Alias or DocumentRoot that the request came by. For any
other address, whose own section may keep strangers out, it raises :class:`Unreachable`. For the
same reason a file that the handlers decline is sent only if it lies beside the request's, and is
403 else.
"""

import os
import posixpath
import urllib.parse

from . import options
from .variables import own_variables

_BEFORE = "REDIRECT_"
_DEPTH = "mod_wsgi.x-redirects"
_MOST = 10  # redirects in a row, as LimitInternalRecursion has it


class Unreachable(ValueError):
    """Raised for an address of which the runtime does not know what Apache would do."""


def environment_before(environ: dict) -> dict | None:
    """Return the environment of the request that Apache has redirected to this one, if it has.

    It is known as far as the variables ``REDIRECT_*`` tell: address, method, query and status.
    """
    if "REDIRECT_URL" not in environ:
        return None
    before = {name: value for name, value in environ.items() if not name.startswith(_BEFORE)}
    before |= {
        name.removeprefix(_BEFORE): value
        for name, value in environ.items()
        if name.startswith(_BEFORE)
    }
    before["SCRIPT_NAME"] = before.pop("URL")
    before["PATH_INFO"] = ""
    before["REDIRECT_STATUS"] = before.pop("STATUS", "200")
    return before


def is_redirected(environ: dict) -> bool:
    """Tell whether the environment is that of a request to which the runtime has redirected."""
    return _DEPTH in environ


def file_of(request, uri: str) -> str:
    """Return the path that *uri* means, below the Alias or DocumentRoot of the request.

    :raises Unreachable: if it is none of those.
    """
    environ = request.environment()
    prefix = environ.get("CONTEXT_PREFIX", "").rstrip("/")
    root = environ.get("CONTEXT_DOCUMENT_ROOT") or environ.get("DOCUMENT_ROOT")
    path = posixpath.normpath(f"/{uri.lstrip('/')}")
    if root is None or (prefix and not f"{path}/".startswith(f"{prefix}/")):
        raise Unreachable(f"{uri} is no address of the section of {request.uri}")
    slash = "/" if uri.endswith("/") and path != "/" else ""
    return root.rstrip("/") + path[len(prefix) :] + slash


def split_path(path: str) -> tuple[str, str]:
    """Return the file of a path and what follows it, as Apache does when it walks directories."""
    file, rest = path.rstrip("/"), path[len(path.rstrip("/")) :]
    while file and not os.path.lexists(file):
        file, slash, last = file.rpartition("/")
        rest = f"{slash}{last}{rest}"
    if os.path.isdir(file) and rest.strip("/"):
        # what is not there is no path within a directory
        first, slash, others = rest.lstrip("/").partition("/")
        file, rest = f"{file}/{first}", slash + others
    return file, rest


def run_redirected(request, uri: str, make_request, respond, is_error: bool = False) -> None:
    """Run the handlers of *request* for another address, and send what they answer.

    :param uri: path and query; a path without a slash is one beside the request's.
    :param make_request: returns a request for an environment and the call that starts a response.
    :param respond: runs the handlers of a request and returns the iterable of its response.
    :param is_error: whether the address is that of an ErrorDocument, which is asked for by GET.
    :raises Unreachable: if the address is none of this section.
    """
    path, mark, query = uri.partition("?")
    path = urllib.parse.unquote(path, errors="surrogateescape")
    if not path.startswith("/"):
        path = posixpath.join(posixpath.dirname(request.uri), path)
    environ = dict(request.environment())
    depth = int(environ.get(_DEPTH, "0")) + 1
    if depth > _MOST:
        raise Unreachable(f"{uri}: more than {_MOST} internal redirects in a row")
    file, rest = split_path(file_of(request, path))
    section = options.configuration(environ).variables.get(f"{options.CONTENT}.directory", "")
    below = os.fsdecode(section.encode("latin-1")).rstrip("/") + "/"
    if section and not f"{file}/".startswith(below):
        raise Unreachable(f"{uri} is outside of {section}, whose handlers would answer")
    location = environ.get(options.LOCATION, "").rstrip("/")
    if location and path != location and not path.startswith(f"{location}/"):
        raise Unreachable(f"{uri} is outside of {location}, whose handlers would answer")
    raw = path.encode("utf-8", "surrogateescape").decode("latin-1")
    raw_rest = rest.encode("utf-8", "surrogateescape").decode("latin-1")
    if is_error and environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        environ["REDIRECT_REQUEST_METHOD"] = environ["REQUEST_METHOD"]
        environ["REQUEST_METHOD"] = "GET"
    if environ.get("QUERY_STRING"):
        environ["REDIRECT_QUERY_STRING"] = environ["QUERY_STRING"]
    environ |= {f"{_BEFORE}{name}": value for name, value in own_variables(request.environment())}
    environ |= {
        _DEPTH: str(depth),
        "REDIRECT_STATUS": str(request.status),
        "REDIRECT_URL": request.uri,
        "SCRIPT_NAME": raw.removesuffix(raw_rest),
        "PATH_INFO": raw_rest,
        "QUERY_STRING": query,
        "REQUEST_URI": uri if uri.startswith("/") else raw + mark + query,
    }
    output = request.output()
    if output.bytes_queued:
        request.flush()
    server = output.server()

    def start_response(status, headers, exc_info=None):
        if not output.started():
            output.adopt(server(status, headers))
        return output.pass_on

    redirected = make_request(environ, start_response)
    redirected.set_file(file, rest)
    redirected.prev = request
    if request.err_headers_out:
        redirected.err_headers_out.update(request.err_headers_out)
    # another directory may have a section that keeps strangers out
    redirected.serves_files = request.serves_files and (
        os.path.dirname(file) == os.path.dirname(request.filename)
    )
    redirected.user, redirected.ap_auth_type = request.user, request.ap_auth_type
    redirected.share_body(request)
    request.next = redirected
    blocks = respond(redirected, environ)
    try:
        for block in blocks:
            if block:
                output.pass_on(block)
    finally:
        if hasattr(blocks, "close"):
            blocks.close()
