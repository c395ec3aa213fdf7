"""``python -m handlers PART COMMAND``: what an admin and cron do.

The settings file is ``/etc/modpython-handlers/settings.ini`` unless ``--settings`` names another.
"""

import argparse
import logging
import sys

from handlers import settings
from handlers.commands import cache, lookup, sessions
from handlers.database_url import BadURL
from handlers.sessions.store import StoreError

_SETTINGS = "/etc/modpython-handlers/settings.ini"
_PARTS = {"cache": cache, "lookup": lookup, "sessions": sessions}


def main(arguments: list[str]) -> int:
    """Do what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m handlers")
    parser.add_argument(
        "--settings", metavar="FILE", default=_SETTINGS, help=f"settings file ({_SETTINGS})"
    )
    parts = parser.add_subparsers(required=True, metavar="PART")
    for name, module in _PARTS.items():
        module.configure(parts.add_parser(name, help=module.HELP, description=module.HELP))
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        return args.run(args, settings.read(args.settings))
    except (settings.BadSettings, BadURL, StoreError, OSError, ValueError) as error:
        print(f"handlers: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
