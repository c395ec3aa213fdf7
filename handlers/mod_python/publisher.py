"""Python objects by their URLs: ``PythonHandler mod_python.publisher``.

``/page/hello`` is the object ``hello`` of ``page.py``, ``/page`` its ``index``, and where there is
no ``page.py`` it is ``page`` of ``index.py``; more parts go on to attributes. What is found is
called, if it can be, with those fields of the form that it has parameters for, and the text of the
result is sent, as HTML if it ends with ``</html>``.

``__auth__``, ``__auth_realm__`` and ``__access__`` of the module, of objects on the way, or within
a function guard what lies behind them.

Never published: names that begin with an underscore, of modules, too; modules, classes, functions
written in C, and functions of Python's library and of this package that a page has imported.

What works in another way than in mod_python under Python 3: ``__auth__`` works; it is found as an
attribute of a function and behind decorators, too, and one within a function that only a call would
make is refused with 500; arguments come from urlencoded bodies, too; bytes are sent as they are; an
import of a page from Python's library is not published, and neither is a page whose name begins
with an underscore; a page that fails when it is read again does so until it is mended.
"""

import base64
import binascii
import hmac
import os
import re
import sysconfig
import types

from handlers.runtime import function_locals, guarded
from handlers.runtime.query import text as text_of

from . import apache, util
from .cache import NOT_INITIALIZED, ModuleCache

__all__ = [
    "PageCache",
    "default_builtins_tp_rule",
    "default_tp_rule",
    "handler",
    "page_cache",
    "process_auth",
    "publish_object",
    "resolve_object",
    "tp_rules",
]

_METHODS = ("GET", "POST", "HEAD")
_END_OF_HTML = re.compile(r"</html\s*>\s*\Z", re.IGNORECASE)
_DEEPEST = 100  # calls of what calls have returned
_TAIL = 100  # characters in which the end of an HTML page is looked for

#: for a type whether its objects may be traversed, and whether they may be published
tp_rules = {}
default_builtins_tp_rule = (False, True)
default_tp_rule = (True, True)
_NEVER = (
    types.ModuleType,
    type,
    types.BuiltinFunctionType,
    types.MethodWrapperType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
)
tp_rules.update(
    (kind, default_builtins_tp_rule) for kind in vars(types).values() if isinstance(kind, type)
)
tp_rules.update(dict.fromkeys(_NEVER, (False, False)))

_LIBRARY = tuple(f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "platstdlib"))
_SITE = re.compile(r"/(?:site|dist)-packages/")
_ABSENT = object()
_GUARDS = frozenset(("__auth__", "__access__", "__auth_realm__"))
_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class PageCache(ModuleCache):
    """Published modules by the paths of their files; ``page_cache[req]`` is that of a request.

    ``PythonAutoReload Off`` keeps a module until the child ends.
    """

    def unchanged(self, path):
        """Return the module of the file *path* if it is here and has not changed, else None.

        It takes no lock: what another thread is about to replace was right a moment ago.
        """
        entry = self._dict.get(path)
        # read once: another thread may be about to build it again
        value = NOT_INITIALIZED if entry is None else entry._value
        if value is NOT_INITIALIZED:
            return None
        try:
            found = os.stat(path)
        except OSError:
            return None
        signature = found.st_mtime_ns, found.st_size, found.st_ino
        return value if getattr(entry, "_timestamp", None) == signature else None

    def key(self, req):
        """Return the path of the module."""
        return req.filename

    def check(self, key, req, entry):
        """Return the open file if the module must be made."""
        opened = super().check(key, req, entry)
        if opened is None or entry._value is NOT_INITIALIZED:
            return opened
        if _configured(req, "PythonAutoReload", 1):
            return opened
        opened.close()
        return None

    def build(self, key, req, opened, entry):
        """Return the module that the file's code makes."""
        if _configured(req, "PythonDebug", 0):
            req.log_error(f"Publisher loading page {key}", apache.APLOG_NOTICE)
        return super().build(key, req, opened, entry)


page_cache = PageCache()


