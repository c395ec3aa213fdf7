"""Modules of handlers: found and kept apart by directory, and read again when they change.

A *place* is the directories that the section of a handler adds to Python's own: those of its
PythonPath, or its own directory where no PythonPath is in force. Code in a place sees the modules
of that place first, at each of its import statements, whatever another place of the same process
has imported by that name. So two directories, or two virtual hosts of one interpreter, may each
have a ``page.py``. The first module of a name is in ``sys.modules``, others are kept with their
place. A package whose name another place has taken is an error that names both.

Directories called ``site-packages`` and ``dist-packages`` are Python's own wherever they are:
nothing in them is kept apart or read again.
"""

import ast
import builtins
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import threading
import time
import types

# seconds between two looks at the files of a place, as in mod_python
_PAUSE = 1.0
# seconds that a thread waits for another one to run a module that both import
_PATIENCE = 10.0
_MOST_FILES = 4096
_OF_PYTHON = ("site-packages", "dist-packages")
_BASE = frozenset(os.path.abspath(directory) for directory in sys.path)
_SERVERS_OWN = "mod_wsgi"
_UNSEEN = object()
# what a module of a place has its place by, and is never a name of its own
_MARK = "__place_of_handlers__"

_lock = threading.RLock()
_places: dict[tuple[str, ...], "Place"] = {}
# of each directory the only place that has it, None if several have
_by_directory: dict[str, "Place | None"] = {}
# of each file whose code has imported something what _by_directory says, as of now
_by_file: dict[str, object] = {}
_python_paths: dict[str, tuple[str, ...]] = {}
_now = threading.local()
_original_import = builtins.__import__


class TwoModules(ImportError):
    """Raised for a package whose name another directory of this interpreter has taken."""


class Place:
    """The directories of a handler's section, and the modules found there.

    Safe in any number of threads.

    :ivar generation: a number that grows when modules have been forgotten because files changed.
    :ivar look_at: when :meth:`check` looks at the files again, by the monotonic clock.
    """

    def __init__(self, directories: tuple[str, ...]):
        self.directories = directories
        self.generation = 0
        self._modules: dict[str, types.ModuleType] = {}
        # modules that a thread runs at this moment
        self._running: dict[str, tuple[int, threading.Event]] = {}
        # of each file of this place that is in use: its module's name and its state
        self._files: dict[str, tuple[str, tuple | None]] = {}
        self._forgotten: set[str] = set()
        self.look_at = time.monotonic() + _PAUSE

    def import_module(self, name: str) -> types.ModuleType:
        """Import the module *name*, from this place if it is there; return the innermost one.

        :raises ImportError: and whatever the module raises.
        """
        own = self.find_own(name.partition(".")[0])
        if own is not None and "." not in name:
            return own
        return self.within(importlib.import_module, name)

    def check(self) -> None:
        """Forget modules whose files have changed, and those that import them."""
        now = time.monotonic()
        if now < self.look_at:
            return
        with _lock:
            self.look_at = now + _PAUSE
            changed = {name for path, (name, state) in self._files.items() if _state(path) != state}
            if changed:
                self._forget(changed)

    def find_own(self, name: str) -> types.ModuleType | None:
        """Return the module *name* kept with this place; None if Python's own import will do.

        :raises TwoModules: for a package whose name is taken.
        """
        kept = self._modules.get(name)
        if kept is not None:
            return self._when_run(name, kept)
        taken = sys.modules.get(name)
        if taken is None or not self.directories:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, self.directories)
        if spec is None or spec.origin is None or not _is_source(spec):
            return None
        file = getattr(taken, "__file__", None)
        if file == spec.origin or (file and _state(file) == _state(spec.origin)):
            return None
        if spec.submodule_search_locations is not None:
            if file and _is_of_python(file):
                # what Python itself has imported comes first, as it does on mod_python
                return None
            raise TwoModules(
                f"{spec.origin} and {file or 'a module of Python'} have one name, {name}, in one "
                "interpreter; give each site a WSGIApplicationGroup of its own, or rename one"
            )
        return self._run(name, spec.origin)

    def within(self, call, *arguments):
        """Call something whose imports are those of this place."""
        before = getattr(_now, "place", None)
        _now.place = self
        try:
            return call(*arguments)
        finally:
            _now.place = before

    def holds(self, path: str) -> bool:
        """Return whether a file lies in a directory of this place, and not in one of Python's."""
        return any(
            path.startswith(directory.rstrip("/") + "/") for directory in self.directories
        ) and not _is_of_python(path)

    def note(self, path: str, name: str) -> None:
        """Note that the file *path*, whose module is *name*, is about to be read."""
        self._files[path] = name, _state(path)

    def was_forgotten(self, name: str) -> bool:
        """Return whether the module *name* is read again."""
        return name in self._forgotten

    def _run(self, name: str, path: str) -> types.ModuleType:
        loader = _Loader(name, path, self)
        spec = importlib.util.spec_from_file_location(name, path, loader=loader)
        module = importlib.util.module_from_spec(spec)
        done = threading.Event()
        with _lock:
            # another thread may have come first
            kept = self._modules.get(name)
            if kept is None:
                # before others find the module
                self._running[name] = threading.get_ident(), done
                self._modules[name] = module
        if kept is not None:
            return self._when_run(name, kept)
        try:
            self.within(loader.exec_module, module)
        except BaseException:
            self._modules.pop(name, None)
            raise
        finally:
            self._running.pop(name, None)
            done.set()
        return module

    def _when_run(self, name: str, module: types.ModuleType) -> types.ModuleType | None:
        """Return a *module* that is kept when the thread that runs it has done so.

        If that has failed, it is run again, by this thread.
        """
        thread, done = self._running.get(name, (0, None))
        if thread == threading.get_ident():
            return module
        # not for ever: two threads may wait for each other
        is_over = done is None or done.wait(_PATIENCE)
        return self.find_own(name) if is_over and self._modules.get(name) is not module else module

    def _forget(self, changed: set[str]) -> None:
        importers: dict[str, set[str]] = {}
        for path, (name, _) in self._files.items():
            for imported in _imported(path, name):
                importers.setdefault(imported, set()).add(name)
        again: set[str] = set()
        while changed:
            again |= changed
            changed = set().union(*(importers.get(name, ()) for name in changed)) - again
        for path, (name, _) in list(self._files.items()):
            if name in again:
                del self._files[path]
                self._modules.pop(name, None)
                if getattr(sys.modules.get(name), "__file__", None) == path:
                    del sys.modules[name]
        self._forgotten |= again
        self.generation += 1
        importlib.invalidate_caches()


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module of a place."""

    def __init__(self, name, path, place):
        super().__init__(name, path)
        self._place = place

    def exec_module(self, module):
        self._place.note(self.path, self.name)
        setattr(module, _MARK, self._place)
        super().exec_module(module)

    def get_code(self, fullname):
        if self._place.was_forgotten(self.name):
            # compiled files tell changes by whole seconds
            return self.source_to_code(self.get_data(self.path), self.path)
        return super().get_code(fullname)


class _Finder(importlib.abc.MetaPathFinder):
    """Gives the modules of the place whose code imports them the place's own loader."""

    def find_spec(self, fullname, path=None, target=None):
        place = getattr(_now, "place", None)
        if place is None or not place.directories:
            return None
        where = place.directories if path is None else path
        spec = importlib.machinery.PathFinder.find_spec(fullname, where)
        if spec is None or not _is_source(spec) or not place.holds(spec.origin):
            return None
        spec.loader = _Loader(fullname, spec.origin, place)
        return spec


