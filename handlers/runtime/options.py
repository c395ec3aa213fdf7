"""Configuration of a request: mod_python's directives given as environment variables.

``SetEnv PythonHandler`` and ``SetEnv PythonOption.key`` stand for the directives of those names.
Apache merges SetEnv by server, virtual host, Directory, Location, Files and .htaccess, the inner
one winning, as it merges the directives. A request header cannot set any of them: those arrive as
``HTTP_*``.

``SetEnv PythonHandler.directory`` is the directory of the section that names the handler; other
phases have theirs. As variables reach CGI scripts of their section, ``SetEnv PythonOptionFile.key``
names a file whose first line is the value of ``PythonOption key``. Filters are declared by ``SetEnv
PythonOutputFilter.NAME handler`` and put in place by ``SetEnv PythonSetOutputFilter "NAME"`` or
``SetEnv PythonAddOutputFilter "NAME .ext"``; those of input alike. ``SetEnv
PythonServer.PythonOption.key`` is what the server itself sets where a section sets another value.
``SetEnv PythonHandler.location`` is the URL of a ``<Location>``, which redirects must not leave.
``SetEnv PythonErrorDocument.404`` and its kin are those of :mod:`.error_documents`.
``SetEnv PythonDirectorySlash On`` stands beside ``DirectorySlash Off`` in a section with phases:
the runtime redirects to a directory after them.
"""

import functools
import operator
import os

from handlers import kinds

from .query import text
from .table import Table

CONTENT = "PythonHandler"
#: The phases before the content handler, in Apache's order.
BEFORE = tuple(
    f"Python{name}Handler"
    for name in (
        *("PostReadRequest", "Trans", "Init", "HeaderParser", "Access", "Authen", "Authz"),
        *("Type", "Fixup"),
    )
)
LOG, CLEANUP = "PythonLogHandler", "PythonCleanupHandler"
#: All phases of a request.
PHASES = (*BEFORE, CONTENT, LOG, CLEANUP)
HANDLER_MODULE = "PythonHandlerModule"
#: Directives of which a request has filters in place.
FILTERS = (
    *("PythonSetInputFilter", "PythonAddInputFilter"),
    *("PythonSetOutputFilter", "PythonAddOutputFilter"),
)
FILTER_PREFIXES = ("PythonInputFilter.", "PythonOutputFilter.")
#: The URL of the ``<Location>`` that names the content handler.
LOCATION = f"{CONTENT}.location"
#: What ``DirectorySlash`` would be where the phases of a request come before it.
SLASH = "PythonDirectorySlash"
_SWITCHES = ("PythonDebug", "PythonPath", "PythonAutoReload", "PythonEnablePdb")
DIRECTIVES = frozenset(
    (
        *_SWITCHES,
        *FILTERS,
        SLASH,
        LOCATION,
        *(name for phase in (*PHASES, HANDLER_MODULE) for name in (phase, f"{phase}.directory")),
    )
)
#: ``SetHandler`` of sections that have phases, and whose content is files.
FILES_ONLY = "python-phases"
_REQUEST_HANDLER = "mod_wsgi.request_handler"
OPTION_PREFIX = "PythonOption."
FILE_PREFIX = "PythonOptionFile."
SERVER_PREFIX = "PythonServer."
ERROR_PREFIX = "PythonErrorDocument."
# what is for the runtime alone, as Apache's AuthType and AuthName, for which a request has members
_OF_APACHE = tuple(
    f"PythonOption.mod_python.{name}"
    for name in ("auth_type", "auth_name", "addhandler_exts", "request_rec")
)
# what asks for more than PythonHandler
_MORE = frozenset((*BEFORE, LOG, CLEANUP, HANDLER_MODULE, *FILTERS))
# all directives of mod_python, in small letters
_KNOWN_NAMES = frozenset(
    {f"python{name}" for name in ("connectionhandler", "inputfilter", "outputfilter", "import")}
    | {f"pythoninterp{name}" for name in ("perdirective", "perdirectory", "reter")}
    | {f"python{name}" for name in ("optimize", "option", "optionfile", "server")}
    | {name.lower() for name in DIRECTIVES if name != "PythonPath"}
)
# sets of names, which clients can vary, and of values that are kept
_MOST_NAMES, _MOST = 128, 1024
_PREFIX_LENGTH = len(OPTION_PREFIX)

