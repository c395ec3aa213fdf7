"""Checks before a site is set up: what would make it fail, or take something from another site."""

import glob
import os
import re
import sys
import sysconfig

from handlers import settings
from handlers.commands import place
from handlers.commands.apache import Apache
from handlers.commands.result import Failed
from handlers.database import url as database_url

_TAKING = ("Alias", "ScriptAlias", "WSGIScriptAlias", "ProxyPass", "Redirect")
_SHARE = "modpython-handlers"
# one text in 4.9, and from 5.0 on the version in front of a format
_MOD_WSGI = re.compile(
    rb"mod_wsgi/([0-9]+\.[0-9]+(?:\.[0-9]+)?)|([0-9]+\.[0-9]+\.[0-9]+)\0+mod_wsgi/%s"
)
_LIBPYTHON = re.compile(rb"libpython([0-9]+\.[0-9]+)[a-z]*\.so")


def python_of(module: str) -> str | None:
    """Return the version of Python, as ``3.13``, that an Apache module was built for.

    None if that cannot be told.

    :raises Failed: if the module cannot be read.
    """
    found = _search(_LIBPYTHON, module)
    return found[1].decode() if found else None


def version_of(module: str) -> tuple[int, ...] | None:
    """Return the version of the module mod_wsgi, as ``(4, 9, 4)``; None if that cannot be told.

    :raises Failed: if the module cannot be read.
    """
    found = _search(_MOD_WSGI, module)
    return found and tuple(map(int, (found[1] or found[2]).split(b".")))


def _search(pattern: re.Pattern[bytes], module: str) -> re.Match[bytes] | None:
    try:
        with open(module, "rb") as file:
            return pattern.search(file.read())
    except OSError as error:
        raise Failed(f"{module}: {error.strerror}") from error


def check_python(module: str) -> None:
    """Make sure that this environment and Apache's *module* are of one Python.

    :raises Failed: if they are not.
    """
    theirs, ours = python_of(module), f"{sys.version_info[0]}.{sys.version_info[1]}"
    if theirs not in (None, ours):
        raise Failed(
            f"{module} was built for Python {theirs}, and {sys.prefix} is an environment of "
            f"Python {ours}: create it again with python{theirs} -m venv --clear {sys.prefix}"
        )


def check_environment() -> None:
    """Make sure that this is a virtual environment, which is where the entry script looks.

    :raises Failed: if it is not.
    """
    if sys.prefix == sys.base_prefix:
        raise Failed(
            f"{sys.prefix} is no virtual environment: install the package into one, made with "
            "/usr/bin/python3 -m venv /opt/modpython-handlers"
        )


def check_readable(user: str, uid: int, gid: int, more: list[str]) -> None:
    """Make sure that Apache's user can read this environment, its Python, and *more* files.

    :raises Failed: naming the first file or directory that it cannot read.
    """
    # the package itself may be a link to a checkout
    package = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    found = place.unreadable(
        uid,
        gid,
        [sysconfig.get_path("purelib"), os.path.join(package, "__init__.py"), os.__file__, *more],
    )
    if found:
        raise Failed(
            f"{user} may not read {found}, and Apache's children need this environment, "
            f"{sys.prefix}, and its Python, {os.path.realpath(sys.executable)}: make it with "
            "/usr/bin/python3 -m venv /opt/modpython-handlers"
        )


def check_shared_places(etc: str, path: str, options: settings.Settings) -> None:
    """Make sure that no other settings file in *etc* names the cache or snapshot of *options*.

    :param path: the settings file that the options are of.
    :raises Failed: if one does.
    """
    for other in sorted(glob.glob(os.path.join(glob.escape(etc), "*.ini"))):
        if os.path.realpath(other) == os.path.realpath(path):
            continue
        theirs = settings.read(other)
        for name in ("thumbnail.cache", "lookup.snapshot"):
            mine, its = options.get(name), theirs.get(name)
            if mine and its and _overlap(mine, its):
                raise Failed(f"{name} is {mine} in {path} and {its} in {other}: each needs its own")


def taken_urls(apache: Apache, prefixes: list[str]) -> list[str]:
    """Return a sentence for whatever the sites have at one of the URL *prefixes*."""
    found = []
    for directive in apache.named("DocumentRoot"):
        for prefix in prefixes if directive.arguments else ():
            path = os.path.join(apache.path(directive.arguments[0]), prefix.strip("/"))
            if os.path.lexists(path):
                found.append(
                    f"{path} exists, and its URL, {prefix}, becomes the handlers' in the site of "
                    f"{directive.host or directive.file}"
                )
    for directive in apache.named(*_TAKING):
        # "Redirect permanent /a /b" has its URL in the second place
        urls = [text for text in directive.arguments[:2] if text.startswith("/")][:1]
        for prefix in prefixes:
            if urls and _is_ours(directive.file) is False and _is_below(urls[0], prefix):
                found.append(
                    f"{directive.file}:{directive.line} has {directive.name} {urls[0]}, below "
                    f"{prefix}, which becomes the handlers'"
                )
    return list(dict.fromkeys(found))


def forbidden_embedding(apache: Apache) -> list[str]:
    """Return a sentence if mod_wsgi may not run Python in Apache's own children."""
    found = apache.named("WSGIRestrictEmbedded")
    if not found or [text.lower() for text in found[-1].arguments] != ["on"]:
        return []
    return [
        f"{found[-1].file}:{found[-1].line} has WSGIRestrictEmbedded On: define HANDLERS_GROUP in "
        f"{apache.conf_file('handlers.conf')} as the name of a WSGIDaemonProcess"
    ]


def unreadable_data(user: str, uid: int, gid: int, options: settings.Settings) -> list[str]:
    """Return a sentence for each of the pictures' directory and an SQLite file that Apache's user
    cannot read, or that is not there."""
    found = []
    root = options.get("images.root")
    paths = {"images.root": root} if root else {}
    try:
        url = database_url.parse(options.get("lookup.database", ""))
        if url.scheme == "sqlite":
            paths["lookup.database"] = url.path
    except database_url.BadURL as error:
        found.append(f"lookup.database: {error}")
    for name, path in paths.items():
        if not os.path.exists(path):
            found.append(f"{name}: {path} is not there")
        elif blocking := place.unreadable(uid, gid, [path]):
            found.append(f"{name} {path}: {user} may not read {blocking}")
    return found


def _is_ours(path: str) -> bool:
    return os.path.basename(os.path.dirname(path)) == _SHARE


def _is_below(url: str, prefix: str) -> bool:
    return url.rstrip("/") == prefix or url.startswith(prefix + "/")


def _overlap(one: str, other: str) -> bool:
    one, other = (os.path.realpath(path) for path in (one, other))
    return os.path.commonpath((one, other)) in (one, other)