def place_of(directory: str, python_path: str) -> Place:
    """Return the place of a handler, and put its directories on ``sys.path``.

    :param directory: that of its section, as SetEnv gives it; empty for none. It counts where no
        PythonPath is in force, as in mod_python.
    :param python_path: the list expression of PythonPath; ``sys`` and ``os`` are known in it.
    :raises TypeError: if that is not a list.
    """
    if python_path:
        directories = use_python_path(python_path)
    elif directory:
        directories = (os.fsdecode(directory.encode("latin-1")),)
        with _lock:
            if directories[0] not in sys.path:
                sys.path[:0] = directories
    else:
        directories = ()
    return place_at(directories)


def place_at(directories) -> Place:
    """Return the place of some directories, without those that are Python's own."""
    global _by_file
    own = tuple(
        directory
        for directory in directories
        if isinstance(directory, str)
        and os.path.abspath(directory) not in _BASE
        and os.path.basename(directory.rstrip("/")) not in _OF_PYTHON
    )
    place = _places.get(own)
    if place is None:
        with _lock:
            place = _places.setdefault(own, Place(own))
            for directory in own:
                directory = directory.rstrip("/")
                taken = _by_directory.get(directory, place)
                _by_directory[directory] = place if taken is place else None
            # not cleared: who has looked before must not keep there what it found
            _by_file = {}
            if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
                sys.meta_path.insert(0, _Finder())
            if own:
                builtins.__import__ = _import
    return place


def use_python_path(value: str) -> tuple[str, ...]:
    """Make the list expression *value* of PythonPath ``sys.path``, once for each distinct text.

    :return: the list.
    :raises TypeError: if it is not a list.
    """
    with _lock:
        if value not in _python_paths:
            path = eval(value, {"sys": sys, "os": os})
            if not isinstance(path, list):
                raise TypeError(f"PythonPath is not a list: {value}")
            sys.path[:] = path
            _python_paths[value] = tuple(path)
        return _python_paths[value]


def _is_of_python(path: str) -> bool:
    return any(f"/{name}/" in path for name in _OF_PYTHON)


def place_of_code(globals: dict) -> Place | None:
    """Return the place of the code with these globals, None if it is of none, or of several."""
    place = globals.get(_MARK)
    if place is not None:
        return place
    file, known = globals.get("__file__"), _by_file
    if not isinstance(file, str):
        return None
    found = known.get(file, _UNSEEN)
    if found is _UNSEEN:
        if len(known) >= _MOST_FILES:
            known.clear()
        found = known[file] = _by_directory.get(os.path.dirname(file))
    return found


def _import(name, globals=None, locals=None, fromlist=(), level=0):
    """Do what ``import`` does; code of a place gets the place's own modules."""
    if name == _SERVERS_OWN and not level and name in sys.modules:
        # mod_wsgi asks for its own module a dozen times a request
        return sys.modules[name]
    place = place_of_code(globals) if globals else None
    if place is None:
        return _original_import(name, globals, locals, fromlist, level)
    if not level:
        own = place.find_own(name.partition(".")[0])
        if own is not None and "." not in name:
            return own
    return place.within(_original_import, name, globals, locals, fromlist, level)


def _imported(path: str, name: str) -> set[str]:
    """Return the modules that the file *path*, which is the module *name*, names in imports."""
    try:
        with open(path, "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError):
        return set()
    is_package = os.path.basename(path) == "__init__.py"
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = node.module or ""
            if node.level:
                package = name.split(".")
                package = package[: len(package) - node.level + is_package]
                start = ".".join([*package, *([node.module] if node.module else [])])
            found |= {start, *(f"{start}.{alias.name}" for alias in node.names)}
    return found


def _is_source(spec) -> bool:
    return isinstance(spec.loader, importlib.machinery.SourceFileLoader)


def _state(path: str) -> tuple | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
