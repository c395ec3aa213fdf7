"""What makes mod_python's API run on mod_wsgi: requests, responses, dispatch, forms and the log.

The modules that handlers import by mod_python's names are in :mod:`handlers.mod_python`, which
takes what it needs from here. :mod:`.entry` is what the WSGI entry script imports.
"""
