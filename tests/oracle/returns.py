"""What handlers return and raise."""

import json
import urllib.parse

from mod_python import apache

_RESULTS = {"none": None, "text": "OK", "true": True, "float": 200.0, "tuple": (404,)}
_FAULTS = {
    "ValueError": ValueError("a fault of the oracle"),
    "SystemExit": SystemExit(3),
    "no argument": apache.SERVER_RETURN(),
    "OSError": OSError("a fault of the oracle"),
}


def result(req):
    """Return the number that is the query."""
    req.headers_out["X-Out"] = "out"
    req.err_headers_out["X-Err-Out"] = "err"
    return int(req.args)


def result_after_text(req):
    """Return the number that is the query, after some output."""
    req.content_type = "text/plain"
    req.write("written\n")
    return int(req.args)


def result_after_pending_text(req):
    """Return the number that is the query, after output that waits for a flush."""
    req.content_type = "text/plain"
    req.write("written\n", 0)
    return int(req.args)


def no_number(req):
    """Return something that is no result."""
    return _RESULTS[req.args]


def status(req):
    """Set the status to the number that is the query and return OK."""
    req.status = int(req.args)
    req.content_type = "text/plain"
    req.write("body\n")
    return apache.OK


def server_return(req):
    """Raise SERVER_RETURN with the arguments that the query has in JSON."""
    req.content_type = "text/plain"
    req.write("before\n", 0)
    raise apache.SERVER_RETURN(*json.loads(urllib.parse.unquote(req.args)))


def fault(req):
    """Raise the fault that the query names."""
    # without the frames of the last time that this child raised it
    raise _FAULTS[urllib.parse.unquote(req.args)].with_traceback(None)


def fault_after_text(req):
    """Fail after some output."""
    req.content_type = "text/plain"
    req.write("written\n")
    raise ValueError("a fault of the oracle")


def redirect(req):
    """Redirect with the status that is the query."""
    req.headers_out["Location"] = "/elsewhere?a=1&b=2"
    return int(req.args)


def redirect_by_status(req):
    """Redirect by setting the status, with a body of the handler's own."""
    req.headers_out["Location"] = "/elsewhere"
    req.status = apache.HTTP_MOVED_TEMPORARILY
    req.content_type = "text/plain"
    req.write("moved\n")
    return apache.OK


def method_not_allowed(req):
    """Allow GET and PUT, and return 405."""
    req.allow_methods(["GET", "PUT"], 1)
    return apache.HTTP_METHOD_NOT_ALLOWED


def own_allow(req):
    """Set Allow by hand and return 405."""
    req.headers_out["Allow"] = "GET, BREW"
    return apache.HTTP_METHOD_NOT_ALLOWED


def not_modified(req):
    """Return 304 with validators and a type."""
    req.headers_out["ETag"] = '"x"'
    req.headers_out["Cache-Control"] = "max-age=5"
    req.headers_out["X-Out"] = "out"
    req.content_type = "text/plain"
    return apache.HTTP_NOT_MODIFIED
