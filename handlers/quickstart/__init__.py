"""Start Apache prefork on a folder of pictures, with the shipped drop-in and nothing else.

``apache_conf/quickstart`` finds a Python and runs this package from the checkout.
:mod:`~handlers.quickstart.__main__` parses the command line, checks it and installs what is
missing, with the standard library alone; :mod:`~handlers.quickstart.serving` does the rest in the
virtual environment.
"""
