"""What a function assigns to a local name, found in its code without calling it.

mod_python's publisher takes ``__auth__``, ``__access__`` and ``__auth_realm__`` from there::

    def page(req):
        def __auth__(req, user, password):
            return password == "opensesame"

        __access__ = ["ann", "bob"]
"""

import dis
import types
from functools import lru_cache

#: what is found for a value that only a call of the function would make
UNKNOWN = object()
_ABSENT = object()


def names(function: types.FunctionType) -> tuple[str, ...]:
    """Return the names that are local to *function*, its parameters among them."""
    code = function.__code__
    return code.co_varnames + code.co_cellvars


def assigned(function: types.FunctionType, name: str, default=None):
    """Return what *function* assigns to its local *name*, *default* if it does not.

    Constants, displays of constants (``["a", "b"]``, ``{"a": "b"}``) and functions that take
    nothing from the function around them are found; :data:`UNKNOWN` is what else is assigned.
    """
    if name not in names(function):
        return default
    found = _assigned(function.__code__, name)
    if found is _ABSENT:
        return default
    if isinstance(found, types.CodeType):
        if found.co_freevars:
            return UNKNOWN
        return types.FunctionType(found, function.__globals__)
    return found


@lru_cache(maxsize=256)
def _assigned(code, name):
    found = _ABSENT
    stack: list = []
    for step in dis.get_instructions(code):
        if step.opname.startswith("STORE_") and _stores(step, name):
            simple = step.argval == name and stack and found is _ABSENT
            found = stack.pop() if simple else UNKNOWN
        elif not _run(step, stack):
            stack.clear()
    return found


def _stores(step, name):
    # two stores in one step have both names
    return step.argval == name or (isinstance(step.argval, tuple) and name in step.argval)


def _run(step, stack) -> bool:
    """Do with the values on the *stack* what *step* does; False if that is not known."""
    count = step.arg
    match step.opname:
        case "LOAD_CONST" | "LOAD_SMALL_INT":
            stack.append(step.argval)
        case "RESUME" | "NOP" | "EXTENDED_ARG" | "MAKE_CELL" | "CACHE":
            pass
        case "MAKE_FUNCTION" if not count:
            # the code stands for it
            return bool(stack) and isinstance(stack[-1], types.CodeType)
        case "BUILD_LIST" | "BUILD_TUPLE" | "BUILD_SET" if count <= len(stack):
            kind = {"L": list, "T": tuple, "S": set}[step.opname[6]]
            _replace(stack, count, kind)
        case "BUILD_MAP" if 2 * count <= len(stack):
            _replace(
                stack, 2 * count, lambda parts: dict(zip(parts[::2], parts[1::2], strict=True))
            )
        case "BUILD_CONST_KEY_MAP" if count < len(stack):
            _replace(stack, count + 1, lambda parts: dict(zip(parts[-1], parts[:-1], strict=True)))
        case "LIST_EXTEND" | "SET_UPDATE" if count == 1 and len(stack) > 1:
            _replace(stack, 2, lambda parts: type(parts[0])((*parts[0], *parts[1])))
        case _:
            return False
    return True


def _replace(stack, count, make):
    parts = stack[len(stack) - count :]
    stack[len(stack) - count :] = [make(parts)]
