"""What makers work with: Pillow, and the faster libraries that are installed beside it."""

import functools
import importlib.util

_OPTIONAL = {"cykooz_resizer": "cykooz.resizer", "pyvips": "libvips"}


@functools.cache
def installed() -> tuple[str, ...]:
    """Return their names, found without loading any of them."""
    found = [name for module, name in _OPTIONAL.items() if importlib.util.find_spec(module)]
    return ("Pillow", *found)
