"""Handlers for lists of handlers, and objects of several kinds."""

from mod_python import apache


def handler(req):
    """Write the name that a module without an object stands for."""
    return _write(req, "default")


def first(req):
    """Write the first word."""
    req.word = "of the first"
    return _write(req, "first")


def second(req):
    """Write the second word, and what the first has left."""
    return _write(req, f"second {getattr(req, 'word', None)}")


def declining(req):
    """Decline."""
    return apache.DECLINED


def done(req):
    """Write, and end it."""
    _write(req, "done")
    return apache.DONE


def missing(req):
    """Answer 404."""
    return apache.HTTP_NOT_FOUND


def returning(req):
    """End with OK, by an exception."""
    _write(req, "returning")
    raise apache.SERVER_RETURN(apache.OK)


def extension(req):
    """Write the extension that the handler was chosen by."""
    return _write(req, f"{req.extension}")


def place(req):
    """Write the end of the handler's directory."""
    return _write(req, f" {req.hlist.directory[-1]}")


nothing = None


class Page:
    """A class that is made an instance for each request."""

    def __init__(self, req):
        self.uri = req.uri

    def show(self, req):
        """Write what the instance was made of."""
        return _write(req, f"page {self.uri == req.uri}")


class _Holder:
    def show(self, req):
        return _write(req, "object")


page = _Holder()


def _write(req, word):
    req.content_type = "text/plain"
    req.write(f"{word}\n")
    return apache.OK