def handler(req):
    """Publish the object that the address names.

    :raises SERVER_RETURN: 405 for another method than GET, HEAD and POST; 404 where there is no
        such object; 403 where it may not be published, or ``__access__`` says so; 401 where
        ``__auth__`` says so; 400 for credentials that cannot be read; and what
        :class:`util.FieldStorage` raises.
    """
    req.allow_methods(_METHODS)
    if req.method not in _METHODS:
        raise apache.SERVER_RETURN(apache.HTTP_METHOD_NOT_ALLOWED)
    directory, _, name = req.filename.rpartition("/")
    name = name or "index"
    if "." in name:
        name = _without_extension(name, req)
    path = (req.path_info or "")[1:].removesuffix("/")
    if name.startswith("_"):
        raise _refused(req, f"publish {name}", "its name begins with an underscore")
    file = f"{directory}/{name}.py"
    module = page_cache.unchanged(file)
    if module is None:
        if not os.path.exists(file):
            path = f"{name}/{path}" if path else name
            file = f"{directory}/index.py"
            if not os.path.exists(file):
                raise apache.SERVER_RETURN(apache.HTTP_NOT_FOUND)
        req.filename = os.path.normpath(file)
        module = page_cache[req]
    else:
        req.filename = file
    guards = ("unknown", None, None) if _is_unguarded(module) else process_auth(req, module)
    found = resolve_object(req, module, (path or "index").replace("/", "."), *guards)
    published = publish_object(req, found)
    if not published and not req._bytes_queued and _configured(req, "PythonDebug", 0):
        req.log_error("mod_python.publisher: nothing to publish.")
    return apache.OK


def process_auth(req, object, realm="unknown", user=None, passwd=None):
    """Let pass whom ``__auth__`` and ``__access__`` of *object* let pass.

    :return: realm, user and password for the next object on the way.
    :raises SERVER_RETURN: 401, 403, or 400; 500 for a guard that only a call would make.
    """
    auth, access, realm = _guards_of(req, object, realm)
    if auth is None and access is None:
        return realm, user, passwd
    if not user:
        user, passwd = _credentials(req) or (user, passwd)
    if auth is not None and not (user and _authenticates(auth[0], req, user, passwd)):
        quoted = str(realm).replace("\\", r"\\").replace('"', r"\"")
        req.err_headers_out["WWW-Authenticate"] = f'Basic realm="{quoted}"'
        raise apache.SERVER_RETURN(apache.HTTP_UNAUTHORIZED)
    if access is not None and not _gives_access(access[0], req, user):
        raise apache.SERVER_RETURN(apache.HTTP_FORBIDDEN)
    return realm, user, passwd


def resolve_object(req, obj, object_str, realm=None, user=None, passwd=None):
    """Return the object that the names in *object_str*, joined by dots, lead to from *obj*.

    :raises SERVER_RETURN: 404 for a name that is not there, 403 for one that begins with an
        underscore and for what :data:`tp_rules` forbid, and what :func:`process_auth` raises.
    """
    part = object_str
    for number, part in enumerate(object_str.split(".")):
        if not part:
            raise apache.SERVER_RETURN(apache.HTTP_NOT_FOUND)
        if part.startswith("_"):
            raise _refused(req, f"traverse {part}", "it begins with an underscore")
        if number and not _rule(obj)[0]:
            raise _refused(req, f"traverse {part}", f"{obj!a} is not a traversable object")
        try:
            obj = getattr(obj, part)
        except AttributeError:
            raise apache.SERVER_RETURN(apache.HTTP_NOT_FOUND) from None
        if not _is_unguarded(obj):
            realm, user, passwd = process_auth(req, obj, realm, user, passwd)
    if not _rule(obj)[1]:
        raise _refused(req, f"publish {part}", f"{obj!a} is not publishable")
    return obj


def publish_object(req, obj):
    """Send *obj*: what it returns, if it can be called, else its text; bytes as they are.

    :return: False if there is nothing to send, as the object is None.
    """
    if callable(obj):
        req.form = util.FieldStorage(req, keep_blank_values=1)
        for _ in range(_DEEPEST):
            obj = util.apply_fs_data(obj, req.form, req=req)
            if not callable(obj):
                break
        else:
            raise RecursionError("what is published keeps returning what can be called")
    if obj is None:
        return False
    result = obj if isinstance(obj, bytes) else str(obj)
    if not req._content_type_set:
        tail = result[-_TAIL:]
        if isinstance(tail, bytes):
            tail = tail.decode("latin-1")
        # the search is slow where it finds nothing
        is_html = tail.rstrip().endswith(">") and _END_OF_HTML.search(tail)
        req.content_type = "text/html" if is_html else "text/plain"
    req.write(result, 0)
    return True


