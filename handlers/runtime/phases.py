"""The phases of a request, emulated around the content handler with mod_python's rules.

mod_wsgi calls a handler when Apache has mapped the address, checked access and authenticated the
user. Handlers of earlier phases run then, in Apache's order, before the content handler: they can
refuse, redirect, answer or change the request that it sees. They are for requests that the runtime
serves, and no others. What Apache itself refuses reaches none of them. Handlers of
PythonLogHandler run when the response is out, and those of PythonCleanupHandler after them.
"""

import logging
import urllib.parse

from handlers import faults

from . import authentication, filters, options
from .constants import (
    APR_DIR,
    DECLINED,
    HTTP_FORBIDDEN,
    HTTP_INTERNAL_SERVER_ERROR,
    HTTP_MOVED_PERMANENTLY,
    HTTP_UNAUTHORIZED,
    OK,
)
from .dispatch import HandlerError, HandlerMissing, run_list
from .redirect import file_of, split_path

_logger = logging.getLogger(__name__)
# names by which mod_python's own handler goes
_OURS = ("mod_python", "python-program")
_USERS = ("PythonAuthenHandler", "PythonAuthzHandler")


def run(request, configuration: options.Configuration) -> int:
    """Run the handlers of all phases but the last two; return the result to answer with.

    ``DECLINED`` if there is no handler, or none for this file's extension. 500 and one line in the
    log of this process for a directive that is not supported, for a phase before the content that
    names no handler, and for a module that is not there.

    :raises HandlerError: for whatever a handler raises, or if it returns something other than int.
    """
    if configuration.refused or configuration.nameless:
        faults.tell_once(_logger, logging.ERROR, _refusal(configuration))
        return HTTP_INTERNAL_SERVER_ERROR
    try:
        if configuration.is_plain:
            result = run_list(request, configuration, options.CONTENT)
        else:
            result = _run_phases(request, configuration)
    except HandlerMissing as error:
        faults.tell_once(_logger, logging.ERROR, str(error))
        return HTTP_INTERNAL_SERVER_ERROR
    return DECLINED if result is None else result


def run_phase(request, phase: str) -> int:
    """Run the handlers of one *phase* of a request; return what the list comes to.

    :raises HandlerError: for whatever a handler raises, or if it returns something other than int.
    :raises HandlerMissing: for a module that is not there.
    """
    request.phase = phase
    result = run_list(request, options.configuration(request.environment()), phase)
    return DECLINED if result is None else result


def register_log(request, configuration: options.Configuration) -> None:
    """Have the handlers of PythonLogHandler run when the response is out."""
    if configuration.refused or configuration.nameless:
        return
    if _has(request, configuration, options.LOG):
        request.register_cleanup(_run_late, (request, configuration, options.LOG))


def _refusal(configuration):
    if configuration.refused:
        return (
            f"SetEnv {' '.join(configuration.refused)} is not supported on mod_wsgi: what it would "
            "do is not done, so the request is refused; remove it, or see Differences in README"
        )
    return (
        f"SetEnv {' '.join(configuration.nameless)} names no handler, so the request is refused; "
        "name one, or take the line out with UnsetEnv"
    )


def _run_phases(request, configuration):
    if _has(request, configuration, options.CLEANUP):
        # registered first, it runs last
        request.register_cleanup(_run_late, (request, configuration, options.CLEANUP))
    for phase in options.BEFORE:
        if not _has(request, configuration, phase):
            continue
        request.phase = phase
        address = request.uri, getattr(request, "filename", None)
        result = _decided(request, phase, run_list(request, configuration, phase))
        if result not in (OK, DECLINED, None):
            return result
        if phase == "PythonTransHandler":
            _map_again(request, *address)
    request.phase = options.CONTENT
    if configuration.variables.get(options.SLASH) and _lacks_slash(request):
        return HTTP_MOVED_PERMANENTLY
    handler = getattr(request, "handler", _OURS[0])
    for added in filters.in_place(request, is_input=False):
        request.output().add_filter(added)
    if handler in _OURS:
        return run_list(request, configuration, options.CONTENT)
    if handler in (None, "default-handler"):
        return DECLINED
    _logger.error("a phase has set req.handler to %r, which mod_wsgi cannot call", handler)
    return HTTP_INTERNAL_SERVER_ERROR


def _lacks_slash(request) -> bool:
    """Return whether the address is that of a directory without a slash; say where to go then."""
    if request.uri.endswith("/") or request.path_info or request.finfo.filetype != APR_DIR:
        return False
    path = urllib.parse.quote(request.uri.encode("utf-8", "surrogateescape")) + "/"
    query = "" if request.args is None else f"?{request.args}"
    request.headers_out["Location"] = request.construct_url(path + query)
    return True


def _has(request, configuration, phase) -> bool:
    return bool(
        configuration.variables.get(phase)
        or configuration.variables.get(options.HANDLER_MODULE)
        or (request.added_handlers and request.added_handlers.get(phase))
    )


def _decided(request, phase, result):
    """Return what Apache would do after the phases that a user has to pass, and ask for a password.

    Where the handlers decline and Apache has not authenticated the user itself, nobody gets in.
    """
    if phase not in _USERS or result is None:
        return result
    if phase == "PythonAuthzHandler":
        return HTTP_FORBIDDEN if result == DECLINED and request.user is None else result
    if result == OK and request.user is None:
        _logger.error("%s returned OK and has set no req.user", phase)
        return HTTP_INTERNAL_SERVER_ERROR
    basic = authentication.is_basic(request.environment())
    if result == DECLINED and request.user is None:
        if not basic:
            faults.tell_once(
                _logger,
                logging.ERROR,
                f"{phase} declined, and nobody else has authenticated the user",
            )
            return HTTP_INTERNAL_SERVER_ERROR
        result = HTTP_UNAUTHORIZED
    if result == HTTP_UNAUTHORIZED and basic and "WWW-Authenticate" not in request.err_headers_out:
        request.ask_for_password()
    return result


def _map_again(request, uri, filename):
    """Find the file again when PythonTransHandler has changed the address or the file name."""
    path = getattr(request, "filename", None)
    if path == filename:
        if request.uri == uri:
            return
        path = file_of(request, request.uri)
    if path:
        request.set_file(*split_path(path))


def _run_late(what):
    request, configuration, phase = what
    request.phase = phase
    try:
        run_list(request, configuration, phase)
    except HandlerMissing as error:
        faults.tell_once(_logger, logging.ERROR, str(error))
    except HandlerError as error:
        _logger.error("%s", error, exc_info=error.__cause__ or error)
