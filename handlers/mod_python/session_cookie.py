"""The session's cookie: what is read from it, and with what attributes it is sent."""

from handlers.runtime import guarded
from handlers.sessions import sid as sids
from handlers.sessions.options import Options

from . import Cookie


def read(req, options: Options, secret) -> str | None:
    """Return the session id that the client sent, None if there is none worth looking up."""
    if secret:
        cookie = Cookie.get_cookie(
            req,
            options.cookie_name,
            Class=Cookie.SignedCookie,
            secret=secret,
            mismatch=Cookie.Cookie.IGNORE,
        )
    else:
        cookie = Cookie.get_cookie(req, options.cookie_name)
    return cookie.value if cookie is not None and sids.valid(cookie.value) else None


def make(req, options: Options, sid: str, secret) -> Cookie.Cookie:
    """Return the cookie for the session *sid*, with all attributes that *options* ask for."""
    if secret:
        cookie = Cookie.SignedCookie(options.cookie_name, sid, secret=secret)
    else:
        cookie = Cookie.Cookie(options.cookie_name, sid)
    if options.application_domain:
        cookie.domain = options.application_domain
    cookie.path = options.application_path or _path(req)
    cookie.httponly = options.httponly
    cookie.samesite = options.samesite
    # browsers refuse SameSite=None without it
    cookie.secure = (
        options.samesite == "None" or options.secure or (options.secure is None and by_https(req))
    )
    return cookie


def send(req, cookie: Cookie.Cookie) -> None:
    """Add the cookie to the response, in the place of one of the same name that waits there."""
    headers = req.headers_out.items()
    waiting = [text for name, text in headers if name.lower() == "set-cookie"]
    kept = [text for text in waiting if not text.startswith(f"{cookie.name}=")]
    if len(kept) == len(waiting):
        Cookie.add_cookie(req, cookie)
        return
    del req.headers_out["Set-Cookie"]
    for text in (*kept, str(cookie)):
        req.headers_out.add("Set-Cookie", text)


def by_https(req) -> bool:
    """Tell whether the request came by https, to this server or to a proxy in front of it."""
    # the variable is how a proxy's word is passed on (SetEnvIf X-Forwarded-Proto https HTTPS=on)
    return bool(req.is_https()) or req.subprocess_env.get("HTTPS", "").lower() in ("on", "1")


def _path(req) -> str:
    """Return the path of the directory that the handler was configured for, as mod_python does."""
    directory = getattr(getattr(req, "hlist", None), "directory", None)
    if directory and directory.startswith(req.document_root()):
        path = directory[len(req.document_root()) :]
        try:
            if path and (guarded.text(req, "uri") or "").startswith(path):
                return path
        except guarded.Undecodable:
            return "/"
    return "/"
