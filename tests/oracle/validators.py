"""Conditional requests."""

from mod_python import apache


def file(req):
    """Answer with the file's validators, under the conditions of the request."""
    req.update_mtime(req.finfo.mtime)
    req.set_last_modified()
    req.set_etag()
    return _under_conditions(req)


def own(req):
    """Answer with validators of the handler's own."""
    req.headers_out["ETag"] = 'W/"own"' if req.args == "weak" else '"own"'
    req.headers_out["Last-Modified"] = "Sun, 09 Sep 2001 01:46:40 GMT"
    return _under_conditions(req)


def _under_conditions(req):
    req.content_type = "text/plain"
    result = req.meets_conditions()
    if result != apache.OK:
        return result
    req.write("text")
    return apache.OK
