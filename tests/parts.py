"""Which tests belong to which part of the suite, told by what their code names."""

import functools
import inspect
import itertools
import pathlib
import sys
import types

import pytest

from tests.servers.httpd import has_mod_python, make_images_table

# what tests.servers has that starts nothing; a test that takes a free port gives it to a server
_HARMLESS = (has_mod_python, make_images_table)
# the code of functions that lead to no server
_names_none: set[types.CodeType] = set()
_TESTS = pathlib.Path(__file__).parent
_SERVERS = _TESTS / "servers"
_ON_MOD_PYTHON = ("mod_python", "handlers-mod_python", "handlers-mod_python.conf")


def is_no_unit_test(item: pytest.Item) -> bool:
    """Tell whether a test is left out of the quick part, by its marker or as it starts a server."""
    marked = any(item.get_closest_marker(name) for name in ("slow", "stress", "root"))
    return marked or starts_a_server(item)


def is_wholly_slow(path: pathlib.Path) -> bool:
    """Tell whether a file of tests says that all of them are slow."""
    return "\npytestmark = pytest.mark.slow\n" in path.read_text(encoding="utf-8")


def starts_a_server(item: pytest.Item) -> bool:
    """Tell whether a test starts a server: it has the marker ``server``, or its code names one.

    The code is the test's function, its fixtures', and the functions of the tests that these name.
    """
    if item.get_closest_marker("server"):
        return True
    fixtures = item._fixtureinfo.name2fixturedefs.values()
    functions = [item.function, *(definitions[-1].func for definitions in fixtures)]
    return any(_names_a_server(inspect.unwrap(function)) for function in functions)


def needs_mod_python(item: pytest.Item) -> bool:
    """Tell whether a test runs handlers on mod_python: by a parameter, or its marker."""
    callspec = getattr(item, "callspec", None)
    values = callspec.params.values() if callspec else ()
    if item.get_closest_marker("mod_python"):
        return True
    words = itertools.chain.from_iterable(
        value if isinstance(value, tuple) else (value,) for value in values
    )
    named = any(isinstance(word, str) and word in _ON_MOD_PYTHON for word in words)
    return named and starts_a_server(item)


@functools.cache
def _names_a_server(function) -> bool:
    seen: set[types.CodeType] = set()
    functions = [function]
    while functions:
        function = functions.pop()
        code = getattr(function, "__code__", None)
        if not isinstance(function, types.FunctionType) or code in seen or code in _names_none:
            continue
        seen.add(code)
        for name in _names(code):
            named = function.__globals__.get(name)
            if named is None:
                continue
            parts = named.mro() if isinstance(named, type) else [named]
            if any(_SERVERS in _place(part).parents for part in parts) and named not in _HARMLESS:
                return True
            if _TESTS in _place(named).parents:
                parts = vars(named).values() if isinstance(named, type) else [named]
                functions += (inspect.unwrap(part) for part in parts if callable(part))
    _names_none.update(seen)
    return False


def _place(named) -> pathlib.Path:
    """Return the file that *named* comes from."""
    return _file(getattr(named, "__module__", None) or "")


@functools.cache
def _file(module: str) -> pathlib.Path:
    return pathlib.Path(getattr(sys.modules.get(module), "__file__", None) or "/")


def _names(code):
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)
