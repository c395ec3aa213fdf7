"""What the server answers for the result of the handlers."""

import logging
import math
import traceback
from html import escape

from handlers import errors, faults

from . import error_documents, options, phases
from . import status as statuses
from .constants import (
    APR_REG,
    DECLINED,
    DONE,
    HTTP_BAD_REQUEST,
    HTTP_FORBIDDEN,
    HTTP_INTERNAL_SERVER_ERROR,
    HTTP_METHOD_NOT_ALLOWED,
    HTTP_NOT_FOUND,
    OK,
)
from .dispatch import HandlerError
from .finfo import stat_or_nothing
from .guarded import BodyUnreadable
from .options import debug

_logger = logging.getLogger(__name__)
# what a response that is an error keeps of the handlers' headers_out
_KEPT = ("Location", "Allow")


def respond(request, environ: dict):
    """Run the handlers of a request; return the WSGI iterable of the response.

    Whatever a handler or a filter raises is logged and answered here.
    """
    configuration = options.configuration(environ)
    if configuration.request_rec:
        # nobody else has its cost
        from . import exact

        exact.attach(request, environ)
    try:
        try:
            result = phases.run(request, configuration)
        except BaseException as error:
            result = answer_failure(request, environ, error)
        if not configuration.is_plain or request.added_handlers:
            phases.register_log(request, configuration)
        try:
            if result == OK:
                return request.output().finish()
            return answer(request, result)
        except HandlerError as error:
            # of a filter, which had kept the response until its end
            return answer(request, answer_failure(request, environ, error))
    except BaseException:
        request.output().run_cleanups()
        raise


def answer(request, result: int):
    """Return the WSGI iterable for the *result* of the handlers.

    ``OK`` and ``DONE`` end what was written. For ``DECLINED`` see :func:`serve_file`. For a status
    from 300 on the output that is not sent yet is dropped, and its ErrorDocument, or a page for
    that status, is sent with ``err_headers_out``; of ``headers_out`` only Location and Allow
    remain, and all of it for 304 and 204. After the first byte the page is appended, as Apache
    does, unless the handler had announced the body's length.
    """
    if result == DECLINED:
        if request.started():
            result = OK
        else:
            result = serve_file(request) if request.serves_files else HTTP_FORBIDDEN
    if result in (OK, DONE):
        return request.output().finish()
    if request.apaches_page is not None and result not in statuses.WITHOUT_BODY:
        return request.apaches_page(result)
    if result not in statuses.PHRASES:
        _logger.error("handler returned the invalid result %d", result)
        result = HTTP_INTERNAL_SERVER_ERROR
    if result < 300 and result not in statuses.WITHOUT_BODY:
        request.status = result
        return request.output().finish()
    return _answer_status(request, result)


def answer_failure(request, environ: dict, error: BaseException) -> int:
    """Log *error*, which ended the handlers, once; return the result to answer with.

    Under ``PythonDebug On`` the response is the traceback. A client that has gone away, or does not
    send the body it has announced (400), is no fault of the handler: one line at info says so. Nor
    is a session store that fails (503) or a wrong configuration (500): one line says so, and not at
    every request.
    """
    cause = error.__cause__ or error
    if request.client_gone():
        _logger.info("%s: %s", error, cause)
        return DONE
    if isinstance(cause, BodyUnreadable) and not debug(environ):
        _logger.info("%s: %s", error, cause)
        return HTTP_BAD_REQUEST
    if isinstance(cause, errors.Unavailable):
        status, seconds = faults.answer(cause)
        request.err_headers_out["Retry-After"] = str(math.ceil(seconds))
        return status
    if isinstance(cause, errors.Misconfigured) and not debug(environ):
        return faults.answer(cause)[0]
    lines = "".join(traceback.format_exception(cause))
    _logger.error("%s\n%s", error, lines.rstrip())
    if not debug(environ):
        return HTTP_INTERNAL_SERVER_ERROR
    request.output().drop_filters()
    if not request.started():
        request.output().drop_output()
        request.status = HTTP_INTERNAL_SERVER_ERROR
        request.status_line = None
        request.content_type = "text/html; charset=utf-8"
        for name in ("Content-Length", "Content-Encoding"):
            if name in request.headers_out:
                del request.headers_out[name]
    # the words by which mod_python's page is known
    page = f'\n<pre>\nMod_python error: "{escape(str(error))}"\n\n{escape(lines)}</pre>\n'
    request.write(page.encode("utf-8", "backslashreplace"), 0)
    return DONE


def serve_file(request) -> int:
    """Serve the file that Apache mapped the request to, as its default handler would.

    A handler's DECLINED cannot fall through to Apache from mod_wsgi, so this stands in for what
    comes next: a regular file is sent for GET and HEAD with its validators; 405 for other methods;
    404 for anything else, a directory too. Indexes, ranges of bytes, MultiViews and SSI are not
    done.
    """
    filename = getattr(request, "filename", None)
    found = None if filename is None or request.path_info else stat_or_nothing(filename)
    if found is None or found.filetype != APR_REG:
        return HTTP_NOT_FOUND
    if request.method not in ("GET", "HEAD"):
        request.allow_methods(("GET", "HEAD"))
        return HTTP_METHOD_NOT_ALLOWED
    request.finfo = found
    request.update_mtime(found.mtime)
    request.set_last_modified()
    request.set_etag()
    result = request.meets_conditions()
    if result != OK:
        return result
    try:
        request.sendfile(filename)
    except FileNotFoundError:
        return HTTP_NOT_FOUND
    except PermissionError:
        return HTTP_FORBIDDEN
    return OK


def _answer_status(request, result):
    request.output().drop_filters()
    redirect = request.headers_out.get("Location") or request.err_headers_out.get("Location")
    if request.started():
        fits = "Content-Length" not in request.headers_out and not request.client_gone()
        if fits and result not in statuses.WITHOUT_BODY:
            request.write(statuses.page(result), 0)
        return request.output().finish()
    request.output().drop_output()
    request.status = result
    request.status_line = None
    if result in statuses.WITHOUT_BODY:
        return request.output().finish()
    request.forget_content()
    kept = [row for row in request.headers_out.items() if row[0].title() in _KEPT]
    request.headers_out.clear()
    for name, value in kept:
        if name not in request.err_headers_out:
            request.headers_out.add(name, value)
    if result == HTTP_METHOD_NOT_ALLOWED and "Allow" not in request.err_headers_out:
        request.headers_out.setdefault("Allow", request.allow_header())
    document = error_documents.document_of(request, result)
    if document is not None and error_documents.answer(request, result, document):
        return request.output().finish()
    request.content_type = statuses.PAGE_TYPE
    if 300 <= result < 400 and redirect:
        request.write(statuses.redirect_page(result, redirect), 0)
    else:
        request.write(statuses.page(result), 0)
    return request.output().finish()
