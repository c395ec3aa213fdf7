"""CGI scripts in Python, run within the child: ``PythonHandler mod_python.cgihandler``.

One script runs at a time in a process, since the environment, the standard streams and the working
directory are the process's: it is for scripts that wait to be made handlers. ``__name__`` is the
name of the file without its extension, as in mod_python.

What works in another way than in mod_python under Python 3: scripts can read bodies, write bytes
and end with ``sys.exit``; a Location without a Status is 302; output without a header is an error;
and of the modules that a script has imported only those beside it are imported anew.
"""

import importlib.machinery
import importlib.util
import os
import sys
import threading

from handlers.runtime import cgi

from . import apache

__all__ = ["handler"]

_lock = threading.Lock()


def handler(req):
    """Run the script that the request is for.

    :raises SERVER_RETURN: 404 if there is no such file.
    :raises CGIHeaderError: a ValueError, for output that does not begin with a header.
    """
    directory, name = os.path.split(req.filename)
    path = os.path.join(directory, os.path.splitext(name)[0] + ".py")
    if not os.path.isfile(path):
        raise apache.SERVER_RETURN(apache.HTTP_NOT_FOUND)
    with _lock:
        working_directory = os.getcwd()
        arguments = sys.argv
        saved = cgi.setup_cgi(req)
        output = sys.stdout
        try:
            os.chdir(directory)
            sys.path.insert(0, directory)
            _forget_modules(directory)
            _run(path)
            output.finish()
        finally:
            if directory in sys.path:
                sys.path.remove(directory)
            cgi.restore_nocgi(*saved)
            sys.argv = arguments
            os.chdir(working_directory)
    return apache.OK


def _run(path):
    name = os.path.splitext(os.path.basename(path))[0]
    loader = importlib.machinery.SourceFileLoader(name, path)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    module = importlib.util.module_from_spec(spec)
    try:
        loader.exec_module(module)
    except SystemExit as error:
        if error.code not in (None, 0):
            raise


def _forget_modules(directory):
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and os.path.dirname(file) == directory:
            del sys.modules[name]