# by all names of an environment: what picks the values that count, and what they came to
_picking: dict[tuple, tuple] = {}
_configurations: dict[tuple, dict[tuple, "Configuration"]] = {}


class Configuration:
    """What the variables of one section come to; one object for each set of names and values.

    :ivar variables: the variables by their names.
    :ivar refused: names that ask for a directive which the runtime has not got.
    :ivar nameless: phases before the content that are set and name no handler.
    :ivar debugger: whether handlers run in pdb, if httpd runs as one process.
    :ivar is_plain: whether there is nothing to do but to run PythonHandler.
    :ivar pairs: (name, value) of each PythonOption that comes from no file.
    :ivar option_files: name and path of each PythonOptionFile.
    :ivar python_path: the text of PythonPath, empty for none.
    :ivar request_rec: whether requests read Apache's own structures.
    :ivar autoreload: whether changed modules are read again.
    :ivar found: what dispatch has found of the handlers; it is its own.
    """

    __slots__ = (
        *("autoreload", "debugger", "found", "is_plain", "nameless", "option_files", "pairs"),
        *("python_path", "refused", "request_rec", "variables"),
    )

    def __init__(self, variables: dict[str, str]):
        handler = variables.pop(_REQUEST_HANDLER, None)
        self.variables = variables
        self.refused = [name for name in variables if _is_unsupported(name)]
        self.refused += _undeclared(variables)
        self.nameless = [
            name for name in (*BEFORE, HANDLER_MODULE) if _is_nameless(variables, name)
        ]
        has_more = any(variables.get(name) for name in _MORE)
        is_refused = self.refused or self.nameless
        self.is_plain = not (has_more or is_refused or handler == FILES_ONLY)
        self.pairs = tuple(
            (name[_PREFIX_LENGTH:], _decoded(value))
            for name, value in variables.items()
            if value and name.startswith(OPTION_PREFIX) and name not in _OF_APACHE
        )
        self.option_files = tuple(
            (name[len(FILE_PREFIX) :], path)
            for name, path in variables.items()
            if path and name.startswith(FILE_PREFIX)
        )
        self.python_path = variables.get("PythonPath", "")
        self.autoreload = _switch(variables.get("PythonAutoReload"), True)
        self.debugger = _switch(variables.get("PythonEnablePdb"), False)
        self.request_rec = _switch(variables.get(f"{OPTION_PREFIX}mod_python.request_rec"), False)
        self.found: dict = {}


def configuration(environ: dict) -> Configuration:
    """Return the configuration of a request."""
    all_names = tuple(environ)
    picking = _picking.get(all_names)
    if picking is None:
        picking = _pick(all_names)
    names, pick, kept = picking
    values = pick(environ)
    found = kept.get(values)
    if found is None:
        if len(kept) >= _MOST:
            kept.clear()
        found = kept[values] = Configuration(dict(zip(names, values, strict=True)))
    return found


def _pick(all_names: tuple[str, ...]) -> tuple:
    """Return the names that count, what picks their values, and the configurations of those."""
    if len(_picking) >= _MOST_NAMES:
        _picking.clear()
    if len(_configurations) >= _MOST_NAMES:
        _configurations.clear()
    names = tuple(
        [name for name in all_names if name[:6].lower() == "python" or name == _REQUEST_HANDLER]
    )
    pick = operator.itemgetter(*names) if len(names) > 1 else _picker(names)
    picking = names, pick, _configurations.setdefault(names, {})
    _picking[all_names] = picking
    return picking


