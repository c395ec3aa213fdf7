"""What ``python -m handlers`` can do, one module for each part of the package.

Each has ``HELP``, a line, and ``configure(parser)``, which adds its sub-commands and sets ``run``
to a function of the parsed arguments and of the settings file's options, which returns the exit
status.
"""
