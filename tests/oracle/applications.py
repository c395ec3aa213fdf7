"""WSGI applications."""

_NAMES = ("SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "REQUEST_METHOD", "CONTENT_TYPE")


def application(environ, start_response):
    """Write what the environment says, and the body."""
    headers = [("Content-Type", "text/x-own"), ("X-Own", "1"), ("Set-Cookie", "a=b")]
    start_response("200 OK", headers)
    said = [f"{name}={environ.get(name, '')!r}\n".encode() for name in _NAMES]
    return [*said, environ["wsgi.input"].read(3), b"|", environ["wsgi.input"].readline()]


def accepted(environ, start_response):
    """Write nothing, with a status of its own."""
    start_response("202 Accepted", [("Content-Type", "text/x-own")])
    return []


def writing(environ, start_response):
    """Write before the body."""
    start_response("200 OK", [("Content-Type", "text/x-own")])(b"first ")
    return (block for block in (b"second ", b"third"))


def failing(environ, start_response):
    """Fail."""
    raise ValueError("a fault of the oracle")
