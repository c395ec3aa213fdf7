"""mod_python's phases before content that mod_wsgi does not serve: files, CGI, proxied, DAV, git.

mod_wsgi asks a script whether a client may pass (``WSGIAccessScript``), whether a password is
right (``WSGIAuthUserScript``) and which groups a user is in (``WSGIAuthGroupScript``, ``Require
wsgi-group mod_python``). :class:`Front` answers with the handlers of mod_python's directives.
The lists of handlers run by :mod:`.dispatch`, as those of the runtime do. Such a script can let a
request pass or refuse it, and nothing else: a list that comes to neither ``OK`` nor ``DECLINED``
refuses, with 403 or 401, and so does everything that is unknown here. Handlers see the request as
mod_wsgi tells these scripts of it: without a body, without ``Authorization`` (but the name and
password of Basic authentication where they are asked for), and with ``filename`` worked out from
Alias and DocumentRoot. The phases of one script share one request object; those of access,
authentication and authorization are scripts of their own.

``modpython-handlers convert`` writes such scripts. One written by hand::

    from handlers.mod_python import install_as_mod_python
    install_as_mod_python()
    from handlers.runtime.front import Front
    allow_access = Front.of(PythonAccessHandler="guard").allow_access
"""

import base64
import fnmatch
import logging
import os
import re

from handlers import faults

from . import importer, options
from .constants import DECLINED, HTTP_UNAUTHORIZED, OK
from .dispatch import find_handler, run_list
from .request import Request
from .variables import text

#: The group that a user whom PythonAuthzHandler accepts is in.
GROUP = "mod_python"

_logger = logging.getLogger(__name__)
_USERS = ("PythonAuthenHandler", "PythonAuthzHandler")
_BEFORE = tuple(phase for phase in options.BEFORE if phase not in _USERS)
# what a handler may change to have another content sent
_OF_CONTENT = ("uri", "filename", "path_info", "args", "handler", "content_type")


class Refused(Exception):
    """Raised for a request that must not pass, for a reason that the error log should hold."""


class FrontRequest(Request):
    """The request as the phases before other content see it: its response goes nowhere."""

    def __init__(self, environ: dict):
        super().__init__(environ, lambda *_: lambda _: None)

    def add_handler(self, htype, handler, dir="", /):
        """Add *handler* to a phase that the same script runs, now or later; refuse any other."""
        follow = _BEFORE[_BEFORE.index(self.phase) :] if self.phase in _BEFORE else (self.phase,)
        if htype not in follow:
            raise Refused(
                f"{self.phase} adds {htype} {handler}, which can't run before other content"
            )
        super().add_handler(htype, handler, dir)

    def internal_redirect(self, new_uri):
        """Refuse: Apache would not follow."""
        raise Refused(f"{self.phase} redirects to {new_uri}, which Apache is not told")


class _NoBody:
    """The input of a script that mod_wsgi gives none."""

    def read(self, size=-1):
        raise Refused("the body of a request can't be read in a phase before other content")

    readline = readlines = read


