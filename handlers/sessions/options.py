"""The options of sessions, from PythonOption and the settings file."""

import functools
from collections.abc import Mapping
from typing import NamedTuple

from handlers import counting, kinds, settings, signing
from handlers.errors import Misconfigured

from . import NAMES as STORES
from .serial import read_secrets

_OWN = "mod_python.session."
_PREFIXES = (_OWN, "mod_python.file_session.", "mod_python.dbm_session.")
# what mod_python before 3.3 called them
_LEGACY = {
    "session": _OWN + "session_type",
    "session_cookie_name": _OWN + "cookie_name",
    "ApplicationPath": _OWN + "application_path",
    "session_directory": _OWN + "database_directory",
    "session_dbm": "mod_python.dbm_session.database_filename",
    "session_fast_cleanup": "mod_python.file_session.enable_fast_cleanup",
    "session_verify_cleanup": "mod_python.file_session.verify_session_timeout",
    "session_grace_period": "mod_python.file_session.cleanup_grace_period",
    "session_cleanup_time_limit": "mod_python.file_session.cleanup_time_limit",
}
_HOST_PREFIX = "__Host-"
# the attribute of a request that holds its Options
_KEPT = "_session_options"

# the value of this PythonOption, None without, to the defaults of such requests
_SETTINGS = "handlers.settings"
_defaults: dict[str | None, dict[str, str]] = {}
# by the identity of the PythonOptions, which the runtime keeps: to hash them costs as much again
_by_pairs: dict[int, tuple] = {}
_MOST = 256


class Options(NamedTuple):
    """What the options of a request come to."""

    #: all of them as they were given, under their present names
    given: tuple[tuple[str, str], ...]
    session_type: str
    cookie_name: str
    application_domain: str | None
    application_path: str | None
    httponly: bool
    samesite: str | None
    #: None: where the request came by https
    secure: bool | None
    host_prefix: bool
    secrets: tuple[bytes, ...]
    #: what signs the cookie, the first one, and verifies it
    cookie_keys: tuple[bytes, ...]
    lock_timeout: float
    serializer: str
    save_after_response: bool
    #: None: only for people's own backends, as mod_python does it
    store_empty: bool | None
    user_key: str
    takeover: str | None
    takeover_classes: bool
    sweep: bool


def use(options: Mapping[str, str], settings_file: str | None = None) -> None:
    """Make *options* those of every request, in place of the settings file's.

    A request's own PythonOptions win over them.

    :param settings_file: of those requests only whose ``PythonOption handlers.settings`` is this.
    """
    _defaults[settings_file] = dict(of_sessions(options.items()))
    _of_file.cache_clear()
    _of_pairs.cache_clear()
    _by_pairs.clear()


def of(req, overrides: Mapping[str, str] | None = None) -> Options:
    """Return the options that hold for a request, under *overrides*.

    Requests with the same PythonOptions get the same object.

    :raises ValueError: if one makes no sense.
    :raises StoreError, OSError: if the file of the secrets cannot be read or trusted.
    """
    found = getattr(req, _KEPT, None)
    if found is None:
        option_pairs = getattr(req, "option_pairs", None)
        if option_pairs is None:
            # real mod_python, where nobody else has said whose request this is
            pairs = tuple(req.get_options().items())
            counting.serve_request(pairs)
            found = _of_pairs(pairs, settings.file_of({}))
        else:
            found = _of_kept(option_pairs(), settings.file_of({}))
        setattr(req, _KEPT, found)
    if overrides:
        return parse(tuple(sorted((dict(found.given) | overrides).items())))
    return found


def _of_kept(pairs: tuple[tuple[str, str], ...], default: str | None) -> Options:
    kept = _by_pairs.get(id(pairs))
    if kept is None or kept[0] is not pairs or kept[1] != default:
        if len(_by_pairs) >= _MOST:
            _by_pairs.clear()
        kept = _by_pairs[id(pairs)] = pairs, default, _of_pairs(pairs, default)
    return kept[2]


