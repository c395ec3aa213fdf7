"""What makers work with: Pillow, and the faster libraries that are installed beside it.

Importing this loads none of them, so a child that only asks for thumbnails need not hold them.
"""

import functools
import importlib.util

import PIL

#: The extensions of what can be encoded here: AVIF only where Pillow was built with it.
FORMATS = ("jpg", "png", "webp", *(("avif",) if importlib.util.find_spec("PIL._avif") else ()))
_OPTIONAL = {"cykooz_resizer": "cykooz.resizer", "pyvips": "libvips"}


@functools.cache
def installed() -> tuple[str, ...]:
    """Return their names, found without loading any of them."""
    found = [name for module, name in _OPTIONAL.items() if importlib.util.find_spec(module)]
    return ("Pillow", *found)


def used() -> list[str]:
    """Return what this process decodes and scales with, and what is installed and of no use in it.

    To be asked where thumbnails are made, after :func:`handlers.image.strips.load`.
    """
    from handlers.image import resampling, strips

    found = [f"Pillow {PIL.__version__}"]
    optional = (
        ("cykooz.resizer", resampling.fast is not None, "for scaling"),
        ("libvips", strips.is_usable(), "for large PNG files"),
    )
    for name, is_used, purpose in optional:
        if is_used:
            found.append(f"{name} {purpose}")
        elif name in installed():
            found.append(f"not {name}, which is installed, but cannot be loaded")
    return found


def told() -> tuple[dict, bytes]:
    """Return what a maker would use; for a process of its own, see :func:`handlers.worker.call`."""
    from handlers.image import strips

    strips.load()
    strips.check()
    return {"libraries": used()}, b""
