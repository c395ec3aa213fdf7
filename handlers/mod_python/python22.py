"""What mod_python has for Python 2.2: nothing is left of it, but modules still import it."""
