"""A browser for sessions served by the runtime in this process, and handlers that it visits."""

import http.cookies
import threading

from mod_python import Session, apache

from handlers.runtime.request import Request
from handlers.sessions.store import LockTimeout
from tests.wsgi import serve

OWN = "mod_python.session."


def own_site(directory) -> dict:
    """Return the options of a site that keeps its sessions in *directory*, and is not swept."""
    return {OWN + "database_directory": directory, OWN + "sweep": "off"}


class Client:
    """A browser with a jar for the session's cookie, and the options of the site it visits."""

    def __init__(self, **options):
        self.options = options
        self.cookies = {}

    def variables(self, **variables):
        options = {f"PythonOption.{name}": str(value) for name, value in self.options.items()}
        if self.cookies:
            header = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            options["HTTP_COOKIE"] = header
        return options | variables

    def visit(self, handler, **variables):
        """Serve one request; what *handler* returns is kept in ``result``."""

        def run(req):
            self.result = handler(req)
            return apache.OK

        self.answer = serve(run, **self.variables(**variables))
        assert self.answer.status == "200 OK"
        self.sent = http.cookies.SimpleCookie()
        for name, value in self.answer.headers:
            if name == "Set-Cookie":
                self.sent.load(value)
        for name, morsel in self.sent.items():
            if "1970" in morsel["expires"]:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = morsel.value
        return self.result

    def again(self):
        """Return another browser with the same cookies."""
        other = Client(**self.options)
        other.cookies = dict(self.cookies)
        return other


def store_of(client):
    """Return the store behind a client's sessions."""
    return client.visit(lambda req: Session.Session(req, lock=0))._backing.store


def count(req):
    session = Session.Session(req)
    session["n"] = session.get("n", 0) + 1
    session.save()
    return session["n"]


def read(req):
    session = Session.Session(req)
    return session.is_new(), dict(session)


def request(client, **variables):
    """Return a request object outside the runtime; its cleanups are the caller's."""
    environ = {"wsgi.url_scheme": "http", "REQUEST_METHOD": "GET", "PATH_INFO": "/"}
    return Request(environ | client.variables(**variables), None)


def locked(store, sid):
    try:
        store.lock(sid, 0).release()
    except LockTimeout:
        return True
    return False


def in_thread(call):
    thread = threading.Thread(target=call)
    thread.start()
    thread.join(120)
    assert not thread.is_alive()


class OwnSession(Session.BaseSession):
    """A backend as people have written them for mod_python."""

    stored = {}  # noqa: RUF012
    cleanups = 0

    def __init__(self, req, sid=0, secret=None, timeout=0, lock=1):
        Session.BaseSession.__init__(self, req, sid=sid, secret=secret, timeout=timeout, lock=lock)

    def do_load(self):
        return self.stored.get(self._sid)

    def do_save(self, dict):
        self.stored[self._sid] = dict

    def do_delete(self):
        self.stored.pop(self._sid, None)

    def do_cleanup(self):
        OwnSession.cleanups += 1
