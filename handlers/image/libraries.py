"""What makers work with: Pillow, and the faster libraries that are installed beside it.

This loads none of them, so children that only ask for thumbnails need not have them in memory.
"""

import functools
import importlib.util

#: The extensions of what can be encoded here: AVIF only where Pillow was built with it.
FORMATS = ("jpg", "png", "webp", *(("avif",) if importlib.util.find_spec("PIL._avif") else ()))
_OPTIONAL = {"cykooz_resizer": "cykooz.resizer", "pyvips": "libvips"}


@functools.cache
def installed() -> tuple[str, ...]:
    """Return their names, found without loading any of them."""
    found = [name for module, name in _OPTIONAL.items() if importlib.util.find_spec(module)]
    return ("Pillow", *found)
