"""One piece of work for a maker: which thumbnail to make, and what to answer.

Children of the server use this, too, and do not load Pillow: :func:`run` does.
"""

import dataclasses
import importlib
import io
import os
from collections.abc import Sequence
from typing import NamedTuple

from handlers.image import errors, geometry
from handlers.image.limits import Limits


class Job(NamedTuple):
    """A thumbnail to make, of a source that is passed beside it as a descriptor."""

    size: str
    ext: str
    #: The point that a crop keeps in view.
    focus: tuple[float, float] | None
    limits: Limits
    quality: int | None
    animated: bool
    #: Whether a middle-size copy of the source shall be made, too, and come back with it.
    wants_copy: bool

    def packed(self) -> dict:
        """Return the job as a dict for JSON."""
        return self._asdict() | {"limits": dataclasses.asdict(self.limits)}


def unpacked(packed: dict) -> Job:
    """Return the job that :meth:`Job.packed` has packed, after its way through JSON."""
    limits = packed["limits"]
    focus = packed["focus"] and tuple(packed["focus"])
    limits = Limits(**limits | {"formats": tuple(limits["formats"])})
    return Job(**packed | {"limits": limits, "focus": focus})


def load() -> None:
    """Load what :func:`run` needs, once for all processes that are forked from this one."""
    for name in ("copying", "thumbnail"):
        importlib.import_module(f"handlers.image.{name}")


def run(descriptors: Sequence[int], job: Job) -> tuple[dict, bytes]:
    """Make the thumbnail; return what to say of it, and its bytes with those of a new copy.

    :param descriptors: of the source, and of its middle-size copy if there is one; closed here.
    """
    from handlers.image import copying
    from handlers.image import thumbnail as image

    file, copy = (*(os.fdopen(fd, "rb") for fd in descriptors), None)[:2]
    opened, new_copy = [file, copy], b""
    try:
        if job.wants_copy:
            new_copy = copying.make_copy(file, job.limits) or b""
            copy = io.BytesIO(new_copy) if new_copy else None
        made = image.make(
            file,
            geometry.parse(job.size),
            job.ext,
            focus=job.focus,
            limits=job.limits,
            quality=job.quality,
            animated=job.animated,
            copy=copy,
        )
    except (errors.ImageError, errors.SourceUnavailable) as error:
        return {"error": type(error).__name__, "why": str(error)}, b""
    finally:
        for one in filter(None, opened):
            one.close()
    source = f"{made.source_width}x{made.source_height} {made.source_format}"
    if copy is not None and not new_copy:
        source += " (its copy)"
    return {"bytes": len(made.data), "source": source}, made.data + new_copy
