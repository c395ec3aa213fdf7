"""The request object that handlers get, made from the WSGI environment."""

import operator
import os

from . import application, authentication, constants, filters, finfo, options
from .body import RequestBody
from .description import METHOD_NUMBERS, Description, lazy
from .dispatch import Step
from .output import Output
from .redirect import environment_before, run_redirected
from .response import guessed_type
from .status import WITHOUT_BODY
from .table import header_text


def _of(path: str, doc: str | None = None) -> property:
    """Return an attribute of the request that is one of its response's, body's or output's."""
    part, _, name = path.rpartition(".")
    owner = operator.attrgetter(part)

    def assign(request, value):
        setattr(owner(request), name, value)

    return property(operator.attrgetter(path), assign, doc=doc)


class Request(Description):
    """mod_python's request object.

    What it reads and writes, and what it says of the response, is that of three objects which know
    nothing of it: a :class:`.RequestBody`, an :class:`.Output` and that one's :class:`.Response`.

    One handler after the other gets the same object, on which any attribute may be set.

    Assigning to what describes the request (``user``, ``filename``, ``notes`` ...) is seen by later
    handlers, not by Apache and its access log.
    """

    phase = options.CONTENT
    hlist = None
    extension = None
    used_path_info = constants.AP_REQ_DEFAULT_PATH_INFO
    proxyreq = constants.PROXYREQ_NONE
    #: bodies in chunks are read as others, or refused by mod_wsgi
    read_chunked = 0
    #: a subrequest is no request of its own here, and one that is redirected does not know it
    main = None
    next = None
    range = None
    vlist_validator = None
    allowed_xmethods = ()
    #: bit ``1 << M_x`` is set for each method that :meth:`allow_methods` has named ...
    allowed = 0
    #: ... and here are the names that have no number
    allowed_methods = ()
    expecting_100 = 0
    #: what answers with Apache's own page for a status, where Apache can be asked for it
    apaches_page = None
    #: whether the file is sent when the handlers decline
    serves_files = True
    #: for each phase the handlers that others have added
    added_handlers: dict[str, tuple[Step, ...]] | None = None
    _registered_filters: dict | None = None

    status = _of("_response.status", "The number of the status; a handler may set it.")
    status_line = _of("_response.status_line")
    content_encoding = _of("_response.content_encoding")
    content_languages = _of("_response.content_languages")
    no_cache = _of("_response.no_cache")
    no_local_copy = _of("_response.no_local_copy")
    headers_out = _of("_response.headers_out", "Header fields of a successful response.")
    err_headers_out = _of("_response.err_headers_out", "Header fields of errors, too.")
    mtime = _of("_response.mtime")
    clength = _of("_response.clength")
    request_time = property(
        operator.attrgetter("_response.request_time"),
        doc="When the request came in, in seconds since 1970.",
    )
    bytes_sent = _of("_output.bytes_sent", "Bytes of the body given to the server so far.")
    read_length = _of("_body.read_length", "Bytes of the body read so far.")
    remaining = _of("_body.remaining", "Bytes of the body not read yet.")
    _response = property(operator.attrgetter("_output.response"))
    _bytes_queued = property(operator.attrgetter("_output.bytes_queued"))

    def __init__(self, environ: dict, start_response, respond=None):
        self._environ = environ
        self._respond = respond
        self._output = output = Output(environ, start_response)
        # spares those who write a page in many pieces one call for each
        self.write = output.write
        if "REDIRECT_STATUS" in environ:
            # an ErrorDocument begins with the status of the error
            self._response.status = _status(environ["REDIRECT_STATUS"])

    @property
    def content_type(self) -> str | None:
        """Type of the response; until it is set, the one that the file's name suggests."""
        own = self._output.content_type
        return guessed_type(self._environ) if own is None else own

    @content_type.setter
    def content_type(self, value: str):
        if value.__class__ is not str or not (value.isascii() and value.isprintable()):
            value = header_text(value)
        self._output.content_type = value

    @property
    def _content_type_set(self) -> int:
        return int(self._output.content_type is not None)

    @lazy
    def _body(self) -> RequestBody:
        """The request's body, behind the filters that the configuration puts in place."""
        body = RequestBody(self._environ)
        for added in reversed(filters.in_place(self, is_input=True)):
            body.add_filter(added)
        return body

    @lazy
    def prev(self) -> "Request | None":
        """The request that Apache has redirected to this one, an ErrorDocument for instance.

        It is described as far as the environment tells: address, method, query and status.
        """
        environ = environment_before(self._environ)
        if environ is None:
            return None
        request = Request(environ, None)
        request.next = self
        return request

    # -- the body, and the response ----------------------------------------------------------

    def read(self, length: int | None = -1) -> bytes:
        """Return up to *length* bytes of the body, all that is left if it is negative or None.

        :raises BodyUnreadable: an OSError, if the client stops before its body is complete.
        """
        return self._body.read(-1 if length is None else length)

    def readline(self, length: int | None = -1) -> bytes:
        """Return the next line of the body, or up to *length* bytes of it."""
        return self._body.readline(-1 if length is None else length)

    def readlines(self, sizehint: int | None = 0) -> list[bytes]:
        """Return the lines of the body that are left, stopping after about *sizehint* bytes."""
        return self._body.readlines(sizehint or 0)

    def __iter__(self):
        """Iterate over the lines of the body, for applications whose ``wsgi.input`` it is."""
        return iter(self._body.readline, b"")

    def discard_request_body(self) -> int:
        """Read the rest of the body and drop it; return OK."""
        return self._body.discard_request_body()

    def write(self, data: str | bytes, flush: int = 1) -> None:
        """Send *data*; str goes out as UTF-8. With ``flush=0`` it waits for the next flush.

        :raises ClientGone: an OSError, if the client has closed the connection.
        """
        self._output.write(data, flush)

    def flush(self) -> None:
        """Send the headers, if they are not out, and all output that waits."""
        self._output.flush()

    def sendfile(self, path: str, offset: int = 0, length: int = -1, /) -> int:
        """Send *length* bytes of a file from *offset* on, to its end by default; return how many.

        :raises OSError: if the file cannot be opened or is not a regular file.
        """
        return self._output.sendfile(path, offset, length)

    def send_http_header(self) -> None:
        """Do nothing: headers are sent with the first byte of the body."""

    @property
    def chunked(self) -> int:
        """1 once the response is sent in chunks, as one whose length nobody has told."""
        return int(
            self.started()
            and self.proto_num >= 1001
            and not self.header_only
            and self.status not in WITHOUT_BODY
            and "Content-Length" not in self.headers_out
        )

    @property
    def read_body(self) -> int:
        """How the body is read: 1, by its Content-Length, once a handler has asked for it."""
        return int(self._body.began())

    @property
    def sent_bodyct(self) -> int:
        """1 if a byte of the body has been sent, else 0."""
        return int(self._output.bytes_sent > 0)

    @property
    def eos_sent(self) -> int:
        """0: a handler runs before the end of its response."""
        return 0

    def register_cleanup(self, callable, data=None) -> None:
        """Call ``callable(data)`` after the last byte of the response, the latest one first.

        :raises ValueError: if it cannot be called.
        """
        self._output.register_cleanup(callable, data)

    def run_cleanups(self) -> None:
        """Run the registered cleanups, the latest first, and log what they raise."""
        self._output.run_cleanups()

    def started(self) -> bool:
        """Return whether the headers are out, so that the status can no longer change."""
        return self._output.started()

    def client_gone(self) -> bool:
        """Return whether a write has found the connection closed by the client."""
        return self._output.client_gone()

    def output(self) -> Output:
        """Return what sends the response."""
        return self._output

    def forget_content(self) -> None:
        """Forget what describes the body of a response that becomes a page of an error."""
        self._response.forget_content()

    def allow_methods(self, methods, reset: int = 0) -> None:
        """Name the methods that a 405 response says are allowed; GET allows HEAD, too.

        :param reset: forget those named before.
        """
        if reset:
            self.allowed = 0
            self.allowed_methods = ()
        for method in methods:
            number = METHOD_NUMBERS.get(method) or METHOD_NUMBERS.get(header_text(method))
            if number is not None:
                self.allowed |= 1 << number
            elif method not in self.allowed_methods:
                self.allowed_methods += (method,)

    def allow_header(self) -> str:
        """Return the value of the Allow field (RFC 9110 section 10.2.1)."""
        known = [name for name, number in METHOD_NUMBERS.items() if self.allowed >> number & 1]
        return ", ".join((*known, *self.allowed_methods))

    def update_mtime(self, mtime: float) -> None:
        """Raise ``mtime`` to *mtime*, seconds since 1970, if that is later."""
        self._response.update_mtime(mtime)

    def set_last_modified(self) -> None:
        """Set Last-Modified to ``mtime``, or to now if that lies in the future."""
        self._response.set_last_modified()

    def set_etag(self) -> None:
        """Set ETag for the file ``finfo``, in the form of Apache's default FileETag."""
        self._response.set_etag(self.finfo)

    def meets_conditions(self) -> int:
        """Return OK, or the 304 or 412 to return instead of the response (RFC 9110 section 13)."""
        return self._response.meets_conditions(self.method, self.headers_in)

    def set_content_length(self, length: int) -> None:
        """Announce the size of the body in bytes."""
        self._response.set_content_length(length)

    # -- handlers, filters and redirects -----------------------------------------------------

    def add_handler(self, htype: str, handler: str, dir: str = "", /) -> None:
        """Add *handler* to the list of the phase *htype*, for this request.

        It runs after those that the list has; for a phase that is over it does not run.

        :param dir: the directory where its module is looked for, if no PythonPath is in force.
        :raises IndexError: if there is no such phase; PythonCleanupHandler is none that can be
            added to.
        :raises ValueError: if *handler* is no text.
        """
        if htype not in options.PHASES or htype == options.CLEANUP:
            raise IndexError(f"{htype!r} is an invalid phase, or one that takes no more handlers")
        if not isinstance(handler, str):
            raise ValueError("a handler must be a string")
        if dir:
            dir = dir.rstrip("/") + "/"
        directory = dir or (self.hlist.directory if self.hlist is not None else None) or ""
        directory = os.fsencode(directory).decode("latin-1")
        # one without a name is an error when its turn comes
        added = tuple(Step(name, (), None, directory) for name in handler.split() or [handler])
        if htype == self.phase and self.hlist is not None:
            self.hlist.steps += added
            return
        if self.added_handlers is None:
            self.added_handlers = {}
        self.added_handlers[htype] = (*self.added_handlers.get(htype, ()), *added)

    def register_output_filter(self, name: str, handler: str, dir: str = "", /) -> None:
        """Make *name* name a filter of the response, for this request; see :mod:`.filters`."""
        self._register_filter(False, name, handler, dir)

    def register_input_filter(self, name: str, handler: str, dir: str = "", /) -> None:
        """Make *name* name a filter of the request's body, for this request."""
        self._register_filter(True, name, handler, dir)

    def add_output_filter(self, name: str, /) -> None:
        """Put a filter that was registered or declared behind the response."""
        added = filters.named(self, name, False, self._filters_named(False))
        if added is not None:
            self._output.add_filter(added)

    def add_input_filter(self, name: str, /) -> None:
        """Put a filter that was registered or declared in front of the request's body."""
        added = filters.named(self, name, True, self._filters_named(True))
        if added is not None:
            self._body.add_filter(added)

    def _filters_named(self, is_input):
        if self._registered_filters is None:
            self._registered_filters = {True: {}, False: {}}
        return self._registered_filters[is_input]

    def _register_filter(self, is_input, name, handler, directory):
        self._filters_named(is_input)[name.lower()] = handler, directory or None

    def internal_redirect(self, new_uri: str, /) -> None:
        """Answer with what another address of the same section says; see :mod:`.redirect`.

        :raises Unreachable: a ValueError, for an address of which nothing is known here.
        """
        run_redirected(self, new_uri, self._made, self._respond)

    def redirect_error(self, uri: str) -> None:
        """Answer with an ErrorDocument of the same section; as :meth:`internal_redirect`."""
        run_redirected(self, uri, self._made, self._respond, is_error=True)

    def _made(self, environ, start_response):
        return Request(environ, start_response, self._respond)

    def share_body(self, other: "Request") -> None:
        """Have the body of *other*, which has redirected to this request."""
        self._body = other._body

    def set_file(self, filename: str, path_info: str) -> None:
        """Set the file that the address means, and what follows it in the address."""
        self.filename = self.canonical_filename = filename
        self.path_info = path_info
        self.finfo = finfo.stat_or_nothing(filename)

    # -- passwords and WSGI applications -----------------------------------------------------

    def get_basic_auth_pw(self) -> str | None:
        """Return the password of Basic authentication and set ``user``; None if there is none.

        As in mod_python it is None, and ``user`` is left alone, where ``AuthType Basic`` does not
        hold, since nobody has asked the client for a name then; see :mod:`.authentication` for how
        the runtime knows. Where it holds and the client sends nothing, WWW-Authenticate asks for
        name and password. They are checked by nobody but the handler. Apache passes the header on
        only under ``pass-authorization=On``.
        """
        if not authentication.is_basic(self._environ):
            return None
        found = authentication.credentials(self._environ)
        if found is None:
            self.ask_for_password()
            return None
        self.user, password = found
        self.ap_auth_type = "Basic"
        return password

    def ask_for_password(self) -> None:
        """Set WWW-Authenticate for Basic authentication."""
        self.err_headers_out["WWW-Authenticate"] = authentication.challenge(self._environ)

    def build_wsgi_env(self) -> dict | None:
        """Return the environment for a WSGI application; see :func:`.application.build_environ`."""
        return application.build_environ(self, self._environ)

    def wsgi_start_response(self, status: str, headers: list, exc_info=None, /):
        """Take status and headers of a WSGI application; return the call that writes its body."""
        return application.start_response(self, status, headers, exc_info)


# as real mod_python names its type
Request.__name__ = Request.__qualname__ = "mp_request"
Request.__module__ = "builtins"


def _status(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else constants.HTTP_OK
