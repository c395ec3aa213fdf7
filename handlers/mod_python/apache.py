"""The module that handlers import: ``from mod_python import apache``."""

import sys

from handlers.runtime import importer
from handlers.runtime.cgi import (
    CGIStdin,
    CGIStdout,
    NullIO,
    build_cgi_env,
    restore_nocgi,
    setup_cgi,
)
from handlers.runtime.constants import *  # noqa: F403
from handlers.runtime.dispatch import SERVER_RETURN, resolve_object
from handlers.runtime.finfo import stat
from handlers.runtime.log import log_error
from handlers.runtime.process import register_cleanup
from handlers.runtime.server import main_server
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


def import_module(name: str, autoreload: int = 1, log: int = 0, path: list | None = None):
    """Import the module *name* and return it; a dotted name gives the innermost module.

    Each list of directories has modules of its own, and so has the directory of a handler; see
    :mod:`handlers.runtime.importer`.

    :param autoreload: read it again if its file, or one that it imports, has changed.
    :param log: log the import at notice level.
    :param path: directories to look in before ``sys.path``; those of the caller without it.
    """
    if path:
        place = importer.place_at(tuple(path))
    else:
        place = importer.place_of_code(sys._getframe(1).f_globals) or importer.place_at(())
    if autoreload:
        place.check()
    if log and name not in sys.modules:
        log_error(f"importing module {name!r}", APLOG_NOTICE)  # noqa: F405
    return place.import_module(name)


def __getattr__(name: str):
    if name == "interpreter":
        # known inside mod_wsgi only
        try:
            from mod_wsgi import application_group
        except ImportError:
            raise AttributeError("only mod_wsgi tells the interpreter's name") from None
        return application_group
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
