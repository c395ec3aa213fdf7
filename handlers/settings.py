"""Options of the handlers: one name space ``section.key``, from two places.

A settings file (``[section]``, ``key = value``) holds what a child must know when it starts, above
all the database. ``PythonOption section.key value`` in Apache's configuration holds for the
requests of its Location, Directory or virtual host, and wins over the file.
"""

import configparser
import functools
import logging
import os
import re
import stat
from collections.abc import Mapping

log = logging.getLogger(__name__)

_default_path: str | None = None


class BadSettings(ValueError):
    """Raised when a settings file cannot be read, or an option's value makes no sense."""


@functools.lru_cache(maxsize=64)
def read(path: str) -> dict[str, str]:
    """Return the options of the settings file *path* as ``{"section.key": "value"}``.

    A file is read once per process: restart Apache after a change. One that holds a password or
    a key and can be read by everybody is read, with a warning in the log.

    :raises BadSettings: if the file is missing, unreadable or not of the form above.
    """
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    try:
        with open(path, encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            parser.read_file(file)
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise BadSettings(f"settings file {path}: {error}") from error
    options = {
        f"{section}.{key}": value
        for section in parser.sections()
        for key, value in parser.items(section)
    }
    if mode & stat.S_IROTH and _holds_secret(options):
        log.warning("%s holds a secret and everybody can read it: chmod 640 %s", path, path)
    return options


def use(path: str) -> None:
    """Make *path* the settings file of every request that names no other one."""
    global _default_path
    _default_path = path


def of(req) -> dict[str, str]:
    """Return the options that hold for a request: its PythonOptions over those of the file.

    ``PythonOption handlers.settings`` names another settings file than the child's own, so that
    virtual hosts can have different databases.

    :raises BadSettings: as :func:`read` does.
    """
    given = dict(req.get_options().items())
    path = file_of(given)
    return {**read(path), **given} if path else given


def file_of(given: Mapping[str, str]) -> str | None:
    """Return the settings file of a request with the PythonOptions *given*, None if it has none."""
    return given.get("handlers.settings", _default_path)


def number(options: dict[str, str], name: str, default: float) -> float:
    """Return the option *name* as a number that is not negative.

    :raises BadSettings: if it is not one.
    """
    text = options.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise BadSettings(f"{name} must be a number >= 0, not {text!r}")
    return value


def bytes_of(options: dict[str, str], name: str, default: int | None) -> int | None:
    """Return the option *name* as a number of bytes: digits, and K, M, G or T for powers of 1024.

    :raises BadSettings: if it is anything else.
    """
    text = options.get(name)
    if text is None:
        return default
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)B?", text.strip().upper())
    if found is None:
        raise BadSettings(f"{name} must be a number of bytes such as 500M or 20G, not {text!r}")
    return int(float(found[1]) * 1024 ** " KMGT".index(found[2] or " "))


def switched_on(options: dict[str, str], name: str) -> bool:
    """Return whether the option *name* is ``on``; it is off by default.

    :raises BadSettings: if it is neither on nor off.
    """
    value = options.get(name, "off").lower()
    if value not in ("on", "off"):
        raise BadSettings(f"{name} must be on or off, not {value!r}")
    return value == "on"


def required(options: dict[str, str], name: str) -> str:
    """Return the option *name*.

    :raises BadSettings: if it is not set.
    """
    value = options.get(name)
    if not value:
        raise BadSettings(f"{name} is not set: give it in settings.ini or by PythonOption {name}")
    return value


def _holds_secret(options: dict[str, str]) -> bool:
    if options.get("thumbnail.keys"):
        return True
    credentials, at, _ = options.get("lookup.database", "").partition("@")
    return bool(at) and ":" in credentials.partition("://")[2]
