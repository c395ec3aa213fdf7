"""The runtime as a WSGI application, without a server: handlers that answer one request."""

import io
import itertools
import sys
import types
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

from handlers.mod_python import apache
from handlers.runtime.entry import handle_request

_numbers = itertools.count()


class Answer:
    """What a server would have sent: status line, header fields, body, and blocks as they came."""

    def __init__(self):
        self.status = None
        self.headers = []
        self.blocks = []

    @property
    def body(self):
        return b"".join(self.blocks)

    def __getitem__(self, name):
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) <= 1
        return values[0] if values else None


def named(*handlers) -> str:
    """Make a new module of *handlers*; return the text of PythonHandler that names them."""
    module = types.ModuleType(f"handlers_of_test_{next(_numbers)}")
    module.__file__ = "a test"
    sys.modules[module.__name__] = module
    for number, handler in enumerate(handlers):
        setattr(module, f"handler{number}", handler)
    return " ".join(f"{module.__name__}::handler{number}" for number in range(len(handlers)))


def page(req):
    """Write which phase the handler runs in, and who the user is."""
    req.content_type = "text/plain"
    req.write(f"page {req.phase} {req.user}", 0)
    return apache.OK


def returns(result):
    """Return a handler that returns *result*."""
    return lambda req: result


def serve(*handlers, body=b"", **variables) -> Answer:
    """Run *handlers* for one request on a validating server and return the answer."""
    environ = {name.replace("__", "."): value for name, value in variables.items()}
    given = {"SCRIPT_NAME": "/app", "PATH_INFO": "", "QUERY_STRING": ""}
    environ = {"PythonHandler": named(*handlers)} | given | environ
    if body:
        environ |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    setup_testing_defaults(environ)
    answer = Answer()

    def start_response(status, headers, exc_info=None):
        answer.status = status
        answer.headers = headers
        return answer.blocks.append

    result = validator(handle_request)(environ, start_response)
    try:
        for block in result:
            answer.blocks.append(block)
    finally:
        result.close()
    return answer
