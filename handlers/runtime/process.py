"""What happens once in the life of a server process."""

import atexit
import logging

_logger = logging.getLogger(__name__)


def register_cleanup(callable, data=None) -> None:
    """Call ``callable(data)`` when this process ends in an orderly way.

    A process that is killed runs nothing. What the call raises is logged.

    :raises ValueError: if it cannot be called.
    """
    if not hasattr(callable, "__call__"):  # noqa: B004 - the name callable is the API's
        raise ValueError("first argument must be a callable object")

    def run(*_, **__):
        try:
            callable(data)
        except Exception:
            _logger.exception("cleanup %r failed", callable)

    try:
        from mod_wsgi import subscribe_shutdown
    except ImportError:
        atexit.register(run)
    else:
        subscribe_shutdown(run)
