"""Who looks at the gallery: favourites, signing in and out, kept in the visitor's session.

::

    POST /favourites    id=NAME mark=on|off    marks a picture, or takes the mark away
    GET  /signin                               a form
    POST /signin        user=... password=...  checked against the file ``gallery.users``
    POST /signout

``PythonHandler handlers.visitor::favourites``, ``::sign_in`` and ``::sign_out`` answer these.

Its options are ``gallery.*`` and those of sessions, see :mod:`handlers.options`. Without
``gallery.users`` nobody can sign in, and private pictures are served to nobody.
"""

import contextlib
import functools
import logging
import math
import os
from collections.abc import Callable
from urllib.parse import parse_qs

from mod_python import apache

from handlers import access, faults, htpasswd, names, origin, page, sending, settings
from handlers.mod_python import Session
from handlers.runtime import guarded
from handlers.sessions import backing, options
from handlers.sessions.store import LockTimeout, StoreError
from handlers.throttle import FREE_GUESSES, LocalThrottle, Throttle, Verdict

log = logging.getLogger(__name__)

MOST_FAVOURITES = 1000
#: seconds that a session lives until its cookie has come back, after which it has the usual time
FIRST_LIFE = 300

_TOO_MANY_REQUESTS = 429
_LARGEST_FORM = 4096
_FORM_TYPE = "application/x-www-form-urlencoded"
# keys of the session
_USER = "user"
_SEAL = "user_seal"
_FAVOURITES = "favourites"


def signed_in(req) -> str | None:
    """Return the name of the user who sent the request, None if nobody is signed in.

    A user whose line in ``gallery.users`` is gone or has changed since is signed out with that.
    """
    session = _read(req)
    user = session.get(_USER)
    path = settings.of(req).gallery.users
    if user is None or not path:
        return None
    try:
        users = htpasswd.read(path)
    except OSError as error:
        _unreadable(path, error)
        return None
    return user if users.is_sealed(user, session.get(_SEAL, "")) else None


def visible_row(req, pictures, id: str):
    """Return the row of *id* in the lookup *pictures*, None if the visitor may not see it.

    The session and the database are asked for what is private as for what does not exist: neither
    the answer nor the time nor an outage tells them apart.

    :raises handlers.lookup.Unavailable: if neither memory nor the database can tell.
    """
    row = pictures.in_memory(id)
    if row is not None and not row.private:
        return row
    return pictures.get(id) if signed_in(req) else pictures.public(id)


def favourite_ids(req) -> list[str]:
    """Return the ids of the visitor's favourites, in the order in which they were marked."""
    found = map(names.id_of, _read(req).get(_FAVOURITES, ()))
    return [id for id in found if id is not None]


@sending.faults_answered
def favourites(req) -> int:
    """Mark a picture as a favourite, or take the mark away; then back to the page it came from.

    Without ``mark`` in the form it changes the mark. 409 beyond
    :data:`MOST_FAVOURITES`; 429 with Retry-After for a visitor without a session, if too many came
    from that address.
    """
    form, refused = _form(req)
    if refused:
        return refused
    name, mark = form.get("id", ""), form.get("mark")
    if names.id_of(name) is None or mark not in (None, "on", "off"):
        return apache.HTTP_BAD_REQUEST
    session = Session.Session(req, timeout=FIRST_LIFE)
    if session.is_new():
        wait = _wait_for_session(req)
        if wait:
            return _too_many(req, wait, "Too many new visitors from your address", "the pictures")
    else:
        session.set_timeout(Session.DFT_TIMEOUT)
    marked = list(session.get(_FAVOURITES, ()))
    wanted = name not in marked if mark is None else mark == "on"
    if wanted and name not in marked and len(marked) >= MOST_FAVOURITES:
        return page.send(
            req,
            page.message("Too many favourites", f"There is room for {MOST_FAVOURITES} of them."),
            apache.HTTP_CONFLICT,
        )
    if wanted != (name in marked):
        (marked.append if wanted else marked.remove)(name)
    session[_FAVOURITES] = marked
    session.save()
    return _see_other(req, page.back_to(form.get("back", ""), len(marked)))


