"""From a configuration of mod_python's to the one for mod_wsgi: text in, text out.

:mod:`.text` takes a configuration apart and puts it together byte for byte; :mod:`.scope` knows
which requests a section is about; :mod:`.rewrite` replaces what is mod_python's; :mod:`.scripts`
has the texts of the scripts that the result names; :mod:`.names` looks into handlers' files.
"""
