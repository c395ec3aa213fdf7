"""A page that shows what a handler finds: ``PythonHandler mod_python.testhandler``.

It shows the environment to everybody who may open it, so keep strangers out. Unlike mod_python's,
it escapes what it shows, leaves out what WSGI does not tell, and shows what may have passwords in
it under ``PythonDebug On`` only: values of options, the configuration, the end of the error log.
"""

import collections
import importlib.util
import os
import sys
from html import escape

from handlers.runtime.server_configuration import Unreadable

from . import apache, util

__all__ = ["handler", "write_table", "write_tree"]

_LINES = 100  # of the error log
_UNKNOWN = "not known"
_HIDDEN = "shown under PythonDebug On"


def handler(req):
    """Write the page, or for ``?view_log=1`` the last lines of the error log."""
    req.form = util.FieldStorage(req)
    log = _error_log(req)
    if req.form.getfirst("view_log") and log:
        req.content_type = "text/plain"
        with open(log, "rb") as file:
            req.write(b"".join(collections.deque(file, _LINES)), 0)
        return apache.OK
    req.add_common_vars()
    req.content_type = "text/html; charset=utf-8"
    _write(req, "<!DOCTYPE html>\n<html><head><title>mod_python test page</title></head><body>\n")
    _write_general(req, log)
    debug = _debugging(req)
    sections = (
        ("Request input headers", lambda: req.headers_in),
        ("Request environment", lambda: req.subprocess_env),
        ("Request configuration", req.get_config),
        ("Request options", lambda: _options(req.get_options(), debug)),
        ("Request notes", lambda: req.notes),
        ("Server configuration", lambda: req.server.get_config()),
        ("Server options", lambda: _options(req.server.get_options(), debug)),
    )
    for title, ask in sections:
        table = _known(ask)
        _write(req, f"<h3>{title}</h3>\n")
        if table is None:
            _write(req, f"<p>{_UNKNOWN}</p>\n")
        else:
            write_table(req, table)
    tree = _known(lambda: apache.config_tree()) if debug else None
    if tree is not None:
        _write(req, "<h3>Server configuration tree</h3>\n<pre>")
        write_tree(req, tree, 0)
        _write(req, "</pre>\n")
    _write(req, "</body></html>\n")
    return apache.OK


def write_table(req, table):
    """Write a table, or another mapping, as HTML."""
    _write(req, '<table border="1">\n<tr><th>Key</th><th>Value</th></tr>\n')
    for key in table:
        _write_row(req, key, table[key])
    _write(req, "</table>\n")


def write_tree(req, tree, level):
    """Write a tree of directives, as ``apache.config_tree`` gives it, indented by *level*."""
    for entry in tree:
        if isinstance(entry, list):
            write_tree(req, entry, level + 1)
        else:
            _write(req, "    " * level + escape(" ".join(map(str, entry))) + "\n")


def _write_general(req, log):
    rows = (
        ("Apache version", lambda: req.subprocess_env.get("SERVER_SOFTWARE")),
        ("Apache threaded MPM", lambda: _most("threads", "IS_THREADED", "MAX_THREADS")),
        ("Apache forked MPM", lambda: _most("processes", "IS_FORKED", "MAX_DAEMONS")),
        ("Apache server root", lambda: apache.server_root()),
        ("Apache document root", req.document_root),
        ("Apache error log", lambda: req.server.error_fname),
        ("Python sys.version", lambda: sys.version),
        ("Python sys.path", lambda: "\n".join(sys.path)),
        ("Python interpreter name", lambda: req.interpreter),
        ("mod_python.publisher available", lambda: _available("publisher")),
        ("mod_python.psp available", lambda: _available("psp")),
    )
    _write(req, '<h3>General information</h3>\n<table border="1">\n')
    for title, ask in rows:
        answer = _known(ask)
        _write_row(req, title, _UNKNOWN if answer is None else answer)
    _write(req, "</table>\n")
    if log:
        _write(req, f'<p><a href="?view_log=1">The last {_LINES} lines of the error log</a></p>\n')


def _most(what, kind, most):
    if not apache.mpm_query(getattr(apache, f"AP_MPMQ_{kind}")):
        return "No"
    return f"Yes, maximum {apache.mpm_query(getattr(apache, f'AP_MPMQ_{most}'))} {what}"


def _available(name):
    return "Yes" if importlib.util.find_spec(f"mod_python.{name}") else "No"


def _error_log(req):
    """Return the path of the error log, if it is a file and PythonDebug lets it be shown."""
    name = _known(lambda: req.server.error_fname)
    if not name or not _debugging(req):
        return None
    path = os.path.join(_known(lambda: apache.server_root()) or "/", name)
    return path if os.path.isfile(path) and os.access(path, os.R_OK) else None


def _debugging(req):
    return int(req.get_config().get("PythonDebug", 0))


def _options(table, debug):
    return table if debug else dict.fromkeys(table, _HIDDEN)


def _known(ask):
    """Return what *ask* returns, None for what neither WSGI nor httpd's own files tell."""
    try:
        return ask()
    except (AttributeError, Unreadable):
        return None


def _write_row(req, *cells):
    shown = (escape(str(cell)).replace("\n", "<br>") for cell in cells)
    _write(req, "<tr>" + "".join(f"<td><code>{cell}</code></td>" for cell in shown) + "</tr>\n")


def _write(req, text):
    # what clients send may have surrogates in it
    req.write(text.encode("utf-8", "backslashreplace"), 0)
