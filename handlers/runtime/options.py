"""Configuration of a request: mod_python's directives given as environment variables.

``SetEnv PythonHandler`` (also ``PythonPath``, ``PythonDebug``) and ``SetEnv PythonOption.key``
stand for the directives of those names. Apache merges SetEnv by server, virtual host, Directory,
Location, Files and .htaccess, the inner one winning, as it merges the directives. A request header
cannot set any of them: those arrive as ``HTTP_*``.

``SetEnv PythonHandler.directory`` is the directory of the section that names the handler. As
variables reach CGI scripts of their section, ``SetEnv PythonOptionFile.key`` names a file whose
first line is the value of ``PythonOption key``. ``SetEnv PythonServer.PythonOption.key`` says what
the server itself sets, where a section sets something else.
"""

import functools
import os

from handlers import kinds

from .query import text
from .table import Table

DIRECTIVES = ("PythonHandler", "PythonHandler.directory", "PythonPath", "PythonDebug")
OPTION_PREFIX = "PythonOption."
FILE_PREFIX = "PythonOptionFile."
SERVER_PREFIX = "PythonServer."
# what Apache's AuthType and AuthName say; mod_python has members of the request for them
_OF_APACHE = tuple(
    f"PythonOption.mod_python.{name}" for name in ("auth_type", "auth_name", "addhandler_exts")
)
# mod_python's other directives, in small letters
_UNSUPPORTED = frozenset(
    f"python{name}"
    for name in (
        *("accesshandler", "authenhandler", "authzhandler", "cleanuphandler", "connectionhandler"),
        *("fixuphandler", "handlermodule", "headerparserhandler", "inithandler", "loghandler"),
        *("postreadrequesthandler", "transhandler", "typehandler", "inputfilter", "outputfilter"),
        *("autoreload", "enablepdb", "import", "interpperdirective", "interpperdirectory"),
        *("interpreter", "optimize", "handler", "debug", "option"),
    )
)
_PREFIX_LENGTH = len(OPTION_PREFIX)


def get_options(environ: dict) -> Table:
    """Return the table of PythonOption; an option set to nothing is not in it.

    :raises OSError: if the file of a PythonOptionFile cannot be read.
    """
    return Table.trusted(pairs(environ))


def pairs(environ: dict) -> tuple[tuple[str, str], ...]:
    """Return (name, value) of each PythonOption, as a key to what such options come to.

    :raises OSError: if the file of a PythonOptionFile cannot be read.
    """
    # asked in this way of all variables, as it is done for each request
    found = [name for name in environ if "PythonOption" in name]
    return tuple(
        [
            (name[_PREFIX_LENGTH:], _decoded(environ[name]))
            for name in found
            if environ[name] and name.startswith(OPTION_PREFIX) and name not in _OF_APACHE
        ]
        + [
            (name[len(FILE_PREFIX) :], _first_line(environ[name]))
            for name in found
            if environ[name] and name.startswith(FILE_PREFIX)
        ]
    )


def _decoded(value: str) -> str:
    """Return the text that WSGI passes on as if each of its bytes were a character."""
    return value if value.isascii() else text(value.encode("latin-1"))


def _first_line(path: str) -> str:
    return _read_line(path, os.stat(path).st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _read_line(path: str, changed: int) -> str:
    with open(path, encoding="latin-1", newline="\n") as file:
        return file.readline().removesuffix("\n")


def get_config(environ: dict) -> Table:
    """Return the table of the other directives in force, without PythonHandler, as mod_python's.

    PythonDebug is there only when it is on, as ``1``.
    """
    config = []
    if debug(environ):
        config.append(("PythonDebug", "1"))
    if environ.get("PythonPath"):
        config.append(("PythonPath", environ["PythonPath"]))
    return Table.trusted(config)


def of_server(environ: dict) -> dict:
    """Return the variables that the server and the virtual host set, without their sections.

    Those are named ``PythonServer.`` and the variable's name; where there are none, it is all.
    """
    found = {
        name.removeprefix(SERVER_PREFIX): value
        for name, value in environ.items()
        if name.startswith(SERVER_PREFIX)
    }
    return found or environ


def debug(environ: dict) -> bool:
    """Return whether ``PythonDebug On`` is in force."""
    try:
        return kinds.flag(environ.get("PythonDebug") or "off")
    except ValueError:
        # tracebacks are for nobody but those who asked for them
        return False


def unsupported(environ: dict) -> list[str]:
    """Return the variables that ask for a directive of mod_python's which the runtime has not got.

    That is every name that begins with ``Python`` and is not known here, and one that spells a
    directive in other letters, as Apache's own directives may be spelled. A request with such a
    variable must not be answered: it may be the one that keeps strangers out.
    """
    return [name for name in environ if name[0] in "Pp" and _is_unsupported(name)]


def _is_unsupported(name: str) -> bool:
    if name.startswith("Python"):
        return not is_directive(name)
    # PYTHONPATH is a variable of Python's own
    lowered = name.lower()
    return lowered.partition(".")[0] in _UNSUPPORTED or (
        lowered == "pythonpath" and name != "PYTHONPATH"
    )


def is_directive(name: str) -> bool:
    """Return whether the variable *name* is configuration, and not the request's environment."""
    return name in DIRECTIVES or name.startswith((OPTION_PREFIX, FILE_PREFIX, SERVER_PREFIX))
