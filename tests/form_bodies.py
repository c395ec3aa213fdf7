"""Forms sent to the runtime without a server, and the bodies of multipart forms."""

import io

from mod_python import apache, util

from handlers.runtime.request import Request
from tests.wsgi import serve

MULTIPART = "multipart/form-data; boundary=XX"
END = b"--XX--\r\n"


def form(body=b"", content_type=None, query="", method="POST", status="200 OK", look=list, **kw):
    """Return what *look* makes of the FieldStorage of a request."""
    seen = []

    def handler(req):
        seen.append(look(util.FieldStorage(req, **kw)))
        return apache.OK

    variables = {"REQUEST_METHOD": method, "QUERY_STRING": query}
    if body or method == "POST":
        variables["CONTENT_LENGTH"] = str(len(body))
    if content_type:
        variables["CONTENT_TYPE"] = content_type
    answer = serve(handler, body=body, **variables)
    assert answer.status == status
    return seen[0] if seen else None


def request(body, content_type, input=None, **limits):
    """Return the request that posts *body* under the *limits* of ``mod_python.form``."""
    environ = {
        "REQUEST_METHOD": "POST",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": input or io.BytesIO(body),
        **{f"PythonOption.mod_python.form.{name}": value for name, value in limits.items()},
    }
    if content_type:
        environ["CONTENT_TYPE"] = content_type
    return Request(environ, None)


def part(headers, value):
    return b"--XX\r\n" + headers + b"\r\n\r\n" + value + b"\r\n"


def named(name, value, more=b""):
    return part(b'Content-Disposition: form-data; name="%s"%s' % (name, more), value)
