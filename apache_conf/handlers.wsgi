"""The entry script that WSGIHandlerScript and WSGIImportScript name.

It makes ``from mod_python import apache`` work and hands requests to the runtime; that is all that
other people's handlers need. If a settings.ini lies beside it, each child warms its lookup from the
database that the file names, before the child's first request.
"""

import os

from handlers.mod_python import install_as_mod_python

install_as_mod_python()

from handlers.mod_python.runtime import handle_request  # noqa: E402, F401

_settings = os.path.join(os.path.dirname(os.path.abspath(__file__)), "settings.ini")
if os.path.exists(_settings):
    from handlers import child

    child.start(_settings)
