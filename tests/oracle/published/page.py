"""A page for the publisher."""

from html import escape  # noqa: F401 - must not be published

from mod_python import apache

text = "some text"
words = ["a", "b"]
number = 0
_private = "secret"


def index(req):
    """Say which function this is."""
    return "the index"


def hello(req, name="nobody"):
    """Greet."""
    return f"hello {name}"


def without_request(name):
    """Repeat."""
    return name


def every(req, **kw):
    """Show all fields."""
    return repr(sorted(kw.items()))


def upload(req, upload):
    """Show a file."""
    return f"{upload.filename} {upload.value!r} {upload.type}"


def nothing(req):
    """Publish nothing."""


def page(req):
    """Publish HTML."""
    return "<html><body>page</body></HTML >\n"


def nearly(req):
    """Publish what is no HTML."""
    return "</html>" + "x" * 100


def typed(req):
    """Set the type."""
    req.content_type = "text/x-own"
    return "<html></html>"


def written(req):
    """Write instead."""
    req.content_type = "text/x-own"
    req.write("written")


def status(req):
    """Set the status."""
    req.status = apache.HTTP_NOT_FOUND
    return "not here"


def returned(req):
    """End with a status."""
    raise apache.SERVER_RETURN(apache.HTTP_GONE)


def calls(req):
    """Publish what can be called again."""
    return hello


def form(req):
    """Show that the form is the request's."""
    return f"{type(req.form).__name__} {sorted(req.form.keys())}"


def data(req):
    """Publish bytes."""
    return b"bytes"


def guarded(req):
    """Ask for a password."""

    def __auth__(req, user, password):
        return (user, password) == ("ann", "sesame")

    return "inside"


def listed(req):
    """Let some in."""
    __access__ = ["ann"]  # noqa: F841
    return "inside"


def closed(req):
    """Let nobody in."""
    __access__ = 0  # noqa: F841
    return "inside"


class Page:
    """An object that is published, and whose attributes are."""

    attribute = "attribute"
    _hidden = "hidden"

    def method(self, req, name="nobody"):
        """Greet."""
        return f"method {name}"

    def __call__(self, req):
        return "called"


class Closed:
    """An object with a password of its own."""

    __auth_realm__ = "realm"
    inside = "inside"

    def __auth__(self, req, user, password):
        return user == "ann"

    def __access__(self, req, user):
        return user == "ann"


instance = Page()
with_password = Closed()
