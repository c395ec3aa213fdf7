"""Options of sessions, from PythonOption and the settings file; :mod:`.Session` lists them."""

import functools
from collections.abc import Mapping
from typing import NamedTuple

from handlers.sessions import NAMES as STORES
from handlers.sessions.serial import FORMS, read_secrets

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
_SAMESITE = {"lax": "Lax", "strict": "Strict", "none": "None", "off": None}
# the attribute of a request that holds its Options
_KEPT = "_session_options"
_HOST_PREFIX = "__Host-"
_DEFAULT_TYPE = "FileSession"
_TRUE = ("yes", "true", "on", "1")
_FALSE = ("no", "false", "off", "0")

# the value of this PythonOption, None without, to the defaults of such requests
_SETTINGS = "handlers.settings"
_defaults: dict[str | None, dict[str, str]] = {None: {}}


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
    lock_timeout: float
    serializer: str
    save_after_response: bool
    #: None: only for people's own backends, as mod_python does it
    store_empty: bool | None
    user_key: str
    takeover: str | None
    takeover_classes: bool
    sweep: bool


def use(options: Mapping[str, str], settings: str | None = None) -> None:
    """Make *options* those of every request; its own PythonOptions win over them.

    :param settings: of those requests only whose ``PythonOption handlers.settings`` is this.
    """
    _defaults[settings] = dict(_of_sessions(options.items()))
    of_child.cache_clear()


def of(req, overrides: Mapping[str, str] | None = None) -> Options:
    """Return the options that hold for a request, under *overrides*.

    :raises ValueError: if one makes no sense.
    :raises StoreError, OSError: if the file of the secrets cannot be read or trusted.
    """
    if overrides:
        return parse(tuple(sorted((dict(of(req).given) | overrides).items())))
    found = getattr(req, _KEPT, None)
    if found is None:
        given = req.get_options()
        own, settings = _of_sessions(given.items()), given.get(_SETTINGS)
        if settings not in _defaults:
            settings = None
        found = of_child(settings)
        if own:
            found = parse(tuple(sorted((_defaults[settings] | own).items())))
        setattr(req, _KEPT, found)
    return found


@functools.cache
def of_child(settings: str | None = None) -> Options:
    """Return the options of :func:`use` by themselves; raises as :func:`of` does."""
    return parse(tuple(sorted(_defaults[settings].items())))


def given() -> tuple[dict[str, str], str]:
    """Return the options of :func:`use` as they stand there, unread, and the session type."""
    return dict(_defaults[None]), _defaults[None].get(_OWN + "session_type", _DEFAULT_TYPE)


@functools.lru_cache(maxsize=64)
def parse(given: tuple[tuple[str, str], ...]) -> Options:
    """Return what the pairs *given* come to; raises as :func:`of` does.

    The same pairs give the same object, and a file of secrets is read once in a process.
    """
    options = dict(given)

    def get(name, default=None):
        return options.get(_OWN + name, default)

    def flag(name, default):
        return _flag(name, get(name, default))

    for name in ("enable_fast_cleanup", "verify_session_timeout"):
        _flag(name, options.get(f"mod_python.file_session.{name}", "on"))
    secure = get("cookie_secure", "auto")
    secret_file = get("secret_file")
    store_empty = get("store_empty")
    found = Options(
        given=given,
        session_type=get("session_type", _DEFAULT_TYPE),
        cookie_name=get("cookie_name", "pysid"),
        application_domain=get("application_domain"),
        application_path=get("application_path"),
        httponly=flag("cookie_httponly", "on"),
        samesite=_SAMESITE[_one_of("cookie_samesite", get("cookie_samesite", "Lax"), _SAMESITE)],
        secure=None if secure.lower() == "auto" else _flag("cookie_secure", secure),
        host_prefix=flag("cookie_host_prefix", "off"),
        secrets=tuple(read_secrets(secret_file)) if secret_file else (),
        lock_timeout=_seconds("lock_timeout", get("lock_timeout", "30")),
        serializer=_one_of("serializer", get("serializer", "pickle"), FORMS),
        save_after_response=flag("save_after_response", "off"),
        store_empty=None if store_empty is None else _flag("store_empty", store_empty),
        user_key=get("user_key", "user"),
        takeover=get("takeover"),
        takeover_classes=flag("takeover_classes", "off"),
        sweep=flag("sweep", "on"),
    )
    return _with_prefix(found) if found.host_prefix else found


def true_or_false(item) -> bool:
    """Return what a flag's text (or number, or bool) means.

    :raises ValueError: for anything that is neither.
    """
    text = str(item).lower()
    if text in _TRUE:
        return True
    if text in _FALSE or item is None:
        return False
    raise ValueError(f"neither on nor off: {item!r}")


def store_of(session_type: str) -> str:
    """Return the store's name for a session type: ``file`` for FileSession.

    :raises ValueError: if there is no such type.
    """
    name = session_type.removesuffix("Session").lower()
    if name not in STORES or session_type != f"{name.capitalize()}Session":
        types = ", ".join(f"{store.capitalize()}Session" for store in STORES)
        raise ValueError(f"no session type {session_type!r}: there are {types}")
    return name


def _of_sessions(items) -> dict[str, str]:
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
        raise ValueError(f"{_OWN}cookie_host_prefix allows no domain, and no path but /")
    return options._replace(
        cookie_name=_HOST_PREFIX + options.cookie_name, application_path="/", secure=True
    )


def _flag(name: str, text: str) -> bool:
    try:
        return true_or_false(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _one_of(name: str, text: str, allowed) -> str:
    if text.lower() not in allowed:
        raise ValueError(f"{_OWN}{name}: {text!r} is none of {', '.join(allowed)}")
    return text.lower()


def _seconds(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ValueError(f"{_OWN}{name}: not a number of seconds: {text!r}")
    return value
