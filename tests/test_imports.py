"""Imports run one way, so that every part can be read and used without what stands above it."""

import ast
import pathlib
import re

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / "handlers"
# statements that import, and what merely looks like one
IMPORTS = re.compile(r"(?m)^[ \t]*(?:from|import)[ \t][^(\n]*(?:\([^)]*\))?")

# Each part, and the parts of the package it may import besides itself.
ALLOWED = {
    "access": set(),
    "errors": set(),
    "counters": {"locks", "state_directory"},
    "html": {"errors", "image", "names", "settings", "signing"},
    "status": {
        "counting",
        "access",
        "cache",
        "counters",
        "errors",
        "image",
        "locks",
        "lookup",
        "maker",
        "mod_python",
        "runtime",
        "sending",
        "sessions",
        "settings",
        "source",
        "state_directory",
    },
    "faults": {"counters", "errors"},
    "kinds": set(),
    "locks": {"errors"},
    "state_directory": set(),
    "invalidation": {"state_directory"},
    "restart": set(),
    "stop": set(),
    "names": set(),
    "options": {"database", "image", "kinds", "signing"},
    "settings": {"access", "errors", "kinds", "options"},
    "source": {"access"},
    "image": set(),
    "database": {"access", "errors", "kinds"},
    "lookup": {
        "counters",
        "access",
        "database",
        "elected",
        "errors",
        "faults",
        "invalidation",
        "kinds",
        "locks",
        "names",
        "options",
        "restart",
        "settings",
        "state_directory",
    },
    "sessions": {
        "access",
        "counters",
        "counting",
        "database",
        "elected",
        "errors",
        "faults",
        "kinds",
        "locks",
        "settings",
        "signing",
    },
    "configuration": set(),
    "runtime": {"configuration", "errors", "faults", "kinds", "locks", "settings"},
    "mod_python": {"errors", "runtime", "sessions", "settings", "signing"},
    "elected": {"counters", "faults", "locks", "stop"},
    "cache": {
        "access",
        "database",
        "elected",
        "errors",
        "faults",
        "invalidation",
        "locks",
        "names",
        "restart",
        "settings",
        "state_directory",
    },
    "signing": {"names"},
    "worker": {"stop"},
    "error_picture": {"access", "faults", "image"},
    "maker": {"faults", "image", "state_directory", "stop", "worker"},
    "ahead": {
        "access",
        "cache",
        "counters",
        "errors",
        "faults",
        "image",
        "lookup",
        "maker",
        "making",
        "source",
        "stop",
        "worker",
    },
    "making": {
        "counters",
        "cache",
        "image",
        "lookup",
        "maker",
        "names",
        "settings",
        "source",
        "worker",
    },
    "drop_in": {"runtime", "settings"},
    "sending": {
        "counters",
        "counting",
        "drop_in",
        "errors",
        "faults",
        "mod_python",
        "runtime",
        "sessions",
        "settings",
        "source",
    },
    # duties, the runtime and settings when they are needed, see tests/test_child.py
    "child": {"counting", "duties", "mod_python", "receipt", "runtime", "settings", "stop"},
    "counting": {
        "counters",
        "elected",
        "errors",
        "faults",
        "locks",
        "settings",
        "state_directory",
    },
    "receipt": set(),
    "duties": {
        "access",
        "cache",
        "counting",
        "faults",
        "lookup",
        "mod_python",
        "receipt",
        "runtime",
        "names",
        "settings",
        "source",
        "state_directory",
        "stop",
    },
    "htpasswd": {"faults"},
    "page": {"html", "image", "names"},
    "origin": {"sessions"},
    "throttle": {"locks"},
    "visitor": {
        "access",
        "faults",
        "htpasswd",
        "mod_python",
        "runtime",
        "names",
        "origin",
        "page",
        "sending",
        "sessions",
        "settings",
        "throttle",
    },
    "gallery": {
        "errors",
        "faults",
        "image",
        "lookup",
        "mod_python",
        "runtime",
        "names",
        "page",
        "sending",
        "settings",
        "visitor",
    },
    "original": {
        "faults",
        "lookup",
        "mod_python",
        "runtime",
        "names",
        "sending",
        "settings",
        "source",
        "visitor",
    },
    "thumbnail": {
        "counters",
        "access",
        "ahead",
        "cache",
        "child",
        "error_picture",
        "faults",
        "image",
        "locks",
        "lookup",
        "making",
        "mod_python",
        "runtime",
        "names",
        "options",
        "sending",
        "settings",
        "signing",
        "source",
        "visitor",
        "worker",
    },
    "commands": {
        "access",
        "errors",
        "configuration",
        "convert",
        "options",
        "kinds",
        "elected",
        "cache",
        "database",
        "image",
        "invalidation",
        "locks",
        "lookup",
        "making",
        "mod_python",
        "runtime",
        "names",
        "sessions",
        "settings",
        "signing",
        "source",
        "state_directory",
        "worker",
    },
    "convert": {"configuration", "mod_python", "runtime"},
    "__main__": {"commands"},
    "wheel": set(),
    "quickstart": {
        "cache",
        "database",
        "errors",
        "htpasswd",
        "image",
        "lookup",
        "making",
        "names",
        "settings",
        "source",
        "state_directory",
        "worker",
    },
}


def parts():
    return sorted(path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir())


def imported_parts(part):
    path = PACKAGE / part
    files = path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]
    found = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            found |= {name.split(".")[1] for name in names if name.startswith("handlers.")}
    return found - {part}


@pytest.mark.parametrize("part", [p for p in parts() if p not in ("__init__", "__pycache__")])
def test_part_imports_only_what_lies_below_it(part):
    assert imported_parts(part) <= ALLOWED[part]


def test_only_the_runtime_is_imported_as_mod_python_by_handlers():
    """Below the handlers nobody knows of a request, so nobody names mod_python."""
    for part in ("locks", "settings", "source", "image", "lookup", "cache", "making"):
        path = PACKAGE / part
        files = path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]
        for file in files:
            assert "import mod_python" not in file.read_text()
            assert "from mod_python" not in file.read_text()


def test_no_test_imports_another():
    """What several tests need lies in a module of its own."""
    tests = pathlib.Path(__file__).parent
    for file in tests.rglob("*.py"):
        text = file.read_text()
        # parsing takes longer than all other tests of this file
        if "test_" not in "".join(IMPORTS.findall(text)):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", None) or "", *(each.name for each in node.names)]
                words = {word for name in names for word in name.split(".")}
                assert not any(word.startswith("test_") for word in words), (file, names)