@sending.faults_answered
def sign_in(req) -> int:
    """Show the form, or check what it sends; the session gets a new id when somebody signs in.

    403 for a wrong name or password, 429 with Retry-After for a guess that comes too early
    (:mod:`handlers.throttle`), 503 while the file of users cannot be read.
    """
    path = settings.of(req).gallery.users
    if not path:
        return page.send_not_found(req)
    try:
        users = htpasswd.read(path)
    except OSError as error:
        _unreadable(path, error)
        return sending.unavailable(req, 60)
    if req.method in ("GET", "HEAD"):
        return page.send(req, page.sign_in_form())
    form, refused = _form(req)
    if refused:
        return refused
    user, address = form.get("user", ""), req.useragent_ip
    verdict = _limited(req, Throttle.guess, address, user)
    if verdict.wait:
        if verdict.first:
            whom = f"at {user[:64]!r}, the last one from" if verdict.of_user else "from"
            log.warning(
                "sign-in: %d wrong passwords within an hour %s %s: further ones are answered 429 at"
                " growing intervals (where a proxy sends all requests, load mod_remoteip)",
                FREE_GUESSES,
                whom,
                address,
            )
        return _too_many(req, verdict.wait, "Too many wrong passwords", "signing in")
    if not users.check(user, form.get("password", "")):
        log.info("sign-in refused for %r from %s", user[:64], address)
        return page.send(req, page.sign_in_form("Wrong name or password."), apache.HTTP_FORBIDDEN)
    _limited(req, Throttle.right, address, user)
    session = Session.Session(req)
    # so that an id that somebody else knew before is worth nothing
    session.regenerate_id()
    session.set_timeout(Session.DFT_TIMEOUT)
    session[_USER] = user
    session[_SEAL] = users.seal(user)
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
        session = req.visitor_session = Session.Session(req, lock=0)
        if not session.is_new():
            _keep_alive(req, session)
    return req.visitor_session


def _keep_alive(req, session) -> None:
    """Let a session that a visitor has come back with live on from now.

    A fault of the store is for those who must save to report.
    """
    with contextlib.suppress(StoreError, LockTimeout):
        if session.timeout() >= Session.DFT_TIMEOUT:
            # nothing but the time of the access, once in a while
            session.save()
            return
        # with the lock, as this writes what it has read
        locked = Session.Session(req)
        if not locked.is_new():
            locked.set_timeout(Session.DFT_TIMEOUT)
            locked.save()
        locked.unlock()


def _limited(req, count: Callable, *what) -> Verdict | None:
    """Return what *count*, a method of Throttle, says of *what*.

    While the file cannot be used, this process counts for itself: nobody is locked out by that, and
    nobody guesses without a limit.
    """
    # beside the sessions of files, whatever store is in use: a directory of this user alone
    store = backing.open_lock_store(options.of(req))
    path = os.path.join(store.path, "throttle")
    try:
        verdict = count(Throttle(path), *what)
    except LockTimeout:
        raise
    except OSError as error:
        faults.tell(
            log,
            logging.ERROR,
            path,
            f"{path}: {error.strerror}: each child counts guesses and new sessions for itself until"
            " the file can be used",
        )
        return count(_local_throttle(path), *what)
    faults.over(path)
    return verdict


@functools.cache
def _local_throttle(path: str) -> LocalThrottle:
    return LocalThrottle()


def _wait_for_session(req) -> float:
    """Return the seconds after which this address may begin a session; 0: now."""
    rate = settings.of(req).gallery.new_sessions
    if rate == 0:
        return 0.0
    verdict = _limited(req, Throttle.new_session, req.useragent_ip, rate)
    if verdict.first:
        log.warning(
            "favourites: more than %g new sessions in a second from %s: further ones are answered"
            " 429 (gallery.new_sessions; where a proxy sends all requests, load mod_remoteip)",
            rate,
            req.useragent_ip,
        )
    return verdict.wait


def _too_many(req, wait: float, what: str, aim: str) -> int:
    sending.retry_after(req, wait)
    seconds = max(1, math.ceil(wait))
    return page.send(
        req,
        page.message(what, f"Try {aim} again in {seconds} second{'s' * (seconds > 1)}."),
        _TOO_MANY_REQUESTS,
    )


def _form(req) -> tuple[dict[str, str], int | None]:
    """Return the fields of a posted form, or the status that refuses the request."""
    if req.method != "POST":
        req.allow_methods(["POST"], 1)
        return {}, apache.HTTP_METHOD_NOT_ALLOWED
    # SameSite=Lax keeps the cookie from foreign forms; this keeps foreign sign-ins out as well.
    if not origin.is_own(req):
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


def _unreadable(path: str, error: OSError) -> None:
    message = f"gallery.users {path}: {access.why_unreadable(path, error)}"
    faults.tell(log, logging.ERROR, ("gallery.users", path), message)