class Front:
    """The phases of some sections of a configuration.

    Safe in any number of threads.

    :param layers: the sections, in the order in which Apache merges them. Each is a dict: ``where``
        is a list of conditions [kind, pattern] that a request must meet, of kind ``directory``,
        ``files`` and ``location`` and the same with ``match``; ``set`` has the variables, named
        as the directives, ``refused`` if all is to be refused, and ``asking``
        if the handlers of access check passwords, too; ``directory`` is where modules
        of its handlers are looked for.
    :param aliases: [URL, path] of each Alias, in order.
    """

    def __init__(self, layers: list[dict], aliases=()):
        self._layers = [
            ([condition_of(*condition) for condition in layer["where"]], layer) for layer in layers
        ]
        self._aliases = list(aliases)

    @classmethod
    def of(cls, **settings: str) -> "Front":
        """Return one for all requests that its script is asked about, with these variables."""
        return cls([{"where": [], "set": settings}])

    def allow_access(self, environ: dict, host: str | None = None) -> bool | None:
        """Tell mod_wsgi whether a request may pass: True; None if no handler says so; else False.

        Whatever a handler raises goes on to mod_wsgi, which logs and refuses it.
        """
        return self._allowed(self._completed(environ))[0]

    def _allowed(self, environ: dict) -> tuple[bool | None, str | None]:
        """Return what :meth:`allow_access` does, and the user whom a handler has named."""
        if environ.get("refused"):
            return False, None
        allowed: bool | None = None
        request = FrontRequest(environ)
        try:
            for phase in _BEFORE:
                result = self._run(phase, request)
                if result is None:
                    continue
                if result not in (OK, DECLINED):
                    if result != HTTP_UNAUTHORIZED or not environ.get("asking"):
                        self._say(phase, result, 403)
                    return False, None
                self._check_unchanged(phase, request)
                if result == OK:
                    allowed = True
        finally:
            request.run_cleanups()
        return allowed, request.user

    def check_password(self, environ: dict, user: str, password: str) -> bool | str | None:
        """Tell mod_wsgi whether PythonAuthenHandler accepts a user: True, or the user's new name.

        None leaves it to the next provider, as ``DECLINED`` does. Where a section has ``asking``,
        the handlers of access are asked instead, with the name and password.

        :raises Refused: if the handler accepts nobody, which is an error in mod_python, too.
        """
        environ = self._completed(environ)
        if environ.get("refused"):
            return False
        credentials = f"{user}:{password}".encode("latin-1", "replace")
        environ["HTTP_AUTHORIZATION"] = f"Basic {base64.b64encode(credentials).decode()}"
        environ["PythonOption.mod_python.auth_type"] = "Basic"
        result, name = self._run_alone("PythonAuthenHandler", environ)
        if result is None and environ.get("asking"):
            allowed, name = self._allowed(environ)
            # who was let in without a name needs none
            result = HTTP_UNAUTHORIZED if allowed is False or name is None else OK
        if result in (None, DECLINED):
            return None
        if result != OK:
            self._say("PythonAuthenHandler", result, HTTP_UNAUTHORIZED)
            return False
        if name is None:
            raise Refused("PythonAuthenHandler returned OK and has set no req.user")
        return True if name == text(user) else name

    def groups_for_user(self, environ: dict, user: str) -> list[str]:
        """Return the group ``mod_python`` if PythonAuthzHandler accepts the user, or declines.

        It declines where it is for other extensions, or where its PythonHandlerModule lacks it.
        """
        environ = self._completed(environ)
        if environ.get("refused") or not (
            environ.get("PythonAuthzHandler") or environ.get(options.HANDLER_MODULE)
        ):
            return []
        environ["REMOTE_USER"] = user
        environ["AUTH_TYPE"] = "Basic"
        result, _ = self._run_alone("PythonAuthzHandler", environ)
        return [GROUP] if result in (None, OK, DECLINED) else []

    def _completed(self, environ: dict) -> dict:
        """Return the environment with what the sections set, and what WSGI wants."""
        environ = dict(environ)
        filename = self._filename(environ)
        uri = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        is_https = environ.get("mod_ssl.is_https")
        environ.update(
            {
                "SCRIPT_FILENAME": os.fsdecode(filename.encode("latin-1", "replace")),
                "wsgi.url_scheme": "https" if is_https is not None and is_https() else "http",
                "wsgi.input": _NoBody(),
                "wsgi.multithread": False,
                "wsgi.multiprocess": True,
                "wsgi.run_once": False,
            }
        )
        for conditions, layer in self._layers:
            if all(condition(uri, filename) for condition in conditions):
                for name, value in layer["set"].items():
                    environ[name] = value
                    if name.endswith(("Handler", options.HANDLER_MODULE)):
                        environ[f"{name}.directory"] = layer.get("directory", "")
        return environ

    def _filename(self, environ: dict) -> str:
        uri = environ.get("SCRIPT_NAME", "")
        for url, path in self._aliases:
            if uri.startswith(url) and (uri[len(url) :][:1] in ("", "/") or url.endswith("/")):
                return path + uri[len(url) :]
        root = environ.get("DOCUMENT_ROOT", "")
        return os.fsencode(root).decode("latin-1").rstrip("/") + uri

    @staticmethod
    def _run(phase: str, request: FrontRequest) -> int | None:
        """Run the handlers of a phase; return what the list comes to, None if there are none."""
        request.phase = phase
        return run_list(request, options.configuration(request.environment()), phase)

    def _run_alone(self, phase: str, environ: dict) -> tuple[int | None, str | None]:
        """Run the handlers of one phase; return what it comes to, and the user of the request."""
        request = FrontRequest(environ)
        try:
            return self._run(phase, request), request.user
        finally:
            request.run_cleanups()

    @staticmethod
    def _say(phase: str, result: int, status: int) -> None:
        if result != status:
            faults.tell_once(
                _logger,
                logging.ERROR,
                f"{phase} returned {result}; before content that mod_wsgi does not serve it can "
                f"only refuse, so the client got {status}",
            )

    @staticmethod
    def _check_unchanged(phase: str, request: FrontRequest) -> None:
        """Refuse a request that a handler has given other content, which Apache is not told."""
        untouched = FrontRequest(request.environment())
        changed = [
            name
            for name in _OF_CONTENT
            if getattr(request, name, None) != getattr(untouched, name, None)
        ]
        if changed:
            raise Refused(f"{phase} has changed req.{changed[0]}, which Apache is not told")
        if request.headers_out or request.err_headers_out:
            faults.tell_once(
                _logger,
                logging.ERROR,
                f"{phase} has set header fields; before content that mod_wsgi does not serve they "
                "can't be sent",
            )


