"""Apache handlers in mod_python's style, for prefork sites on mod_wsgi or mod_python."""

__version__ = "1.0.0"
