"""Python Server Pages: ``PythonHandler mod_python.psp``, and PSP templates for other handlers.

A page is text with Python in it: ``<% code %>``, ``<%= expression %>``, ``<%@ include
file="name" %>`` and ``<%-- comment --%>``. :mod:`handlers.runtime.psp_source` says how blocks of
code and text fit together. Code and expressions see ``req``, ``psp`` (a :class:`PSPInterface`),
``form`` and ``session``, which are made for pages that name them.

A child compiles a page once and again when it, or a file that it includes, has changed. The
exceptions that a page raises name the lines of the page.

What works in another way than in mod_python under Python 3: ``psp.redirect`` and exceptions with
other than one argument work; pages may be str; a redirect or a status that a page raises does not
run its error page; an included file that is not there is an error and not included again and
again; a comment or a directive without an end is an error; and there are no compiled pages in files
(``.pspc``) or DBM files (``mod_python.psp.cache_database_filename``), which Python 3 cannot read.
"""

import contextlib
import marshal
import os
import sys
import tempfile
import types
from html import escape

from handlers.runtime import psp_source

from . import Session, apache, util
from .cache import Cache

__all__ = ["PSP", "PSPInterface", "handler", "parse", "parsestring"]

_MOST_PAGES = 512
# what mod_python's own module happens to show its pages
_GIVEN = {
    "PSPInterface": None,
    "PSP": None,
    "Session": Session,
    "apache": apache,
    "escape": escape,
    "marshal": marshal,
    "os": os,
    "sys": sys,
    "tempfile": tempfile,
    "types": types,
    "util": util,
}


class PSPInterface:
    """What a page sees as ``psp``.

    :ivar error_page: the :class:`PSP` that runs when this one raises an exception, or None.
    :ivar filename: path of the page.
    :ivar form: the form, if it was made.
    """

    def __init__(self, req, filename, form):
        self.req = req
        self.filename = filename
        self.error_page = None
        self.form = form

    def set_error_page(self, page):
        """Have *page* run if this one fails; it finds ``sys.exc_info()`` as ``exception``.

        :param page: a path, below the document root if it begins with a slash, else beside this
            page.
        :raises SERVER_RETURN: 404 if it is not there.
        """
        if page.startswith("/"):
            path = self.req.document_root() + page
        else:
            path = os.path.join(os.path.dirname(self.filename or self.req.filename), page)
        self.error_page = PSP(self.req, path)

    def apply_data(self, object):
        """Call *object* with the fields of the form that it has parameters for, and ``req``."""
        if self.form is None:
            self.form = _form_of(self.req)
        return util.apply_fs_data(object, self.form, req=self.req)

    def redirect(self, location, permanent=0):
        """Answer with a redirect; see :func:`util.redirect`. It works until output is sent.

        :raises SERVER_RETURN: always, once *location* is right.
        """
        util.redirect(self.req, location, permanent)


class PSP:
    """A page, compiled, that can be run for its request.

    :param filename: path of the page; one that is not absolute lies beside ``req.filename``, which
        is the page itself if there is neither *filename* nor *string*.
    :param string: the page's text, str or bytes in UTF-8, instead of a file.
    :param vars: names that the page sees, besides those given to :meth:`run`.
    :ivar code: the compiled page.
    :raises ValueError: for *filename* and *string* at a time.
    :raises SERVER_RETURN: 404 for a file that is not there.
    :raises SyntaxError: for a page that is not Python; its line is the page's.
    :raises UnicodeDecodeError: for a page that is not UTF-8.
    :raises OSError: for a file, the page or an included one, that cannot be read.
    """

    code = None

    def __init__(self, req, filename=None, string=None, vars={}):  # noqa: B006 - the API's
        if filename and string:
            raise ValueError("a page has a filename or a string, not both")
        self.req, self.vars, self.string = req, vars, string
        if string:
            self.filename = filename
            self.code = _strings[string]
            return
        self.filename = filename or req.filename
        if not self.filename.startswith("/"):
            self.filename = os.path.join(os.path.dirname(req.filename), self.filename)
        page = _files.unchanged(self.filename)
        if page is None:
            if not os.path.isfile(self.filename):
                raise apache.SERVER_RETURN(apache.HTTP_NOT_FOUND)
            page = _files[self.filename]
        self.code = page.code

    def run(self, vars={}, flush=0):  # noqa: B006 - the API's
        """Run the page; it writes to the request.

        A page that names ``session`` has one, saved when the page has run and unlocked, unless the
        request had one before.

        :param vars: names that the page sees.
        :param flush: flush the output when the page has run.
        """
        req, names = self.req, self.code.co_names
        own_session = None
        if "session" in names and not hasattr(req, "session"):
            req.session = own_session = Session.Session(req)
        try:
            form = _form_of(req) if "form" in names else None
            psp = PSPInterface(req, self.filename, form)
            scope = dict(
                _GIVEN,
                __builtins__=__builtins__,
                __name__=__name__,
                __file__=req.filename,
                req=req,
                form=form,
                psp=psp,
                session=getattr(req, "session", None),
            )
            scope.update(self.vars)
            scope.update(vars)
            self._run(scope, psp, flush)
        finally:
            if own_session is not None:
                own_session.unlock()
                # unless the page has done so
                if hasattr(req, "session"):
                    del req.session

    def _run(self, scope, psp, flush):
        req = self.req
        try:
            exec(self.code, scope)
            if flush:
                req.flush()
            if hasattr(req, "session"):
                req.session.save()
        except apache.SERVER_RETURN:
            raise
        except Exception:
            if psp.error_page is None:
                raise
            psp.error_page.run({"exception": sys.exc_info()}, flush)

    def __str__(self):
        """Run the page as HTML; return nothing."""
        self.req.content_type = "text/html"
        self.run()
        return ""

    def display_code(self):
        """Write the page beside the Python that it was turned into, as HTML."""
        with open(self.filename, "rb") as file:
            source = file.read()
        translation = psp_source.translate(source, os.path.dirname(self.filename), self.filename)
        page = source.decode().splitlines()
        write = self.req.write
        write("<table>\n")
        _write_row(write, "", "Python made of it", self.filename)
        shown = 0
        for number, code in enumerate(translation.text.splitlines()):
            line = translation.lines[min(number, len(translation.lines) - 1)]
            # lines of an included file stand at the line of its directive
            text = "\n".join(page[shown:line])
            shown = max(shown, line)
            _write_row(write, f"{line}.", code, text)
        write("</table>\n")


