"""The entry script that WSGIHandlerScript and WSGIImportScript name.

It makes ``from mod_python import apache`` work and hands requests to the runtime; that is all that
other people's handlers need. Each child warms the lookups of the settings files (``*.ini``) that
lie beside this script, before its first request.
"""

import os
import site
import sys

# "modpython-handlers setup" writes the virtual environment of the package here
ENVIRONMENT = "/opt/modpython-handlers"

try:
    import handlers.mod_python
except ModuleNotFoundError:
    # at the end of the path, so that another application of this child keeps its own modules
    _version = "{}.{}".format(*sys.version_info)
    _packages = f"{ENVIRONMENT}/lib/python{_version}/site-packages"
    if not os.path.isdir(_packages):
        raise SystemExit(
            f"modpython-handlers: mod_wsgi runs Python {_version} and there is no {_packages}: "
            f"make the environment with that Python, then run its modpython-handlers setup"
        ) from None
    site.addsitedir(_packages)
    try:
        import handlers.mod_python
    except ModuleNotFoundError:
        _other = getattr(sys.modules.get("handlers"), "__file__", None)
        raise SystemExit(
            f"modpython-handlers: not installed in {_packages}"
            if _other is None
            else f"modpython-handlers: {_other} is another package of the name handlers: run one "
            "of the two in a WSGIDaemonProcess of its own"
        ) from None

handlers.mod_python.install_as_mod_python()

from handlers import child  # noqa: E402
from handlers.mod_python.runtime import handle_request  # noqa: E402, F401

child.start(os.path.dirname(os.path.abspath(__file__)))
