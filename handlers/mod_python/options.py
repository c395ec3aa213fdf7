"""Configuration of a request: mod_python's directives given as environment variables.

``SetEnv PythonHandler`` (also ``PythonPath``, ``PythonDebug``) and ``SetEnv PythonOption.key``
stand for the directives of those names. Apache merges SetEnv by server, virtual host, Directory,
Location, Files and .htaccess, the inner one winning, as it merges the directives. A request header
cannot set any of them: those arrive as ``HTTP_*``.
"""

from .table import Table

DIRECTIVES = ("PythonHandler", "PythonPath", "PythonDebug")
OPTION_PREFIX = "PythonOption."
_PREFIX_LENGTH = len(OPTION_PREFIX)
_OFF = ("", "off", "0", "false", "no")


def get_options(environ: dict) -> Table:
    """Return the table of PythonOption; an option set to nothing is not in it."""
    return Table.trusted(
        (name[_PREFIX_LENGTH:], value)
        for name, value in environ.items()
        if value and name.startswith(OPTION_PREFIX)
    )


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


def debug(environ: dict) -> bool:
    """Return whether ``PythonDebug On`` is in force."""
    return environ.get("PythonDebug", "").lower() not in _OFF


def is_directive(name: str) -> bool:
    """Return whether the variable *name* is configuration, and not the request's environment."""
    return name in DIRECTIVES or name.startswith(OPTION_PREFIX)
