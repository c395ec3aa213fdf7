"""Every option of the package, declared once: its name, kind, default, meaning and an example.

:func:`handlers.settings.value` reads an option by its name, and nothing else knows a default. The
tables in README say the same, which a test compares.
"""

from handlers.kinds import Option

from . import lookup, mod_python, thumbnails
from .thumbnails import EXTENSIONS, FORMATS, unknown_sizes

__all__ = ["EXTENSIONS", "FORMATS", "OPTIONS", "SECTIONS", "unknown_sizes"]

OPTIONS: dict[str, Option] = {
    option.name: option for part in (thumbnails, lookup, mod_python) for option in part.OPTIONS
}
SECTIONS = frozenset(name.rpartition(".")[0] for name in OPTIONS)
