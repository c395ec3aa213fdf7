"""Handlers of phases, and what they leave for the content handler."""

from mod_python import apache


def ok(req):
    """Note the phase, and let it go on."""
    _note(req)
    return apache.OK


def declined(req):
    """Note the phase, and decline."""
    _note(req)
    return apache.DECLINED


def forbid(req):
    """Refuse."""
    return apache.HTTP_FORBIDDEN


def raises(req):
    """Refuse by an exception."""
    raise apache.SERVER_RETURN(apache.HTTP_FORBIDDEN)


def unauthorized(req):
    """Ask for a password."""
    return apache.HTTP_UNAUTHORIZED


def done(req):
    """Answer in place of the content handler."""
    req.content_type = "text/plain"
    req.write("done")
    return apache.DONE


def writes(req):
    """Write before the content handler does."""
    req.write("early ")
    return apache.OK


def fault(req):
    """Fail."""
    raise ValueError("a fault of the oracle")


def no_number(req):
    """Return something that is no result."""
    return "403"


def redirect(req):
    """Redirect."""
    req.headers_out["Location"] = "/elsewhere"
    return apache.HTTP_MOVED_TEMPORARILY


def sign_in(req):
    """Set the user."""
    req.user = "ann"
    return apache.OK


def password(req):
    """Let in the user of Basic authentication."""
    given = req.get_basic_auth_pw()
    return apache.OK if given == "pass" else apache.HTTP_UNAUTHORIZED


def field(req):
    """Set header fields for the response."""
    req.headers_out["X-Fixed"] = "yes"
    req.err_headers_out["X-Always"] = "yes"
    return apache.OK


def adds(req):
    """Add handlers to later phases."""
    req.add_handler("PythonFixupHandler", "oracle.phases::field")
    req.add_handler("PythonHandler", "oracle.phases::more")
    return apache.OK


def content(req):
    """Write what the phases have left."""
    req.content_type = "text/plain"
    seen = getattr(req, "seen", [])
    req.write(f"content {seen} {req.user} {req.phase} {req.hlist.handler} {req.hlist.silent}")
    return apache.OK


def more(req):
    """Write that the handler was added."""
    req.write(f" more {req.hlist.handler}")
    return apache.OK


def upper(filter):
    """Filter text to capitals."""
    text = filter.read()
    while text:
        filter.write(text.upper())
        text = filter.read()
    if text is None:
        filter.close()


def behind_filter(req):
    """Write through a filter of this request."""
    req.register_output_filter("UPPER", "oracle.phases::upper")
    req.add_output_filter("UPPER")
    req.content_type = "text/plain"
    req.write("one ")
    req.write("two", 0)
    return apache.OK


def elsewhere(req):
    """Redirect within the server, to a file beside this one or what the query names."""
    if req.prev is not None:
        req.content_type = "text/plain"
        req.write(f"{req.uri} {req.args} {req.prev.uri} {req.status}")
        return apache.OK
    req.internal_redirect(f"{req.uri.rpartition('/')[0]}/page.html?x=1")
    return apache.OK


def _note(req):
    if not hasattr(req, "seen"):
        req.seen = []
    req.seen.append((req.phase, req.hlist.handler))
