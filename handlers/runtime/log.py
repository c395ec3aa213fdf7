"""Logging to Apache's error log at Apache's levels.

Under mod_wsgi, :class:`mod_wsgi.LogHandler` writes a record with the level that belongs to it and,
during a request, with the client's address. It has five levels to Apache's eight: notice goes out
as info, alert and emerg as crit. mod_wsgi before 6 has no LogHandler, and all that it writes has
the level error; there a line begins with its own level, ``[info] lookup: ...``, and those from info
up are written whatever ``LogLevel`` says. Elsewhere records go where the logging module sends them:
those from warning up to stderr, unless the site has configured it.
"""

import contextlib
import logging

from .constants import (
    APLOG_ALERT,
    APLOG_CRIT,
    APLOG_DEBUG,
    APLOG_EMERG,
    APLOG_ERR,
    APLOG_INFO,
    APLOG_NOTICE,
    APLOG_WARNING,
)

_LEVELS = {
    APLOG_EMERG: logging.CRITICAL,
    APLOG_ALERT: logging.CRITICAL,
    APLOG_CRIT: logging.CRITICAL,
    APLOG_ERR: logging.ERROR,
    APLOG_WARNING: logging.WARNING,
    APLOG_NOTICE: logging.INFO,
    APLOG_INFO: logging.INFO,
    APLOG_DEBUG: logging.DEBUG,
}
_NAMES = {logging.WARNING: "warn", logging.CRITICAL: "crit"}
_LEVEL_MASK = 7
_PACKAGE = __name__.partition(".")[0]

# what handlers log through apache.log_error and req.log_error
_handlers_log = logging.getLogger(f"{_PACKAGE}.mod_python.log_error")


def log_error(message: str, level: int | None = None, server=None) -> None:
    """Write *message* to the error log.

    :param level: one of ``APLOG_*``; ``APLOG_ERR`` if not given. ``APLOG_NOERRNO`` may be or-ed in.
    :param server: mod_wsgi logs to the request's server, unless this one has its own log.
    :raises TypeError: if *message* is no str or *level* no int.
    """
    if not isinstance(message, str):
        raise TypeError(f"argument 1 must be str, not {type(message).__name__}")
    if level is None:
        level = APLOG_ERR
    if getattr(server, "has_own_log", False):
        server.log_error(message, level)
        return
    _handlers_log.log(_LEVELS[level & _LEVEL_MASK], "%s", message)


def level_and_bytes(message: str, level: int) -> tuple[int, bytes]:
    """Return the level and the message of a line as Apache's own functions take them.

    :raises TypeError: if *message* is no str or *level* no int.
    """
    if not isinstance(message, str):
        raise TypeError(f"argument 1 must be str, not {type(message).__name__}")
    return level & _LEVEL_MASK, message.encode("utf-8", "surrogateescape")


def route_to_apache() -> None:
    """Let this package's loggers reach Apache's error log; calling it again changes nothing.

    A site that has given the loggers ``handlers`` or root handlers of its own keeps them. Records
    are passed on from info up, and all of those that handlers write through ``apache.log_error``;
    Apache's ``LogLevel`` decides which of them are written.
    """
    if _handlers_log.level == logging.NOTSET:
        _handlers_log.setLevel(logging.DEBUG)
    package = logging.getLogger(_PACKAGE)
    if package.level == logging.NOTSET:
        package.setLevel(logging.INFO)
    if package.hasHandlers():
        return
    with contextlib.suppress(ImportError):
        import mod_wsgi

        # the package of that name has no version without the server
        if hasattr(mod_wsgi, "LogHandler"):
            package.addHandler(mod_wsgi.LogHandler())
        elif hasattr(mod_wsgi, "version"):
            package.addHandler(_prefixed())


def _prefixed() -> logging.Handler:
    """Return a handler that writes records, each with its level in front, to the error log."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.INFO)
    handler.setFormatter(_Apaches("[%(levelname)s] %(message)s"))
    return handler


class _Apaches(logging.Formatter):
    """Names levels as Apache does."""

    def format(self, record):
        record = logging.makeLogRecord(record.__dict__)
        record.levelname = _NAMES.get(record.levelno, record.levelname.lower())
        return super().format(record)