@functools.lru_cache(maxsize=_MOST)
def _of_pairs(pairs: tuple[tuple[str, str], ...], default: str | None) -> Options:
    given = dict(pairs)
    own, file = of_sessions(given.items()), given.get(_SETTINGS)
    if not own:
        return _of_file(file, default)
    return parse(tuple(sorted((_given_in(file, default) | own).items())))


def of_child(settings_file: str | None = None) -> Options:
    """Return the options of a request without PythonOptions of its own; raises as :func:`of` does.

    :param settings_file: its ``PythonOption handlers.settings``, None for the child's own file.
    """
    return _of_file(settings_file, settings.file_of({}))


@functools.cache
def _of_file(file: str | None, default: str | None) -> Options:
    return parse(tuple(sorted(_given_in(file, default).items())))


def _given_in(file: str | None, default: str | None) -> dict[str, str]:
    """Return the options of sessions in the settings *file*, or in the child's own, *default*."""
    if file in _defaults:
        return _defaults[file]
    path = file or default
    return of_sessions(settings.read(path).items()) if path else {}


def given() -> tuple[dict[str, str], str]:
    """Return the options of :func:`use` as they stand there, unread, and the session type."""
    found = _given_in(None, settings.file_of({}))
    return dict(found), settings.value(found, _OWN + "session_type")


@functools.lru_cache(maxsize=64)
def parse(given: tuple[tuple[str, str], ...]) -> Options:
    """Return what the pairs *given* come to; raises as :func:`of` does.

    The same pairs give the same object, and a file of secrets is read once in a process.
    """
    options = dict(given)

    def get(name):
        return settings.value(options, _OWN + name)

    for name in ("enable_fast_cleanup", "verify_session_timeout", "cleanup_time_limit"):
        settings.value(options, f"mod_python.file_session.{name}")
    secret_file = get("secret_file")
    samesite = get("cookie_samesite")
    secure = get("cookie_secure")
    secrets = tuple(read_secrets(secret_file)) if secret_file else ()
    found = Options(
        given=given,
        session_type=get("session_type"),
        cookie_name=get("cookie_name"),
        application_domain=get("application_domain"),
        application_path=get("application_path"),
        httponly=get("cookie_httponly"),
        samesite=None if samesite == "off" else samesite,
        secure=None if secure == "auto" else secure,
        host_prefix=get("cookie_host_prefix"),
        secrets=secrets,
        cookie_keys=signing.keys_for(b"session cookie", secrets),
        lock_timeout=get("lock_timeout"),
        serializer=get("serializer"),
        save_after_response=get("save_after_response"),
        store_empty=get("store_empty"),
        user_key=get("user_key"),
        takeover=get("takeover"),
        takeover_classes=get("takeover_classes"),
        sweep=get("sweep"),
    )
    return _with_prefix(found) if found.host_prefix else found


def true_or_false(item) -> bool:
    """Return what a flag's text (or number, or bool) means.

    :raises ValueError: for anything that is neither.
    """
    try:
        return item is not None and kinds.flag(str(item))
    except ValueError as error:
        raise ValueError(f"{item!r} {error}") from None


@functools.cache
def store_of(session_type: str) -> str:
    """Return the store's name for a session type: ``file`` for FileSession.

    :raises ValueError: if there is no such type.
    """
    name = session_type.removesuffix("Session").lower()
    if name not in STORES or session_type != f"{name.capitalize()}Session":
        types = ", ".join(f"{store.capitalize()}Session" for store in STORES)
        raise ValueError(f"no session type {session_type!r}: there are {types}")
    return name


def of_sessions(items) -> dict[str, str]:
    """Return those of the options *items* that are of sessions, under their present names."""
    found = {}
    for name, value in items:
        if name in _LEGACY:
            found.setdefault(_LEGACY[name], value)
        elif name.startswith(_PREFIXES):
            found[name] = value
    return found


def _with_prefix(options: Options) -> Options:
    # browsers refuse the prefix with a domain or another path (RFC 6265bis section 4.1.3.2)
    if options.application_domain or options.application_path not in (None, "/"):
        raise Misconfigured(f"{_OWN}cookie_host_prefix allows no domain, and no path but /")
    return options._replace(
        cookie_name=_HOST_PREFIX + options.cookie_name, application_path="/", secure=True
    )
