"""Writing: text, bytes, files, lengths and header fields."""

import json
import urllib.parse

from mod_python import apache


def text(req):
    """Write text and bytes, flushed and not."""
    req.content_type = "text/plain; charset=utf-8"
    req.write("Grüße, ")
    req.write(b"\x00\xff\n")
    req.write("later\n", 0)
    req.flush()
    req.write("last\n", 0)
    return apache.OK


def pending(req):
    """Write all of it without a flush."""
    req.content_type = "text/plain"
    req.write("one ", 0)
    req.write("two", 0)
    return apache.OK


def announced(req):
    """Announce the length."""
    req.content_type = "text/plain"
    req.set_content_length(4)
    req.write("four")
    return apache.OK


def nothing(req):
    """Write nothing."""
    return apache.OK


def untyped(req):
    """Write without a type."""
    req.write("text")
    return apache.OK


def type_by_header(req):
    """Give the type in headers_out only."""
    req.headers_out["Content-Type"] = "text/x-of-header"
    req.write("text")
    return apache.OK


def two_types(req):
    """Give the type in both ways."""
    req.headers_out["Content-Type"] = "text/x-of-header"
    req.content_type = "text/x-set"
    req.write("text")
    return apache.OK


def large(req):
    """Write a megabyte in pieces."""
    req.content_type = "application/octet-stream"
    for number in range(1024):
        req.write(bytes([number % 256]) * 1024, number % 2)
    return apache.OK


def file(req):
    """Send the file with the offset and length that the query has in JSON."""
    req.content_type = "application/octet-stream"
    req.sendfile(req.filename, *json.loads(urllib.parse.unquote(req.args or "[]")))
    return apache.OK


def file_between(req):
    """Send a part of the file between two writes, and say how much it was."""
    req.content_type = "text/plain"
    req.write("before ", 0)
    sent = req.sendfile(req.filename, 1, 3)
    req.write(f" {sent} after")
    return apache.OK


def fields(req):
    """Set header fields in both tables, some of them twice."""
    req.content_type = "text/plain"
    req.headers_out["X-One"] = "1"
    req.headers_out.add("X-Two", "a")
    req.headers_out.add("X-Two", "b")
    req.err_headers_out.add("Set-Cookie", "a=1")
    req.err_headers_out.add("Set-Cookie", "b=2")
    req.headers_out["Cache-Control"] = "no-store"
    if req.args:
        return int(req.args)
    req.write("fields")
    return apache.OK


def late_fields(req):
    """Set a header field when the first byte has gone."""
    req.content_type = "text/plain"
    req.write("text")
    req.headers_out["X-Late"] = "1"
    req.status = 404
    return apache.OK


def expiring(req):
    """Ask for no caching, in mod_python's way."""
    req.content_type = "text/plain"
    req.no_cache = 1
    req.write("text")
    return apache.OK


def counted(req):
    """Say what has been sent."""
    req.content_type = "text/plain"
    req.write("12345")
    req.write(f" {req.bytes_sent} {req.sent_bodyct}")
    return apache.OK


def status_line(req):
    """Send a status line of the handler's own."""
    req.status = 404
    req.status_line = "404 Nowhere"
    req.content_type = "text/plain"
    req.write("text")
    return apache.OK
