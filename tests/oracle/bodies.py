"""Reading the body of a request, and what happens when the request is over."""

from mod_python import apache

from .answers import write_answer


def read(req):
    """Read all of it."""
    return write_answer(req, lambda: (req.read(), req.read(), req.read_length, req.remaining))


def read_pieces(req):
    """Read it in pieces of five."""
    return write_answer(req, lambda: [(req.read(5), req.read_length) for _ in range(5)])


def remaining(req):
    """Read five bytes and say what remains."""
    return write_answer(req, lambda: (req.read(5), req.remaining))


def echo(req):
    """Write what was read."""
    req.content_type = "application/octet-stream"
    req.write(req.read())
    return apache.OK


def readline(req):
    """Read it line by line."""
    return write_answer(req, lambda: [req.readline() for _ in range(5)])


def readline_pieces(req):
    """Read pieces of lines."""
    return write_answer(req, lambda: [req.readline(3) for _ in range(8)])


def readlines(req):
    """Read the list of lines."""
    return write_answer(req, lambda: (req.readlines(), req.readlines()))


def readlines_hint(req):
    """Read lines until there are six bytes."""
    return write_answer(req, lambda: (req.readlines(6), req.read()))


def mixed(req):
    """Read by all means in turn."""
    return write_answer(req, lambda: (req.read(2), req.readline(), req.readlines(), req.read()))


def unread(req):
    """Leave it unread."""
    req.content_type = "text/plain"
    req.write("unread")
    return apache.OK
