"""mod_python's API on mod_wsgi: handlers written for mod_python run unchanged.

Everything is answered from the WSGI environment, so it works in embedded and in daemon mode, with
one thread or many. What the environment does not tell (the rest of Apache's ``request_rec``) is not
there: such an attribute raises AttributeError, it never answers None for something unknown.

The modules carry mod_python's own names where it has them: :mod:`.apache` is what handlers import.
What the WSGI entry script imports is :mod:`handlers.runtime.entry`.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys

from .version import version as mp_version

__all__ = [
    "apache",
    "cgihandler",
    "install_as_mod_python",
    "is_real",
    "mp_version",
    "psp",
    "publisher",
    "util",
    "version",
]

_OTHER_NAME = "mod_python"
_EXTENSION = "_apache"


def is_real() -> bool:
    """Return whether this process runs real mod_python, whose extension module it has."""
    if _EXTENSION in sys.builtin_module_names:
        return True
    found = sys.modules.get(_EXTENSION)
    return found is not None and found is not sys.modules.get(f"{__name__}.{_EXTENSION}")


class _SameModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Answer ``import mod_python.x`` with the module object ``handlers.mod_python.x``."""

    def find_spec(self, fullname, path=None, target=None):
        """Return a spec for a module of this package, None for any other name."""
        package, _, rest = fullname.partition(".")
        if fullname == _EXTENSION:
            rest = _EXTENSION
        elif package != _OTHER_NAME or not rest:
            return None
        original = importlib.util.find_spec(f"{__name__}.{rest}")
        if original is None:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=False)

    def create_module(self, spec):
        """Import the module under its own name and hand out that very object."""
        module = importlib.import_module(f"{__name__}.{spec.name.rpartition('.')[2]}")
        # the import system is about to write the alias's spec into the module
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module):
        """Give the module, which has run already, its own spec back."""
        module.__spec__ = module.__spec__.loader_state


def install_as_mod_python() -> None:
    """Make ``mod_python`` and ``mod_python.x`` name the modules of this package.

    They are the same objects, not copies: a class is one class by whichever name it is reached.
    ``_apache``, mod_python's extension module, is there, too. Calling it again changes nothing.
    Inside real mod_python it does nothing at all, so that a handler module may call it on both
    servers.
    """
    if is_real():
        return
    sys.modules[_OTHER_NAME] = sys.modules[__name__]
    if not any(isinstance(finder, _SameModules) for finder in sys.meta_path):
        sys.meta_path.insert(0, _SameModules())
