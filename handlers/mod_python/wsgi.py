"""WSGI applications: ``PythonHandler mod_python.wsgi``.

``PythonOption mod_python.wsgi.application module::callable`` names the application, ``application``
of the module if there is no ``::``. ``PythonOption mod_python.wsgi.base_uri`` is the part of the
path that becomes SCRIPT_NAME; what follows it is PATH_INFO.

What works in another way than in mod_python: without that option SCRIPT_NAME is empty in a
``<Location>``, too; the environment has all that PEP 3333 asks for; and a status line is sent as
the application gives it.
"""

from . import apache

__all__ = ["handler"]

_APPLICATION = "mod_python.wsgi.application"
_BASE = "mod_python.wsgi.base_uri"


def handler(req):
    """Answer with the application; DECLINED, and a line in the log, if there is none.

    It declines addresses outside of ``mod_python.wsgi.base_uri``, too. What the application raises
    passes through, its ``close`` is called in any case.

    :raises ImportError: if there is no such module.
    """
    options = req.get_options()
    name = options.get(_APPLICATION, "")
    application = _find(name) if name else None
    if application is None:
        req.log_error(
            f"WSGI handler: {_APPLICATION} ({name!r}) not found, declining.", apache.APLOG_WARNING
        )
        return apache.DECLINED
    environ = req.build_wsgi_env()
    if environ is None:
        req.log_error(
            f"WSGI handler: req.uri ({req.uri!r}) does not start with {_BASE}"
            f" ({options.get(_BASE)!r}), declining.",
            apache.APLOG_WARNING,
        )
        return apache.DECLINED
    response = application(environ, req.wsgi_start_response)
    try:
        # what is there as a whole goes out as a whole, with its length
        flush = int(not isinstance(response, (list, tuple)))
        for block in response:
            req.write(block, flush)
    finally:
        close = getattr(response, "close", None)
        if close is not None:
            close()
    return apache.OK


def _find(name):
    module_name, _, path = name.partition("::")
    module = apache.import_module(module_name)
    return getattr(module, path or "application", None)
