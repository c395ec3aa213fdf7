"""Lists of handlers: from the text of PythonHandler, or of another phase, to one result.

The text is a list of handlers, with a list of extensions after a bar if they are for those only::

    module   module::object   module::object.attribute   module::object | .ext .ext2
    module | .ext ; module2 module3 | .ext2 ; module4

Several lists are parted by a semicolon between spaces; for a file whose extension has a list, the
others are not run. As in mod_python, the extension of a file is all of its name from the first dot
on. Without an object it is named after the phase: ``handler``, ``accesshandler`` ... A class on the
way to an attribute is made an instance with the request as its argument, for each request.

Handlers of a list run in order while they return what lets their phase go on; the first other
result is the result of the list. Objects are kept until a file of theirs changes, see
:mod:`.importer`.
"""

import contextlib
import os
from time import monotonic
from typing import NamedTuple

from . import importer, options
from .constants import DECLINED, OK
from .importer import TwoModules
from .server_configuration import exists_config_define

_FURTHER = {
    **dict.fromkeys(options.PHASES, (DECLINED, OK)),
    **dict.fromkeys(
        (f"Python{name}Handler" for name in ("Trans", "Authen", "Authz", "Type")), (DECLINED,)
    ),
    **dict.fromkeys((options.CONTENT, options.CLEANUP), (OK,)),
}


class SERVER_RETURN(Exception):
    """Raised by a handler to end with ``SERVER_RETURN(result)``.

    ``SERVER_RETURN(result, status)`` also sets the status of the response, unless it is None or 0;
    the result is then usually ``DONE``.
    """


class Step(NamedTuple):
    """One handler of a list.

    :ivar spec: its text.
    :ivar extensions: the extensions that it is for, none for all files.
    :ivar call: the function; None if it is looked for when its turn comes.
    :ivar directory: the directory of its section, empty for none.
    :ivar silent: whether its module may have no such object.
    """

    spec: str
    extensions: tuple[str, ...]
    call: object
    directory: str
    silent: bool = False


class Handlers:
    """``req.hlist``: the list that runs, at the handler whose turn it is.

    :ivar steps: the handlers.
    :ivar place: number of the one whose turn it is.
    """

    __slots__ = ("place", "steps")

    def __init__(self, steps: tuple[Step, ...]):
        self.steps = steps
        self.place = 0

    @property
    def step(self) -> Step | None:
        """The handler whose turn it is, None at the end."""
        return self.steps[self.place] if self.place < len(self.steps) else None

    @property
    def handler(self) -> str | None:
        """Text of the handler, None at the end."""
        step = self.step
        return None if step is None else step.spec

    @property
    def directory(self) -> str | None:
        """Directory of the section that names the handler, None if it is that of no directory."""
        step = self.step
        return None if step is None else os.fsdecode(step.directory.encode("latin-1")) or None

    @property
    def is_location(self) -> int:
        """1 if the section is that of no directory, else 0."""
        return int(not self.directory)

    @property
    def silent(self) -> int:
        """1 if the handler's module may lack the object, as for PythonHandlerModule, else 0."""
        step = self.step
        return int(step is not None and step.silent)

    def next(self) -> None:
        """Go to the next handler."""
        self.place += 1


class HandlerError(Exception):
    """Raised when a handler cannot be found, or fails; its cause is the fault itself.

    :param directive: the phase, or the name of a filter.
    :param spec: text of the handler.
    """

    def __init__(self, directive: str, spec: str):
        super().__init__(f"{directive} {spec}")
        self.spec = spec


class HandlerMissing(Exception):
    """Raised when there is no such module; the message says what an admin can do about it."""


def run_list(request, configuration: options.Configuration, phase: str) -> int | None:
    """Run the handlers of a *phase*; return the result of the list, None if it is empty.

    There may be none for this file's extension, and ``PythonHandlerModule`` may have none.

    :raises HandlerError: for whatever a handler raises, or if it returns something other than int.
    :raises HandlerMissing: for a module that is not there.
    """
    kept = configuration.found.get(phase)
    if kept is None:
        steps = _resolved(configuration, phase)
    else:
        steps, place, generation = kept
        if configuration.autoreload and monotonic() >= place.look_at:
            place.check()
        if generation != place.generation:
            steps = _resolved(configuration, phase)
    if steps and steps[-1].extensions:
        steps = _for_extension(steps, request)
    if request.added_handlers:
        steps += request.added_handlers.get(phase, ())
    further = _FURTHER[phase]
    request.hlist = handlers = Handlers(steps)
    result = None
    while handlers.place < len(handlers.steps):
        step = handlers.steps[handlers.place]
        try:
            call = step.call or _find(step, phase, configuration)
            if call is not None:
                result = call(request)
                if result.__class__ is not int:
                    raise _not_int(result)
        except SERVER_RETURN as error:
            result = _returned(error, phase, step.spec, request)
        except (HandlerError, HandlerMissing):
            # of a handler that was just looked for, or of a filter
            raise
        except BaseException as error:
            raise HandlerError(phase, step.spec) from error
        if result not in further and result is not None:
            break
        handlers.place += 1
    return result


