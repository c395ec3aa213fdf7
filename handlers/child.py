"""What a child does when it starts: as little as it can, as each restart starts all of them.

Apache serves cached thumbnails without Python, so a child takes its first connection before it has
imported the handlers. It does three things. It sees that each cache is bound to its configuration,
which takes two looks at files unless something has changed. It leaves a thread behind that stands
for election: one child of all does for the site what needs no request, see :mod:`handlers.duties`.
And it imports what answers requests at the first one: :func:`ready`.

On mod_wsgi the entry script calls :func:`start` (WSGIImportScript); on mod_python the drop-in says
``PythonImport handlers.child::start_mod_python``. tests/test_child.py lists what this module may
import, and what those modules are that it imports.
"""

import fcntl
import os
import sys
import threading

from handlers import receipt, stop

_DEFAULT_FILE = "settings.ini"
# seconds between two candidacies, at first and at last
_FIRST_ELECTION = 0.1
_ELECTION = 4.0
# seconds that the thread gets to end when the interpreter does
_LAST_WORDS = 0.3

_default: str | None = None
_has_sites = False
_stop = threading.Event()
# descriptors of the locks that this process was elected by
_won: list[int] = []


def start(directory: str) -> None:
    """Prepare this child for the sites whose settings files, ``*.ini``, lie in *directory*.

    Their caches are bound to their settings files when this returns (:mod:`handlers.cache.stamp`),
    or an error in the log says why not. ``settings.ini`` is the file of every request that names no
    other one. A fault never stops the child: what does not need that site is served all the same.
    """
    global _default, _has_sites
    stop.wait_for_requests()
    names = sorted(name for name in _listed(directory) if name.endswith(".ini"))
    paths = [os.path.join(directory, name) for name in names if not name.startswith(".")]
    _has_sites = bool(paths)
    if _DEFAULT_FILE in names:
        _default = os.path.join(directory, _DEFAULT_FILE)
        # a request may have come before, in another thread
        if "handlers.settings" in sys.modules:
            _use_default()
    own, shared = [], []
    for path in paths:
        named = peek(path)
        cache = named.get("thumbnail.cache")
        if "" in named or (cache and not receipt.is_claimed(path, cache)):
            _claim(path, cache)
        if "lookup.database" in named and "lookup.snapshot" not in named:
            # its rows are known to nobody but this child
            own.append(path)
        elif "" not in named:
            shared.append((path, cache))
    if own or shared:
        thread = threading.Thread(target=_stand, args=(own, shared), name="child", daemon=True)
        stop.at_end(lambda: _end(thread))
        thread.start()


def ready():
    """Import what answers requests, and return it: a WSGI application.

    The entry script calls it at the first request.
    """
    from handlers.mod_python import install_as_mod_python

    install_as_mod_python()
    from handlers.runtime.entry import handle_request

    _begin()
    if not _has_sites:
        return handle_request
    from handlers import counting
    from handlers.runtime import options

    def handle_counted(environ, start_response):
        # for the status page of the site that the request belongs to
        counting.serve_request(options.pairs(environ))
        return handle_request(environ, start_response)

    return handle_counted


def start_mod_python() -> None:
    """Do what :func:`start` does, in the directory of the server's ``PythonOption handlers.etc``.

    Log records of the package go to Apache's error log first of all, and ``from mod_python import
    Session`` gives the package's sessions instead of mod_python's own.
    """
    directory = _duties().install_in_mod_python()
    if directory:
        start(directory)
        _begin()


def most_requests() -> int:
    """Return how many requests Python can be at work on at a time; 1 outside of a server."""
    from mod_python import apache

    if hasattr(apache, "mpm_query"):
        threads = max(1, apache.mpm_query(apache.AP_MPMQ_MAX_THREADS))
        return apache.mpm_query(apache.AP_MPMQ_MAX_DAEMONS) * threads
    try:
        # PyPI's package of that name is there without the server, too; Debian's is not
        import mod_wsgi
    except ModuleNotFoundError:
        return 1
    return getattr(mod_wsgi, "maximum_processes", 1) * getattr(mod_wsgi, "threads_per_process", 1)


def peek(path: str) -> dict[str, str]:
    """Return the options of the settings file *path* that a child needs at its start.

    It is quick and knows less than :mod:`handlers.settings`, which says what is wrong with a file.
    ``""`` is in the result if the file cannot be read.
    """
    found: dict[str, str] = {}
    try:
        with open(path, encoding="utf-8") as file:
            # a mark of the byte order may stand before it
            lines = file.read(1 << 20).removeprefix("\ufeff").splitlines()
    except (OSError, ValueError) as error:
        return {"": str(error)}
    section = ""
    for line in lines:
        if line.startswith("["):
            section = line.strip().strip("[]")
        elif section in ("thumbnail", "lookup") and line[:1] not in "#; \t":
            key, _, text = line.partition("=")
            name = f"{section}.{key.strip().lower()}"
            if name in ("thumbnail.cache", "lookup.database", "lookup.snapshot") and text.strip():
                found[name] = text.strip()
    return found


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _begin() -> None:
    """Go by the settings of the child's own file, and count what it answers."""
    _use_default()
    if _default is not None:
        from handlers import counting

        counting.start(_default)


def _use_default() -> None:
    if _default is not None:
        from handlers import settings

        settings.use(_default)


def _claim(path: str, cache: str | None) -> None:
    """Bind the cache, or let another child do it and wait for that."""
    duties = _duties()
    descriptor = None
    if cache:
        try:
            os.makedirs(receipt.state(cache), 0o700, exist_ok=True)
            descriptor = os.open(receipt.state(cache), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            # the claim says why
            pass
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        if not (cache and receipt.is_claimed(path, cache)):
            duties.claim(path)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _stand(own: list[str], shared: list[tuple[str, str | None]]) -> None:
    """Stand for election until this child has the duties of all sites, or ends.

    :param own: the settings files whose duties each child has.
    :param shared: the others, each with its cache.
    """
    wait = _FIRST_ELECTION
    _take(own)
    waiting = list(shared)
    # as the children of one start are, they would all come at the same moments
    spread = 0.5 + os.urandom(1)[0] / 512
    while waiting and not _stop.wait(wait * spread):
        wait = min(wait * 2, _ELECTION)
        for path, cache in list(waiting):
            # without a cache that can be written, the settings file itself is the lock
            if _is_elected(path, receipt.state(cache, "duties") if cache else path):
                waiting.remove((path, cache))
                _take([path])


def _take(paths: list[str]) -> None:
    for path in paths:
        _duties().take(path, is_default=path == _default)


def _duties():
    """Import what those on duty need; handlers of the package name mod_python."""
    from handlers.mod_python import install_as_mod_python

    install_as_mod_python()
    from handlers import duties

    return duties


def _is_elected(path: str, lock: str) -> bool:
    """Try to take the lock; the kernel gives it to another child when this one ends."""
    flags = os.O_RDONLY | os.O_CLOEXEC
    try:
        if lock != path:
            flags |= os.O_CREAT | os.O_NOFOLLOW
        descriptor = os.open(lock, flags, 0o600)
    except OSError:
        return lock != path and _is_elected(path, path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return False
    _won.append(descriptor)
    return True


def _end(thread: threading.Thread) -> None:
    _stop.set()
    thread.join(_LAST_WORDS)


def _after_fork() -> None:
    # a process that an application forks may outlive this one, and nobody else would be elected
    while _won:
        os.close(_won.pop())


os.register_at_fork(after_in_child=_after_fork)