def _picker(names):
    # itemgetter of one name returns no tuple
    return lambda environ: tuple([environ[name] for name in names])


def get_options(environ: dict) -> Table:
    """Return the table of PythonOption; an option set to nothing is not in it.

    :raises OSError: if the file of a PythonOptionFile cannot be read.
    """
    return Table.trusted(pairs(environ))


def pairs(environ: dict) -> tuple[tuple[str, str], ...]:
    """Return (name, value) of each PythonOption, as a key to what such options come to.

    :raises OSError: if the file of a PythonOptionFile cannot be read.
    """
    found = configuration(environ)
    if not found.option_files:
        return found.pairs
    read = [(name, _first_line(path)) for name, path in found.option_files]
    return (*found.pairs, *read)


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
    """Return the table of the other directives in force, without handlers, as mod_python's.

    PythonDebug is there only when it is on, as ``1``.
    """
    variables = configuration(environ).variables
    config = []
    for name in _SWITCHES:
        value = variables.get(name)
        if not value:
            continue
        if name != "PythonPath":
            value = str(int(_switch(value, False)))
            if name == "PythonDebug" and value == "0":
                continue
        config.append((name, value))
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
    # tracebacks are for nobody but those who asked for them
    return _switch(environ.get("PythonDebug"), False)


def is_directive(name: str) -> bool:
    """Return whether the variable *name* is configuration, and not the request's environment."""
    return name in DIRECTIVES or name.startswith(
        (OPTION_PREFIX, FILE_PREFIX, SERVER_PREFIX, ERROR_PREFIX, *FILTER_PREFIXES)
    )


def _switch(value: str | None, default: bool) -> bool:
    try:
        return kinds.flag(value) if value else default
    except ValueError:
        return default


def _is_unsupported(name: str) -> bool:
    """Return whether a variable asks for a directive which the runtime has not got.

    That is every name that begins with ``Python`` and is not known here, and one that spells a
    directive in other letters, as Apache's own directives may be spelled. A request with such a
    variable must not be answered: it may be the one that keeps strangers out.
    """
    if name.startswith("Python"):
        return not is_directive(name)
    # PYTHONPATH is a variable of Python's own
    lowered = name.lower()
    return lowered.partition(".")[0] in _KNOWN_NAMES or (
        lowered == "pythonpath" and name != "PYTHONPATH"
    )


def filters_in_place(variables: dict[str, str], kind: str) -> list[tuple[str, tuple[str, ...]]]:
    """Return (name, extensions) of the filters of a *kind*, Input or Output, in their order."""
    found: list[tuple[str, tuple[str, ...]]] = [
        (name, ())
        for part in variables.get(f"PythonSet{kind}Filter", "").split()
        for name in part.split(";")
        if name
    ]
    for part in variables.get(f"PythonAdd{kind}Filter", "").split(" ; "):
        words = part.split()
        if words:
            found += [(name, tuple(words[1:])) for name in words[0].split(";") if name]
    return [(name.lower(), extensions) for name, extensions in found]


def _is_nameless(variables: dict[str, str], phase: str) -> bool:
    """Return whether a phase is set to lists of handlers of which one is empty.

    It may be the phase that keeps strangers out, so that the request must not be answered.
    """
    value = variables.get(phase)
    if value is None:
        return False
    return not all(one.partition("|")[0].strip() for one in value.split(" ; "))


def _undeclared(variables: dict[str, str]) -> list[str]:
    """Return directives that put filters in place which no other declares."""
    missing = []
    for kind in ("Input", "Output"):
        declared = {
            name.removeprefix(f"Python{kind}Filter.").lower()
            for name in variables
            if name.startswith(f"Python{kind}Filter.")
        }
        if any(name not in declared for name, _ in filters_in_place(variables, kind)):
            missing.append(f"PythonSet{kind}Filter")
    return missing