def _without_extension(name, req):
    extensions = ["py", *req.get_addhandler_exts().split()]
    if req.extension:
        extensions.append(req.extension[1:])
    for extension in extensions:
        if name.endswith(f".{extension}"):
            return name.removesuffix(f".{extension}")
    return name


def _configured(req, name, default):
    return int(req.get_config().get(name, default))


def _refused(req, what, why):
    req.log_error(f"Cannot {what} in {req.unparsed_uri} because {why}", apache.APLOG_WARNING)
    return apache.SERVER_RETURN(apache.HTTP_FORBIDDEN)


def _rule(obj):
    """Return whether *obj* may be traversed, and whether it may be published."""
    rule = tp_rules.get(type(obj))
    if rule is None:
        rule = tp_rules[type] if isinstance(obj, _NEVER) else default_tp_rule
    if rule[1] and _is_imported(obj):
        return False, False
    return rule


def _is_imported(obj):
    """Return whether *obj* is a function or method of Python's library or of this package."""
    file = getattr(getattr(getattr(obj, "__func__", obj), "__code__", None), "co_filename", None)
    if not isinstance(file, str):
        return False
    if file.startswith(_LIBRARY):
        return _SITE.search(file) is None
    return file.startswith(("<frozen ", _OWN))


def _is_unguarded(obj):
    """Return whether *obj* is a function or a module that has no guard, as most are."""
    kind = type(obj)
    if kind is types.FunctionType:
        code = obj.__code__
        plain = not obj.__dict__ and not code.co_cellvars
        return plain and _GUARDS.isdisjoint(code.co_varnames)
    if kind is types.ModuleType:
        # what a module has not got is slow to ask it for
        own = vars(obj)
        return not ("__auth__" in own or "__access__" in own or "__auth_realm__" in own)
    return False


def _guards_of(req, object, realm):
    """Return ``__auth__`` and ``__access__``, each in a tuple, or None, and the realm."""
    if isinstance(object, types.FunctionType):
        found = _guards_of_function(req, object)
    elif isinstance(getattr(object, "__func__", None), types.FunctionType):
        found = _guards_of_function(req, object.__func__)
    else:
        found = {name: (getattr(object, name),) for name in _GUARDS if hasattr(object, name)}
    if not found:
        return None, None, realm
    return found.get("__auth__"), found.get("__access__"), found.get("__auth_realm__", (realm,))[0]


def _guards_of_function(req, function):
    found = {}
    seen = set()
    # what a decorator wraps is guarded like the wrapper
    while isinstance(function, types.FunctionType) and id(function) not in seen:
        seen.add(id(function))
        for name in _GUARDS:
            value = function_locals.assigned(function, name, function.__dict__.get(name, _ABSENT))
            if value is function_locals.UNKNOWN:
                req.log_error(
                    f"{name} of {function.__qualname__} is made by a call, so the publisher cannot"
                    " know it: nobody gets in; write a function or a constant, or put it before"
                    " the function"
                )
                raise apache.SERVER_RETURN(apache.HTTP_INTERNAL_SERVER_ERROR)
            if value is not _ABSENT:
                found.setdefault(name, (value,))
        function = function.__dict__.get("__wrapped__")
    return found


def _credentials(req):
    """Return the name and password that the client sends, None if it sends none.

    :raises SERVER_RETURN: 400 if they cannot be read.
    """
    scheme, _, credentials = guarded.header(req, "Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        given = base64.b64decode(credentials.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise apache.SERVER_RETURN(apache.HTTP_BAD_REQUEST) from None
    user, colon, password = given.partition(b":")
    if not colon:
        raise apache.SERVER_RETURN(apache.HTTP_BAD_REQUEST)
    return text_of(user), text_of(password)


def _authenticates(auth, req, user, password):
    if callable(auth):
        return auth(req, user, password)
    if isinstance(auth, dict):
        known = auth.get(user)
        if not isinstance(known, str):
            return False
        return hmac.compare_digest(known.encode(), password.encode())
    return auth


def _gives_access(access, req, user):
    if callable(access):
        return access(req, user)
    if isinstance(access, (list, tuple, set, frozenset)):
        return user in access
    return access
