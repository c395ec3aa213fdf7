"""Caches that build what they are asked for: ``from mod_python import cache``.

A cache is indexed by a name. It builds an entry that is missing or stale; threads that ask for the
same name wait meanwhile, and those that ask for another do not. Every class is safe in threads;
each process has its own. A subclass says what a name's :meth:`~Cache.key` is, when an entry is
stale (:meth:`~Cache.check`) and how its value is made (:meth:`~Cache.build`).

What works in another way than in mod_python under Python 3: :class:`HTTPCache` works at all;
:meth:`Cache.lru` and :meth:`Cache.mru` stay right when an entry is deleted; a file that cannot be
read or compiled is tried again at the next request instead of leaving its old value in force; and
a file counts as changed when its time, size or inode differs.
"""

import contextlib
import email.utils
import os
import re
import threading
import time
import types
import urllib.error
import urllib.request
import weakref
from collections import OrderedDict

__all__ = [
    "NOT_INITIALIZED",
    "Cache",
    "Entry",
    "FileCache",
    "FunctionCache",
    "HTTPCache",
    "HTTPEntity",
    "HttpModuleCache",
    "ModuleCache",
    "WeakCache",
    "parseRFC822Time",
]

#: what an entry holds before it is built
NOT_INITIALIZED = object()

_MAX_AGE = re.compile(r"\bmax-age\s*=\s*\"?(\d{1,10})", re.IGNORECASE)
_NOT_WORD = re.compile(r"\W+")
_TIMEOUT = 60  # seconds that a server may take for an answer


def parseRFC822Time(t: str) -> float:
    """Return the time that the date of a header field names, in seconds since 1970.

    :raises ValueError: if it is no date.
    """
    try:
        return email.utils.parsedate_to_datetime(t).timestamp()
    except (TypeError, IndexError, OverflowError) as error:
        raise ValueError(f"not a date: {t!r}") from error


class Entry:
    """What a cache holds for a key; :meth:`Cache.check` may keep attributes of its own on it."""

    def __init__(self, key):
        self._key = key
        self._value = NOT_INITIALIZED
        self._lock = threading.Lock()


class Cache:
    """A cache of whatever :meth:`build` makes.

    :param max_size: the most entries; beyond it the least recently used goes. 0 is no limit.
    """

    def __init__(self, max_size=0):
        self._maxsize = max_size
        # in the order of their use, the latest one last
        self._dict = OrderedDict()
        self._lock = threading.Lock()

    def __getitem__(self, name):
        """Return the value for *name*, built if it is not there or stale."""
        return self._checkitem(name)[2]

    def __setitem__(self, name, value):
        """Put *value* in the place of what :meth:`build` would make."""
        entry = self._get_entry(self.key(name))
        with entry._lock:
            self._pack(entry, value)
            self.commit()

    def __delitem__(self, name):
        """Forget the value.

        :raises KeyError: if there is none.
        """
        with self._lock:
            del self._dict[self.key(name)]

    def clear(self):
        """Forget all values."""
        with self._lock:
            self._dict.clear()

    def mru(self):
        """Return the most recently used key, None without one, or if there is no limit."""
        return self._end(last=True)

    def lru(self):
        """Return the least recently used key, None without one, or if there is no limit."""
        return self._end(last=False)

    def key(self, name):
        """Return the key of *name*: itself, unless a subclass knows better."""
        return name

    def commit(self):
        """Do nothing; called when a value was stored, for subclasses that keep them elsewhere."""

    def check(self, key, name, entry):
        """Return None if the entry is fresh, else what :meth:`build` gets as *opened*.

        It runs for one key once at a time. Without a value :meth:`build` is called in any case.
        """
        return None

    def build(self, key, name, opened, entry):
        """Return the value for *name*; for one key it runs once at a time."""
        raise NotImplementedError

    def _get_entry(self, key):
        with self._lock:
            entry = self._dict.get(key)
            if entry is None:
                entry = self._dict[key] = Entry(key)
                if self._maxsize and len(self._dict) > self._maxsize:
                    self._dict.popitem(last=False)
            elif self._maxsize:
                self._dict.move_to_end(key)
            return entry

    def _checkitem(self, name):
        """Return whether the value is new, its key, the value and the entry."""
        key = self.key(name)
        entry = self._get_entry(key)
        with entry._lock:
            value = self._unpack(entry)
            opened = self.check(key, name, entry)
            if value is not NOT_INITIALIZED and opened is None:
                return False, key, value, entry
            # until it is built again there is none: what fails must not leave the old one
            entry._value = NOT_INITIALIZED
            value = self.build(key, name, opened, entry)
            self._pack(entry, value)
            self.commit()
            return True, key, value, entry

    def _end(self, last):
        if not self._maxsize:
            return None
        with self._lock:
            return next(reversed(self._dict) if last else iter(self._dict), None)

    def _pack(self, entry, value):
        """Store *value* in the entry."""
        entry._value = value

    def _unpack(self, entry):
        """Return the value in the entry, NOT_INITIALIZED if there is none."""
        return entry._value