def import_at_start(handler: str, python_path: str = "") -> None:
    """Do what ``PythonImport`` does: import a module, and call its function if one is named.

    :param handler: ``module`` or ``module::function``.
    :raises Exception: whatever the module or the function raises.
    """
    place = importer.place_of("", python_path)
    module, _, function = handler.partition("::")
    place.import_module(module)
    if function:
        find_handler(handler, place=place)()


def condition_of(kind: str, pattern: str):
    """Return what tells whether a URL and a file name meet a condition."""
    if kind.endswith("match"):
        matches = re.compile(pattern).search
        if kind == "locationmatch":
            return lambda uri, filename: matches(uri)
        if kind == "filesmatch":
            return lambda uri, filename: matches(filename.rpartition("/")[2])
        return lambda uri, filename: matches(filename) or matches(filename.rpartition("/")[0] + "/")
    is_wild = re.search(r"[*?\[]", pattern)
    if kind == "files":
        # Apache knows both ways to say "none of these"
        pattern = pattern.replace("[^", "[!")
        return lambda uri, filename: fnmatch.fnmatchcase(filename.rpartition("/")[2], pattern)
    if kind == "location" and not is_wild:
        return lambda uri, filename: starts_with(uri, pattern)
    if kind == "directory" and not is_wild:
        return lambda uri, filename: starts_with(f"{filename}/", f"{pattern.rstrip('/')}/")
    # * and ? stop at a slash
    parts = re.split(r"(\*|\?|\[[^]]+\])", pattern.rstrip("/") if kind == "directory" else pattern)
    parts = [f"[^{part[2:]}" if part[:2] in ("[!", "[^") else part for part in parts]
    expression = "".join(
        {"*": "[^/]*", "?": "[^/]"}.get(part, part if part.startswith("[") else re.escape(part))
        for part in parts
    )
    if kind == "directory":
        return lambda uri, filename: re.match(f"{expression}/", f"{filename}/")
    if kind == "location":
        return lambda uri, filename: re.fullmatch(f"{expression}(/.*)?", uri, re.DOTALL)
    raise ValueError(f"no condition is called {kind}")


def starts_with(uri: str, prefix: str) -> bool:
    """Return whether a URL is *prefix*, or lies below it."""
    if not uri.startswith(prefix):
        return False
    return prefix.endswith("/") or uri[len(prefix) :][:1] in ("", "/")
