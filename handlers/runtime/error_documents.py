"""ErrorDocument for statuses that handlers return, which mod_wsgi does not tell Apache of.

``SetEnv PythonErrorDocument.404 "text"`` says what Apache's ErrorDocument says: a text, the URL of
another server, to which the client is sent, or a path on this one. ``SetEnv
PythonErrorDocument.404.file /its/file`` beside a path names the file that everybody may have there;
without it the handlers of the request's own section answer for the path, if it belongs to the
section. ``modpython-handlers convert`` writes both. Where only Apache could answer, one line in the
log says so, and the client gets the runtime's own page.
"""

import logging
import mimetypes
import os
import re

from handlers import faults

from . import options
from . import status as statuses
from .constants import HTTP_MOVED_TEMPORARILY, HTTP_OK, HTTP_UNAUTHORIZED
from .redirect import Unreachable

_logger = logging.getLogger(__name__)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def document_of(request, status: int) -> str | None:
    """Return the ErrorDocument of a *status*, None for none, and while one is answering."""
    variables = options.configuration(request.environment()).variables
    document = variables.get(f"{options.ERROR_PREFIX}{status}")
    if not document or document.lower() == "default":
        return None
    if request.environment().get("REDIRECT_STATUS", "200") != str(HTTP_OK):
        return None
    if status == HTTP_UNAUTHORIZED and _URL.match(document):
        # the client would not be asked for a password
        return None
    return document


def answer(request, status: int, document: str) -> bool:
    """Answer with an ErrorDocument; return whether it could be.

    Nothing of the response is out yet, and its status is the *status*.
    """
    if _URL.match(document):
        request.status = HTTP_MOVED_TEMPORARILY
        request.headers_out["Location"] = document
        request.content_type = statuses.PAGE_TYPE
        request.write(statuses.redirect_page(HTTP_MOVED_TEMPORARILY, document), 0)
        return True
    if not document.startswith("/"):
        request.content_type = statuses.PAGE_TYPE
        request.write(document.encode("latin-1"), 0)
        return True
    variables = options.configuration(request.environment()).variables
    file = variables.get(f"{options.ERROR_PREFIX}{status}.file")
    try:
        if file:
            file = os.fsdecode(file.encode("latin-1"))
            if os.path.realpath(file) != os.path.normpath(file):
                raise Unreachable(f"{file} is reached by a link")
            request.content_type = mimetypes.guess_type(file)[0] or statuses.PAGE_TYPE
            request.sendfile(file)
        else:
            request.redirect_error(document)
    except (OSError, Unreachable) as error:
        faults.tell_once(
            _logger,
            logging.ERROR,
            f"ErrorDocument {status} {document}: {error}; only Apache could answer it, and "
            "mod_wsgi does not tell it of what handlers return",
        )
        return False
    return True
