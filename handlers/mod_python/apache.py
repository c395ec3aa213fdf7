"""The module that handlers import: ``from mod_python import apache``."""

import importlib
import sys
import threading

from handlers.runtime.cgi import (
    CGIStdin,
    CGIStdout,
    NullIO,
    build_cgi_env,
    restore_nocgi,
    setup_cgi,
)
from handlers.runtime.connection import Server
from handlers.runtime.constants import *  # noqa: F403
from handlers.runtime.dispatch import SERVER_RETURN, resolve_object
from handlers.runtime.finfo import stat
from handlers.runtime.log import log_error
from handlers.runtime.process import register_cleanup
from handlers.runtime.server_configuration import (
    config_tree,
    exists_config_define,
    mpm_query,
    server_root,
)
from handlers.runtime.table import Table as table

__all__ = [
    "SERVER_RETURN",
    "CGIStdin",
    "CGIStdout",
    "NullIO",
    "build_cgi_env",
    "config_tree",
    "exists_config_define",
    "import_module",
    "log_error",
    "main_server",
    "make_table",
    "mpm_query",
    "register_cleanup",
    "resolve_object",
    "restore_nocgi",
    "server_root",
    "setup_cgi",
    "stat",
    "table",
]

make_table = table
#: The server outside of all virtual hosts; without a request little is known of it.
main_server = Server({}, register_cleanup)
_path_lock = threading.Lock()


def import_module(name: str, autoreload: int = 1, log: int = 0, path: list | None = None):
    """Import the module *name* and return it; a dotted name gives the innermost module.

    :param autoreload: taken for mod_python's sake; no module is read again, as on real mod_python
        under Python 3.
    :param log: log the import at notice level.
    :param path: directories to look in before ``sys.path``, if the module is not imported yet.
    """
    if name in sys.modules:
        return sys.modules[name]
    if log:
        log_error(f"importing module {name!r}", APLOG_NOTICE)  # noqa: F405
    if not path:
        return importlib.import_module(name)
    with _path_lock:
        sys.path[:0] = path
        try:
            return importlib.import_module(name)
        finally:
            # the module may have changed the list, or put another in its place
            for directory in path:
                if directory in sys.path:
                    sys.path.remove(directory)


def __getattr__(name: str):
    if name == "interpreter":
        # known inside mod_wsgi only
        try:
            from mod_wsgi import application_group
        except ImportError:
            raise AttributeError("only mod_wsgi tells the interpreter's name") from None
        return application_group
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