_GIVEN |= {"PSP": PSP, "PSPInterface": PSPInterface}


def parse(filename, dir=None):
    """Return the Python that the page *filename* in the directory *dir* is turned into.

    :raises OSError: if it, or a file that it includes, cannot be read.
    :raises SyntaxError: for a comment or a directive without an end.
    :raises UnicodeDecodeError: if it is not UTF-8.
    """
    path = os.path.join(dir or "", filename)
    with open(path, "rb") as file:
        return psp_source.translate(file.read(), os.path.dirname(path), path).text


def parsestring(str):
    """Return the Python that the page *str*, str or bytes, is turned into; see :func:`parse`."""
    return psp_source.translate(str).text


def handler(req):
    """Run the page that the request is for, as HTML.

    Under ``PythonDebug On`` a path that ends with an underscore shows the code of the page without.
    """
    req.content_type = "text/html"
    if req.filename.endswith("_") and int(req.get_config().get("PythonDebug", 0)):
        PSP(req, req.filename[:-1]).display_code()
    else:
        PSP(req).run()
    return apache.OK


class _Page:
    """A compiled page, and the states of its files when they were read."""

    def __init__(self, filename):
        # before they are read: a change while they are is seen by the next request
        self._states = {filename: _state(filename)}
        with open(filename, "rb") as file:
            source = file.read()
        translation = psp_source.translate(source, os.path.dirname(filename), filename)
        for path in translation.included:
            self._states.setdefault(path, _state(path))
        self.code = psp_source.compile_page(translation, filename)

    def changed(self):
        """Return whether a file has changed, or is gone."""
        return any(_state(path) != state for path, state in self._states.items())


class _Files(Cache):
    """Pages by the paths of their files."""

    def unchanged(self, path):
        """Return the page *path* if it is here and no file of it has changed, else None.

        It takes no lock: what another thread is about to replace was right a moment ago.
        """
        entry = self._dict.get(path)
        page = None if entry is None else entry._value
        if not isinstance(page, _Page) or page.changed():
            return None
        with contextlib.suppress(KeyError):
            # another thread may have made room
            self._dict.move_to_end(path)
        return page

    def check(self, key, name, entry):
        """Return None if no file of the page has changed."""
        page = self._unpack(entry)
        return None if isinstance(page, _Page) and not page.changed() else key

    def build(self, key, name, opened, entry):
        """Compile the page."""
        return _Page(key)


class _Strings(Cache):
    """Code of pages by their text."""

    def build(self, key, name, opened, entry):
        """Compile the page."""
        return psp_source.compile_page(psp_source.translate(key), "__psp__")


_files = _Files(_MOST_PAGES)
_strings = _Strings(_MOST_PAGES)


def _form_of(req):
    # kept, so that an error page finds it: a body is read once
    if not hasattr(req, "form"):
        req.form = util.FieldStorage(req, keep_blank_values=1)
    return req.form


def _state(path):
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _write_row(write, *cells):
    shown = (
        escape(cell).replace("\t", "    ").replace(" ", "&nbsp;").replace("\n", "<br>")
        for cell in cells
    )
    write("<tr>" + "".join(f"<td><tt>{cell}</tt></td>" for cell in shown) + "</tr>\n")
