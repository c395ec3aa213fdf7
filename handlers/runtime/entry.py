"""What the WSGI entry script imports: ``handle_request``, the name that WSGIHandlerScript calls."""

import logging
import sys
from importlib.machinery import ModuleSpec

from handlers import faults

from .answering import respond
from .log import route_to_apache
from .request import Request

_logger = logging.getLogger(__name__)


def _tell_importer() -> None:
    """Say that ``mod_wsgi`` and ``builtins`` are imported already, as other modules' specs say.

    mod_wsgi asks for both modules by the C API several times a request. CPython 3.11 looks each
    time whether they are still being imported, at ``__spec__._initializing``; it is missing there,
    and the AttributeError that is raised and dropped costs a tenth of a small request. Other
    versions are left alone: what they do was not measured.
    """
    if sys.version_info[:2] != (3, 11):
        return
    for name in ("mod_wsgi", "builtins"):
        module = sys.modules.get(name)
        if module is None:
            continue
        if getattr(module, "__spec__", None) is None:
            module.__spec__ = ModuleSpec(name, None)
        if not hasattr(module.__spec__, "_initializing"):
            module.__spec__._initializing = False


route_to_apache()
_tell_importer()


def handle_request(environ: dict, start_response):
    """Answer one request with the handlers that ``PythonHandler`` names: a WSGI application.

    Whatever a handler raises is logged and answered here; cleanups run when the server closes the
    result. Safe in any number of threads.
    """
    return respond(Request(environ, start_response, respond), environ)


def handle_own_request(environ: dict, start_response):
    """Answer one request as :func:`handle_request` does, in the interpreter it is meant for only.

    From Python 3.12 on, a thread that was in another interpreter does not find the main one again,
    so that the handlers of one site might answer for those of another. Such a request is 500 and
    one line in the log.
    """
    meant = environ["mod_wsgi.application_group"]
    found = _application_group()
    if meant != found:
        faults.tell_once(
            _logger,
            logging.ERROR,
            f"a request for the interpreter {meant or 'main_interpreter'!r} came to {found!r}: "
            "this Python mixes the main interpreter up with others in one process; write "
            "WSGIApplicationGroup with a name instead of %{GLOBAL}",
        )
        start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
        return [b"Internal Server Error\n"]
    return handle_request(environ, start_response)


def _application_group() -> str:
    import mod_wsgi

    return mod_wsgi.application_group
