"""PythonHandler: from its text to the handlers, and from their results to one result.

The text is a list of handlers, with a list of extensions after a bar if they are for those only::

    module   module::object   module::object.attribute   module::object | .ext .ext2
    module | .ext ; module2 module3 | .ext2 ; module4

Several lists are parted by a semicolon between spaces; for a file whose extension has a list, the
others are not run.

Without an object it is ``handler``. A class on the way to an attribute is made an instance with the
request as its argument, for each request. Handlers run in order while they return OK; the first
other result is the result of the whole list. The objects found are kept by the text, so a module
that changes is not read again before the process ends, as with real mod_python on Python 3.
"""

import importlib
import logging
import os
import sys
import threading
from typing import NamedTuple

from .constants import DECLINED, HTTP_INTERNAL_SERVER_ERROR, OK
from .log import log_once
from .options import unsupported

_logger = logging.getLogger(__name__)
_resolved: dict[tuple[str, str, str], tuple] = {}
_python_paths: set[str] = set()
_python_path_lock = threading.Lock()


class SERVER_RETURN(Exception):
    """Raised by a handler to end with ``SERVER_RETURN(result)``.

    ``SERVER_RETURN(result, status)`` also sets the status of the response, unless it is None or 0;
    the result is then usually ``DONE``.
    """


class Step(NamedTuple):
    """One handler of the list: its text, its extensions and the callable."""

    spec: str
    extensions: tuple[str, ...]
    call: object


class HandlerError(Exception):
    """Raised when a handler cannot be found, or fails; its cause is the fault itself."""

    def __init__(self, spec: str):
        super().__init__(f"PythonHandler {spec}")
        self.spec = spec


class HandlerMissing(Exception):
    """Raised when there is no such module; the message says what an admin can do about it."""


def run(request, environ: dict) -> int:
    """Run the handlers of PythonHandler; return what the list comes to.

    ``DECLINED`` if there are none, or none for this file's extension. 500 and one line in the log
    of this process for a directive that is not supported, and for a module that is not there.

    :raises HandlerError: for whatever a handler raises, or if it returns something other than int.
    """
    refused = unsupported(environ)
    if refused:
        log_once(
            _logger,
            f"SetEnv {' '.join(refused)} is not supported on mod_wsgi: what it would do is not "
            f"done, so the request is refused; remove it, or see Differences in README",
        )
        return HTTP_INTERNAL_SERVER_ERROR
    result = DECLINED
    try:
        steps = _steps(environ)
    except HandlerMissing as error:
        log_once(_logger, str(error))
        return HTTP_INTERNAL_SERVER_ERROR
    if steps and steps[-1].extensions:
        steps = _for_extension(steps, request)
    for step in steps:
        try:
            result = step.call(request)
            if result.__class__ is not int:
                raise _not_int(result)
        except SERVER_RETURN as error:
            result = _returned(error, step.spec, request)
        except BaseException as error:
            raise HandlerError(step.spec) from error
        if result != OK:
            break
    return result


def parse_handlers(value: str) -> tuple[list[str], tuple[str, ...]]:
    """Return the handlers and the extensions that the text of PythonHandler names."""
    names, _, extensions = value.partition("|")
    return names.split(), tuple(extensions.split())


def parse_lists(value: str) -> list[tuple[list[str], tuple[str, ...]]]:
    """Return the lists that a text holds, those with extensions last."""
    lists = [parse_handlers(one) for one in value.split(" ; ")]
    return sorted(lists, key=lambda one: bool(one[1]))


def find_handler(spec: str):
    """Return the callable that one handler's text names, importing its module.

    :raises ImportError: or whatever the module raises.
    :raises AttributeError: if the module has no such object.
    """
    module_name, _, path = spec.partition("::")
    module = importlib.import_module(module_name)
    found = module
    names = (path or "handler").split(".")
    for place, name in enumerate(names):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise AttributeError(f"module {module.__file__!r} contains no {path!r}") from None
        if isinstance(found, type) and place < len(names) - 1:
            return _method_of_new_object(found, names[place + 1 :])
    return found


def resolve_object(module, obj_str: str, arg=None, silent: int = 0):
    """Return the object that the names in *obj_str*, joined by dots, lead to from *module*.

    A class on the way is made an instance with *arg* as its argument: a request or a filter.

    :param silent: return None for a name that is not there.
    :raises AttributeError: for a name that is not there.
    """
    found = module
    for place, name in enumerate(obj_str.split(".")):
        if isinstance(found, type):
            found = found(arg)
        try:
            found = getattr(found, name)
        except AttributeError:
            if silent:
                return None
            if place:
                raise
            file = getattr(module, "__file__", module)
            raise AttributeError(f"module {file!r} contains no {name!r}") from None
    return found


def use_python_path(value: str) -> None:
    """Make the list expression *value* of PythonPath ``sys.path``; once for each distinct text.

    As in mod_python, ``sys`` and ``os`` are known in it.

    :raises TypeError: if it is not a list.
    """
    with _python_path_lock:
        if value in _python_paths:
            return
        path = eval(value, {"sys": sys, "os": os})
        if not isinstance(path, list):
            raise TypeError(f"PythonPath is not a list: {value}")
        sys.path[:] = path
        _python_paths.add(value)


def look_in(directory: str) -> None:
    """Find modules in the directory of a section, as mod_python does where no PythonPath holds.

    :param directory: as SetEnv gives it, empty for none.
    """
    if directory:
        directory = os.fsdecode(directory.encode("latin-1"))
        with _python_path_lock:
            if directory not in sys.path:
                sys.path.insert(0, directory)


def _for_extension(steps, request):
    extension = os.path.splitext(request.filename)[1]
    own = [step for step in steps if extension and extension in step.extensions]
    if own:
        request.extension = extension
    return own or [step for step in steps if not step.extensions]


def _steps(environ):
    key = (
        environ.get("PythonHandler", ""),
        environ.get("PythonPath", ""),
        environ.get("PythonHandler.directory", ""),
    )
    steps = _resolved.get(key)
    if steps is None:
        steps = _resolved[key] = _resolve(*key)
    return steps


def _resolve(handlers, python_path, directory):
    steps = []
    for names, extensions in parse_lists(handlers):
        for name in names:
            try:
                if python_path:
                    use_python_path(python_path)
                else:
                    look_in(directory)
                steps.append(Step(name, extensions, find_handler(name)))
            except ModuleNotFoundError as error:
                raise _missing(name, error) from error
            except BaseException as error:
                raise HandlerError(name) from error
    return tuple(steps)


def _missing(spec: str, error: ModuleNotFoundError) -> Exception:
    """Return what to raise for a module that is not there: the handler's, or one that it imports"""
    module = spec.partition("::")[0]
    if error.name is not None and f"{module}.".startswith(f"{error.name}."):
        return HandlerMissing(
            f"PythonHandler {spec}: no module {error.name} on Python's path; add its directory: "
            f"""SetEnv PythonPath "['/its/directory'] + sys.path\""""
        )
    return HandlerError(spec)


def _returned(error, spec, request):
    if not 1 <= len(error.args) <= 2:
        raise HandlerError(spec) from error
    result = error.args[0]
    if result.__class__ is not int:
        raise HandlerError(spec) from _not_int(result)
    if len(error.args) == 2 and error.args[1]:
        request.status = error.args[1]
    return result


def _not_int(result):
    return TypeError(
        f"Handler has returned result or raised SERVER_RETURN with {type(result)}, not with an int"
    )


def _method_of_new_object(cls, names):
    def call(request):
        found = cls(request)
        for name in names:
            found = getattr(found, name)
        return found(request)

    return call
