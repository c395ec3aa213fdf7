"""WSGI applications run by a handler: their environment, and the call that takes their headers."""

import sys

from .options import is_directive

_BASE = "PythonOption.mod_python.wsgi.base_uri"


def build_environ(req, environ: dict) -> dict | None:
    """Return the environment (PEP 3333) for an application, from that of the request.

    As in mod_python ``wsgi.input`` is the request object and ``wsgi.errors`` is ``sys.stderr``.
    SCRIPT_NAME is ``PythonOption mod_python.wsgi.base_uri``, or nothing without it; what follows
    in the path is PATH_INFO. The package's configuration is left out.

    :return: None if the path does not begin with that option.
    """
    base = environ.get(_BASE, "").rstrip("/")
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    if base and path != base and not path.startswith(base + "/"):
        return None
    made = {name: value for name, value in environ.items() if not is_directive(name)}
    made.pop("wsgi.file_wrapper", None)
    made |= {
        "SCRIPT_NAME": base,
        "PATH_INFO": path[len(base) :],
        "wsgi.input": req,
        "wsgi.errors": sys.stderr,
    }
    return made


def start_response(req, status: str, headers: list, exc_info=None):
    """Set status and headers of the response, as the callable of PEP 3333 does; return the writer.

    :raises AssertionError: if it was called before and *exc_info* is None.
    :raises ValueError: for a status without a number, or a header with a line break in it.
    """
    began = getattr(req, "_application_began", False)
    if exc_info is not None:
        try:
            if req.started():
                raise exc_info[1].with_traceback(exc_info[2])
        finally:
            exc_info = None
        req.headers_out.clear()
    elif began:
        raise AssertionError("start_response was called before, and there is no exc_info")
    number = int(status[:3])
    req._application_began = True
    req.status = number
    req.status_line = status
    for name, value in headers:
        if name.lower() == "content-type":
            req.content_type = value
        else:
            req.headers_out.add(name, value)
    return req.write
