"""One piece of work for a maker: which thumbnail to make, and what to answer.

Children of the server use this, too, and do not load Pillow: :func:`run` does.
"""

import dataclasses
import functools
import importlib
import io
import os
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

from handlers.image import errors, geometry
from handlers.image.limits import Limits

#: Seconds for which a maker keeps what it has decoded.
KEPT_SECONDS = 3.0
#: What a maker answers that has not kept the picture, in place of the name of an error.
NOT_KEPT = "NotKept"


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
    #: Other sizes that are wanted soon, for which the maker may keep what it decodes.
    beside: tuple[str, ...] = ()
    #: Whether it shall be made of what the maker has kept, or not at all.
    of_kept: bool = False

    def packed(self) -> dict:
        """Return the job as a dict for JSON."""
        return self._asdict() | {"limits": dataclasses.asdict(self.limits)}


def unpacked(packed: dict) -> Job:
    """Return the job that :meth:`Job.packed` has packed, after its way through JSON."""
    limits = packed["limits"]
    focus = packed["focus"] and tuple(packed["focus"])
    limits = Limits(**limits | {"formats": tuple(limits["formats"])})
    beside = tuple(packed["beside"])
    return Job(**packed | {"limits": limits, "focus": focus, "beside": beside})


def load() -> None:
    """Load what :func:`run` needs, once for all processes that are forked from this one."""
    for name in ("image.copying", "image.thumbnail", "maker.kept"):
        importlib.import_module(f"handlers.{name}")


def run(descriptors: Sequence[int], job: Job, pictures=None) -> tuple[dict, bytes]:
    """Make the thumbnail; return what to say of it, and its bytes with those of a new copy.

    The answer's ``kept`` names the sizes that can be made of what is kept now.

    :param descriptors: of the source, and of its middle-size copy if there is one; closed here.
    :param pictures: the :class:`handlers.maker.kept.Pictures` of this process; None if it keeps
        nothing.
    """
    file, copy = (*(os.fdopen(fd, "rb") for fd in descriptors), None)[:2]
    try:
        made = None
        # a film is not made of its first frame
        if pictures is not None and (job.of_kept or not (job.animated and job.ext == "webp")):
            made = _of_kept(file, job, pictures)
        if made is None and job.of_kept:
            return {"error": NOT_KEPT, "why": "the picture is not kept"}, b""
        return made or _decoded(file, copy, job, pictures)
    except (errors.ImageError, errors.SourceUnavailable) as error:
        return {"error": type(error).__name__, "why": str(error)}, b""
    finally:
        for one in filter(None, (file, copy)):
            one.close()


def _of_kept(file: BinaryIO, job: Job, pictures) -> tuple[dict, bytes] | None:
    from handlers.image import thumbnail as image
    from handlers.maker import kept

    known, wanted = kept.key(file.fileno(), job.focus), geometry.parse(job.size)
    found = pictures.find(known, wanted)
    if found is None:
        return None
    made = image.make_kept(found, wanted, job.ext, job.quality)
    del found
    pictures.used(known, wanted)
    return {"bytes": len(made.data), "source": _source(made, "kept")}, made.data


def _decoded(file: BinaryIO, copy: BinaryIO | None, job: Job, pictures) -> tuple[dict, bytes]:
    from handlers.image import copying
    from handlers.image import thumbnail as image
    from handlers.maker import kept

    # a source that is written to meanwhile is another one when it is asked for again
    known, new_copy = kept.key(file.fileno(), job.focus), b""
    if job.wants_copy:
        if pictures is not None:
            # what a copy takes is only known to be within the limit
            pictures.make_room(job.limits.memory, job.limits.memory)
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
        beside=[geometry.parse(size) for size in job.beside] if pictures is not None else (),
        room=pictures and functools.partial(pictures.make_room, limit=job.limits.memory),
    )
    source = _source(made, "its copy" if copy is not None and not new_copy else "")
    answer = {"bytes": len(made.data), "source": source}
    if made.kept is not None:
        pictures.keep(known, made.kept)
        answer["kept"] = [str(size) for size in made.kept.wanted]
    return answer, made.data + new_copy


def _source(made, what: str) -> str:
    source = f"{made.source_width}x{made.source_height} {made.source_format}"
    return f"{source} ({what})" if what else source
