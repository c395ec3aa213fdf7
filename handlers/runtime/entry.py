"""What the WSGI entry script imports: ``handle_request``, the name that WSGIHandlerScript calls."""

from .dispatch import run
from .log import route_to_apache
from .request import Request
from .response import answer, answer_failure

route_to_apache()


def handle_request(environ: dict, start_response):
    """Answer one request with the handlers that ``PythonHandler`` names: a WSGI application.

    Whatever a handler raises is logged and answered here; cleanups run when the server closes the
    result. Safe in any number of threads.
    """
    request = Request(environ, start_response)
    try:
        try:
            result = run(request, environ)
        except BaseException as error:
            result = answer_failure(request, environ, error)
        return answer(request, result)
    except BaseException:
        request.run_cleanups()
        raise
