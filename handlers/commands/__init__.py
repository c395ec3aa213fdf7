"""What ``modpython-handlers`` can do, one module for each part of the package.

Each part has ``HELP``, a line, and ``configure(parser)``, which adds its sub-commands and sets
``run`` to a function of the parsed arguments and of the settings file's options, which returns a
:class:`~handlers.commands.result.Result` or raises what :mod:`~handlers.commands.line` turns into
one sentence. ``reads_settings=False`` leaves the settings file to the command.
"""