def parse_handlers(value: str) -> tuple[list[str], tuple[str, ...]]:
    """Return the handlers and the extensions that the text of PythonHandler names."""
    names, _, extensions = value.partition("|")
    return names.split(), tuple(extensions.split())


def parse_lists(value: str) -> list[tuple[list[str], tuple[str, ...]]]:
    """Return the lists that a text holds, those with extensions last."""
    lists = [parse_handlers(one) for one in value.split(" ; ")]
    return sorted(lists, key=lambda one: bool(one[1]))


def find_handler(spec: str, default: str = "handler", place: importer.Place | None = None):
    """Return the callable that one handler's text names, importing its module.

    :param default: the object, if the text names none.
    :param place: where the module is looked for first.
    :raises ImportError: or whatever the module raises.
    :raises AttributeError: if the module has no such object.
    """
    module_name, _, path = spec.partition("::")
    module = (place or importer.place_at(())).import_module(module_name)
    found = module
    names = (path or default).split(".")
    for number, name in enumerate(names):
        try:
            found = getattr(found, name)
        except AttributeError:
            file = getattr(module, "__file__", module_name)
            raise AttributeError(f"module {file!r} contains no {path or default!r}") from None
        if isinstance(found, type) and number < len(names) - 1:
            return _method_of_new_object(found, names[number + 1 :])
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


def _for_extension(steps, request):
    name = os.path.basename(request.filename or "")
    dot = name.find(".")
    extension = name[dot:] if dot >= 0 else ""
    own = tuple(step for step in steps if extension and extension in step.extensions)
    if own:
        request.extension = extension
    return own or tuple(step for step in steps if not step.extensions)


def _resolved(configuration, phase):
    variables = configuration.variables
    directory = variables.get(f"{phase}.directory", "")
    place = _place_of(directory, configuration, variables.get(phase, ""))
    generation = place.generation
    steps = []
    if variables.get(phase):
        for names, extensions in parse_lists(variables[phase]):
            for name in names:
                step = Step(name, extensions, None, directory)
                # what can't be found is an error when its turn comes, if it comes
                with contextlib.suppress(HandlerError, HandlerMissing):
                    step = step._replace(call=_find(step, phase, configuration))
                steps.append(step)
    for name in variables.get(options.HANDLER_MODULE, "").split():
        own = variables.get(f"{options.HANDLER_MODULE}.directory", "")
        step = Step(name, (), None, own, True)
        call = _find(step, phase, configuration)
        if call is not None:
            steps.append(step._replace(call=call))
    steps.sort(key=lambda step: bool(step.extensions))
    configuration.found[phase] = tuple(steps), place, generation
    return tuple(steps)


def _place_of(directory, configuration, spec):
    try:
        return importer.place_of(directory, configuration.python_path)
    except BaseException as error:
        raise HandlerError("PythonPath", spec) from error


def _find(step, phase, configuration):
    """Return the function of a step; None for one that its module may lack."""
    place = _place_of(step.directory, configuration, step.spec)
    default = phase[len("Python") :].lower()
    try:
        call = find_handler(step.spec, default, place)
    except TwoModules as error:
        raise HandlerMissing(f"{phase} {step.spec}: {error}") from error
    except ModuleNotFoundError as error:
        raise _missing(phase, step.spec, error) from error
    except AttributeError as error:
        if step.silent and place.import_module(step.spec.partition("::")[0]):
            return None
        raise HandlerError(phase, step.spec) from error
    except BaseException as error:
        raise HandlerError(phase, step.spec) from error
    if call is None and not step.silent:
        raise HandlerError(phase, step.spec) from TypeError(f"{step.spec} is None, no handler")
    if configuration.debugger and exists_config_define("ONE_PROCESS"):
        import pdb

        return lambda request: pdb.Pdb().runcall(call, request)
    return call


def _missing(phase: str, spec: str, error: ModuleNotFoundError) -> Exception:
    """Return what to raise for a module that is not there: the handler's, or one that it imports"""
    module = spec.partition("::")[0]
    if error.name is not None and f"{module}.".startswith(f"{error.name}."):
        return HandlerMissing(
            f"{phase} {spec}: no module {error.name} on Python's path; add its directory: "
            f"""SetEnv PythonPath "['/its/directory'] + sys.path\""""
        )
    return HandlerError(phase, spec)


def _returned(error, phase, spec, request):
    if not 1 <= len(error.args) <= 2:
        raise HandlerError(phase, spec) from error
    result = error.args[0]
    if result.__class__ is not int:
        raise HandlerError(phase, spec) from _not_int(result)
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