class WeakCache(Cache):
    """A cache that holds its values weakly: one that nobody else uses is forgotten."""

    def _pack(self, entry, value):
        cache = weakref.ref(self)

        def forget(reference):
            found = cache()
            # no lock: it may be held by the thread that this interrupts
            if found is not None and entry._value is reference:
                with contextlib.suppress(KeyError):
                    if found._dict[entry._key] is entry:
                        del found._dict[entry._key]

        entry._value = weakref.ref(value, forget)

    def _unpack(self, entry):
        value = entry._value
        if value is not NOT_INITIALIZED:
            value = value()
        return NOT_INITIALIZED if value is None else value


class FileCache(Cache):
    """The contents of files by their paths, read again when a file has changed.

    :param mode: how files are opened.
    """

    def __init__(self, max_size=0, mode="rb"):
        super().__init__(max_size)
        self.mode = mode

    def check(self, key, name, entry):
        """Return the open file if it is new or has changed.

        :raises OSError: if it is not there.
        """
        found = os.stat(key)
        signature = found.st_mtime_ns, found.st_size, found.st_ino
        known = getattr(entry, "_timestamp", None)
        if entry._value is not NOT_INITIALIZED and known in (None, signature):
            # without a time it was put here by hand
            return None
        opened = open(key, self.mode)  # noqa: SIM115 - build closes it
        entry._timestamp = signature
        return opened

    def build(self, key, name, opened, entry):
        """Return the contents of the file."""
        with opened:
            return opened.read()


class ModuleCache(FileCache):
    """Modules by the paths of their files, run again when a file has changed.

    They are in no ``sys.modules``, so files of one name in two directories are two modules.
    """

    def __init__(self, max_size=0):
        super().__init__(max_size, "rb")

    def build(self, key, name, opened, entry):
        """Return the module that the file's code makes."""
        with opened:
            return _module(key, opened.read())


class HTTPEntity:
    """What a server has sent.

    :ivar entity: the body, bytes.
    :ivar metadata: the header fields, a dict.
    """

    def __init__(self, entity, metadata):
        self.entity = entity
        self.metadata = metadata

    def __repr__(self):
        return f"HTTPEntity({self.entity!r}, {self.metadata})"

    def __str__(self):
        return self.entity if isinstance(self.entity, str) else self.entity.decode()


class HTTPCache(Cache):
    """Entities by their URLs, fetched again when they expire and a server has a newer one.

    It goes by max-age of Cache-Control, Expires, ETag and Last-Modified.
    """

    def check(self, key, name, entry):
        """Return the open response if there is no fresh entity, None if there is.

        :raises OSError: if the server cannot be reached, or answers with an error.
        """
        validators = {}
        if self._unpack(entry) is not NOT_INITIALIZED:
            if time.time() < getattr(entry, "_expires", 0):
                return None
            validators = getattr(entry, "_validators", {})
        request = urllib.request.Request(key, headers=validators)
        try:
            opened = urllib.request.urlopen(request, timeout=_TIMEOUT)
        except urllib.error.HTTPError as error:
            with error:
                if error.code != 304 or not validators:
                    raise
                entry._expires = _expiry(error.headers)
                return None
        headers = opened.info()
        entry._expires = _expiry(headers)
        named = (("ETag", "If-None-Match"), ("Last-Modified", "If-Modified-Since"))
        entry._validators = {
            field: headers[name] for name, field in named if headers[name] is not None
        }
        return opened

    def build(self, key, name, opened, entry):
        """Return the entity."""
        with opened:
            return HTTPEntity(opened.read(), dict(opened.info()))


class HttpModuleCache(HTTPCache):
    """Modules by the URLs of their code. Anybody who can change that code runs it in this child."""

    def build(self, key, name, opened, entry):
        """Return the module that the code makes."""
        with opened:
            return _module(key, opened.read())


class FunctionCache(Cache):
    """The results of a function by its arguments, which must be hashable."""

    def __init__(self, function, max_size=0):
        super().__init__(max_size)
        self.function = function

    def __call__(self, *args, **kw):
        """Return what the function does, from memory if it was called like this before."""
        return self[args, tuple(sorted(kw.items()))]

    def build(self, key, name, opened, entry):
        """Call the function."""
        args, kw = key
        return self.function(*args, **dict(kw))


def _module(key, source):
    module = types.ModuleType(_NOT_WORD.sub("_", key))
    module.__file__ = key
    exec(compile(source, key, "exec", dont_inherit=True), module.__dict__)
    return module


def _expiry(headers) -> float:
    """Return when a response with *headers* is no longer fresh; 0 if they do not say."""
    found = _MAX_AGE.search(headers.get("Cache-Control", ""))
    if found:
        return time.time() + int(found[1])
    try:
        lifetime = parseRFC822Time(headers["Expires"]) - parseRFC822Time(headers["Date"])
    except ValueError:
        return 0
    return time.time() + lifetime
