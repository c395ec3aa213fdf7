"""Who looks at the gallery: favourites, signing in and out, kept in the visitor's session.

::

    POST /favourites    id=...                 marks a picture, or takes the mark away
    GET  /signin                               a form
    POST /signin        user=... password=...  checked against the file ``gallery.users``
    POST /signout

``PythonHandler handlers.visitor::favourites``, ``::sign_in`` and ``::sign_out`` answer these.

Option, as PythonOption or in settings.ini: ``gallery.users``, a file of htpasswd(1); without it
nobody can sign in, and private pictures are served to nobody. The options of the session are those
of mod_python.
"""

import logging
from urllib.parse import parse_qs

from mod_python import apache

from handlers import htpasswd, page, sending, settings
from handlers.mod_python import Session, guarded

log = logging.getLogger(__name__)

MOST_FAVOURITES = 1000

_LARGEST_FORM = 4096
_FORM_TYPE = "application/x-www-form-urlencoded"


def signed_in(req) -> str | None:
    """Return the name of the user who sent the request, None if nobody is signed in."""
    return _read(req).get("user")


def favourite_ids(req) -> list[str]:
    """Return the ids of the visitor's favourites, in the order in which they were marked."""
    return list(_read(req).get("favourites", ()))


@sending.faults_answered
def favourites(req) -> int:
    """Mark a picture as a favourite, or take the mark away; then back to the page it came from."""
    form, refused = _form(req)
    if refused:
        return refused
    id = form.get("id", "")
    if not page.is_id(id):
        return apache.HTTP_BAD_REQUEST
    session = Session.Session(req)
    marked = list(session.get("favourites", ()))
    if id in marked:
        marked.remove(id)
    elif len(marked) < MOST_FAVOURITES:
        marked.append(id)
    session["favourites"] = marked
    session.save()
    return _see_other(req, page.back_to(form.get("back", "")))


@sending.faults_answered
def sign_in(req) -> int:
    """Show the form, or check what it sends; the session gets a new id when somebody signs in."""
    users = settings.of(req).get("gallery.users")
    if not users:
        return apache.HTTP_NOT_FOUND
    if req.method in ("GET", "HEAD"):
        return page.send(req, page.sign_in_form())
    form, refused = _form(req)
    if refused:
        return refused
    user = form.get("user", "")
    try:
        right = htpasswd.check(users, user, form.get("password", ""))
    except OSError as error:
        log.error("gallery.users %s cannot be read: %s", users, error.strerror)
        return sending.unavailable(req, 60)
    if not right:
        log.warning("sign-in refused for %r from %s", user[:64], req.connection.client_ip)
        req.status = apache.HTTP_FORBIDDEN
        return page.send(req, page.sign_in_form("Wrong name or password."))
    session = Session.Session(req)
    # so that an id that somebody else knew before is worth nothing
    session.regenerate_id()
    session["user"] = user
    session.save()
    return _see_other(req, "/")


@sending.faults_answered
def sign_out(req) -> int:
    """End the session, favourites and all."""
    _, refused = _form(req)
    if refused:
        return refused
    Session.Session(req).invalidate()
    return _see_other(req, "/")


def _read(req) -> dict:
    # without the lock: reading waits for nobody
    if not hasattr(req, "visitor_session"):
        req.visitor_session = Session.Session(req, lock=0)
    return req.visitor_session


def _form(req) -> tuple[dict[str, str], int | None]:
    """Return the fields of a posted form, or the status that refuses the request."""
    if req.method != "POST":
        req.allow_methods(["POST"], 1)
        return {}, apache.HTTP_METHOD_NOT_ALLOWED
    # SameSite=Lax keeps the cookie from foreign forms; this keeps foreign sign-ins out as well.
    origin = guarded.header(req, "Origin")
    if origin is not None and origin.partition("://")[2] != guarded.header(req, "Host"):
        return {}, apache.HTTP_FORBIDDEN
    if guarded.header(req, "Content-Type", "").partition(";")[0].strip() not in ("", _FORM_TYPE):
        return {}, apache.HTTP_UNSUPPORTED_MEDIA_TYPE
    length = guarded.length_of(guarded.header(req, "Content-Length", "0"))
    if length is None or length > _LARGEST_FORM:
        return {}, apache.HTTP_REQUEST_ENTITY_TOO_LARGE
    try:
        fields = parse_qs(
            guarded.read(req, length).decode(), keep_blank_values=True, max_num_fields=8
        )
    except (ValueError, guarded.BodyUnreadable):
        return {}, apache.HTTP_BAD_REQUEST
    return {name: values[0] for name, values in fields.items()}, None


def _see_other(req, place: str) -> int:
    # as a page of our own: of a status that is returned, Apache drops the session's cookie
    req.status = apache.HTTP_SEE_OTHER
    req.headers_out["Location"] = place
    req.set_content_length(0)
    return apache.OK
