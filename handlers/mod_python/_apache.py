"""What applications import of mod_python's own extension module: ``import _apache``.

Most of its names are those of :mod:`.apache`; it adds the locks that all processes of a server
share.
"""

from handlers.runtime import global_locks
from handlers.runtime.constants import (
    AP_CONN_CLOSE,
    AP_CONN_KEEPALIVE,
    AP_CONN_UNKNOWN,
    APR_BLK,
    APR_CHR,
    APR_DIR,
    APR_LNK,
    APR_NOFILE,
    APR_PIPE,
    APR_REG,
    APR_SOCK,
    APR_UNKFILE,
    MODULE_MAGIC_NUMBER_MAJOR,
)
from handlers.runtime.dispatch import SERVER_RETURN
from handlers.runtime.finfo import stat
from handlers.runtime.log import log_error
from handlers.runtime.query import parse_qs, parse_qsl
from handlers.runtime.server import Server
from handlers.runtime.server_configuration import (
    config_tree,
    exists_config_define,
    mpm_query,
    server_root,
)
from handlers.runtime.table import Table as table

__all__ = [
    "APR_BLK",
    "APR_CHR",
    "APR_DIR",
    "APR_LNK",
    "APR_NOFILE",
    "APR_PIPE",
    "APR_REG",
    "APR_SOCK",
    "APR_UNKFILE",
    "AP_CONN_CLOSE",
    "AP_CONN_KEEPALIVE",
    "AP_CONN_UNKNOWN",
    "MODULE_MAGIC_NUMBER_MAJOR",
    "SERVER_RETURN",
    "config_tree",
    "exists_config_define",
    "log_error",
    "mpm_query",
    "parse_qs",
    "parse_qsl",
    "server_root",
    "stat",
    "table",
]


def _global_lock(server, key, index: int = -1, /) -> None:
    """Wait for the lock of *key*, or that of number *index*, and hold it.

    Nothing gives it back at the end of a request: pair it with :func:`_global_unlock`.

    :raises ValueError: if there is no lock of this number.
    """
    global_locks.lock(_options(server), key, index)


def _global_trylock(server, key, index: int = -1, /) -> bool:
    """Hold the lock if it is free; return whether it was."""
    return global_locks.try_lock(_options(server), key, index)


def _global_unlock(server, key, index: int = -1, /) -> None:
    """Give back the lock of *key*, or that of number *index*.

    :raises ValueError: if this process does not hold it.
    """
    global_locks.unlock(_options(server), key, index)


def _options(server):
    if not isinstance(server, Server):
        raise TypeError("First argument must be a server object")
    return server.get_options()
