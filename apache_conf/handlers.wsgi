"""The entry script that WSGIHandlerScript and WSGIImportScript name.

Each child prepares for the sites whose settings files (``*.ini``) lie beside this script. At its
first request it makes ``from mod_python import apache`` work and hands all requests to the runtime;
that is all that other people's handlers need. If the package cannot be found, or the interpreter
is another application's, each child writes one line to the error log and answers 500.
"""

import os
import site
import sys

# "modpython-handlers setup" writes the virtual environment of the package here
ENVIRONMENT = "/opt/modpython-handlers"


def find_package():
    """Make ``handlers`` importable; return what is wrong if that cannot be done, else None."""
    try:
        import handlers.child
    except ModuleNotFoundError:
        pass
    else:
        return None
    version = "{}.{}".format(*sys.version_info)
    packages = f"{ENVIRONMENT}/lib/python{version}/site-packages"
    if not os.path.isdir(packages):
        return (
            f"mod_wsgi runs Python {version} and there is no {packages}: make the environment with "
            "that Python, then run its modpython-handlers setup"
        )
    # at the end of the path, so that another application of this child keeps its own modules
    site.addsitedir(packages)
    try:
        import handlers.child  # noqa: F401
    except ModuleNotFoundError:
        other = getattr(sys.modules.get("handlers"), "__file__", None)
        if other is None:
            return f"not installed in {packages}"
        return (
            f"{other} is another package of the name handlers: run one of the two in a "
            "WSGIDaemonProcess of its own"
        )
    return None


def find_interpreter():
    """Return what is wrong if this is another application's interpreter, else None.

    From Python 3.12 on, a thread that was in one of those does not find the main one again
    (mod_wsgi asks PyGILState_Ensure for it).
    """
    if sys.version_info < (3, 12):
        return None
    import ctypes

    current, main = ctypes.pythonapi.PyInterpreterState_Get, ctypes.pythonapi.PyInterpreterState_Main
    current.restype = main.restype = ctypes.c_void_p
    if current() == main():
        return None
    version = "{}.{}".format(*sys.version_info)
    return (
        "this is not Python's main interpreter. It needs application-group=%{GLOBAL}; and if another "
        f"application runs in the same processes, Python {version} mixes the two up: run one of them "
        "in a WSGIDaemonProcess of its own (HANDLERS_GROUP)"
    )


fault = find_interpreter() or find_package()
if fault is None:
    from handlers import child

    child.start(os.path.dirname(os.path.abspath(__file__)))

    def handle_request(environ, start_response):
        """Answer the first request, and let the runtime answer all that follow."""
        global handle_request
        handle_request = child.ready()
        return handle_request(environ, start_response)

else:
    # mod_wsgi would run a script that raises again at every request, and log a traceback each time
    print(f"modpython-handlers: {fault}", file=sys.stderr, flush=True)

    def handle_request(environ, start_response):
        """Answer 500."""
        start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
        return [b"Internal Server Error\n"]
