"""``modpython-handlers PART COMMAND``: what an admin and cron do; also ``python -m handlers``."""

import sys

from handlers.commands.line import run


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; return the exit status.

    :param arguments: without the program's name; by default those of this process.
    """
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
