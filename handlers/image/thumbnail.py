"""Making one thumbnail of one source file."""

from collections.abc import Callable, Collection, Mapping
from typing import BinaryIO, NamedTuple

from PIL import Image

from handlers.image import (
    animation,
    colour,
    encode,
    formats,
    memory,
    orientation,
    planning,
    scaling,
)
from handlers.image.errors import BrokenSource
from handlers.image.geometry import Fitting, Geometry, fit
from handlers.image.limits import Header, Limits, check
from handlers.image.planning import MOST_KEPT, Plan
from handlers.image.resampling import Box

#: How much larger than the thumbnail a copy is, at least: it has been through JPEG once more, and
#: less of that is averaged away.
_COPY_GAP = 2.4


class Kept(NamedTuple):
    """A decoded picture that other thumbnails can be made of, see :func:`make_kept`."""

    picture: Image.Image
    #: What can be made: its size and its box in the picture, both as it is stored.
    wanted: dict[Geometry, tuple[tuple[int, int], Box]]
    header: Header
    #: Pixels of the source, the way up that it is looked at.
    source_size: tuple[int, int]

    @property
    def bytes(self) -> int:
        """The bytes of memory that it takes."""
        pixel_bytes = 1 if self.picture.mode in ("1", "L", "P") else 4
        return self.picture.width * self.picture.height * pixel_bytes


class Thumbnail(NamedTuple):
    """A finished thumbnail, ready to be stored or sent, and what it was made of."""

    data: bytes
    #: Pixels of the thumbnail.
    width: int
    height: int
    #: Pixels of the source, the way up that it is looked at.
    source_width: int
    source_height: int
    #: Pillow's name of the source's format.
    source_format: str
    #: Frames in ``data``: 1, unless an animation was kept.
    frames: int
    #: What was decoded, if other thumbnails can be made of it.
    kept: Kept | None = None


def make(
    file: BinaryIO,
    geometry: Geometry,
    format: str,
    *,
    focus: tuple[float, float] | None = None,
    limits: Limits | None = None,
    quality: int | None = None,
    animated: bool = False,
    copy: BinaryIO | None = None,
    beside: Collection[Geometry] = (),
    room: Callable[[int], None] | None = None,
) -> Thumbnail:
    """Make the thumbnail of the picture in *file* that *geometry* asks for.

    The thumbnail is upright, in sRGB, and carries nothing of the source but pixels: no EXIF, no
    comment, no profile, no preview. It is made whole or not at all, of a source that can be
    decoded whole. Threads may call this at once, each with a file of its own.

    :param file: open for reading in binary, at any position; it stays open.
    :param format: ``jpg``, ``png``, ``webp``, or ``avif`` (see ``encode.FORMATS``).
    :param focus: the point a crop keeps in view, as fractions of the upright picture's width and
        height; None for its middle.
    :param limits: what the source may cost; None for the defaults.
    :param quality: 1 to 100, instead of the format's own.
    :param animated: keep a GIF or WebP animation moving, if *format* is ``webp`` and it is within
        the limits on frames; else, and by default, its first frame is shown.
    :param copy: what :func:`handlers.image.copying.make_copy` made of this source; decoded in its
        place if it is large enough.
    :param beside: other thumbnails of the picture that are wanted soon: a little more is decoded if
        they can be made of that, see :func:`handlers.image.planning.shared`.
    :param room: called before anything is decoded, with the bytes that will be taken at the peak.
    :raises RefusedSource: if the source is over a limit; nothing of it has been decoded then.
    :raises BrokenSource: if it is not a picture of a known format, or damaged.
    :raises SourceUnavailable: if *file* or *copy* cannot be read for now.
    :raises ValueError: if *format* cannot be encoded here.
    """
    encode.check(format)
    limits = limits or Limits()
    with formats.storage():
        return _made(file, geometry, format, focus, limits, quality, animated, copy, beside, room)


def make_kept(kept: Kept, geometry: Geometry, format: str, quality: int | None = None) -> Thumbnail:
    """Make another thumbnail of a picture that :func:`make` has decoded.

    :param geometry: one of ``kept.wanted``.
    """
    encode.check(format)
    size, box = kept.wanted[geometry]
    thumbnail = _finished(kept.picture, size, box, scaling.GAP, kept.header)
    data = encode.encoded(thumbnail, format, quality)
    return Thumbnail(data, *thumbnail.size, *kept.source_size, kept.header.format, 1)


def _made(
    file, geometry, format, focus, limits, quality, animated, copy, beside, room
) -> Thumbnail:
    header = formats.inspect(file, limits)
    stored = header.width, header.height
    upright = orientation.swap(stored, header.orientation)
    fitting, *others = (
        _stored(fit(upright, wanted, focus), stored, header.orientation)
        for wanted in (geometry, *beside)
    )
    others = dict(zip(beside, others, strict=True))
    if copy is not None:
        file, header, fitting, others = _from_copy(file, header, fitting, others, copy, limits)
    whole = planning.best(header, fitting, format, limits)
    plan = planning.in_strips(header, fitting, format, limits, whole) or whole
    check(header, plan.cost_bytes, limits)
    film_bytes = kept = None
    if animated and format == "webp":
        film_bytes = animation.price(file, header, fitting.size, limits)
    if film_bytes is None and others:
        plan, others = planning.shared(header, plan, fitting, others, format, limits)
    if room is not None:
        room(film_bytes or plan.cost_bytes)
    try:
        if film_bytes is not None:
            data, frames = _film(file, header, fitting, quality, limits)
        else:
            plans = plan, whole
            data, kept = _first(file, header, plans, format, quality, limits, others, upright)
            frames = 1
    finally:
        # what strips take is returned with them
        memory.give_back(film_bytes or (0 if plan.in_strips else plan.cost_bytes))
    size = orientation.swap(fitting.size, header.orientation)
    return Thumbnail(data, *size, *upright, header.format, frames, kept)


def _first(
    file, header: Header, plans: tuple[Plan, Plan], format, quality, limits, others, upright
) -> tuple[bytes, Kept | None]:
    """Return the thumbnail by the first of two *plans*; what is damaged is for Pillow to say."""
    plan, whole = plans
    try:
        return _still(file, header, plan, format, quality, others, upright)
    except BrokenSource:
        if not plan.in_strips or whole.cost_bytes > limits.memory:
            raise
    return _still(file, header, whole, format, quality, {}, upright)


def _still(
    file: BinaryIO,
    header: Header,
    plan: Plan,
    format: str,
    quality: int | None,
    others: Mapping[Geometry, Fitting],
    upright: tuple[int, int],
) -> tuple[bytes, Kept | None]:
    if plan.in_strips:
        picture = formats.in_strips(file, header)
    else:
        picture = formats.decoded(file, header, plan.scale)
    size, box, kept = plan.size, _decoded_box(header, picture, plan.box, plan.scale), None
    if others:
        wanted = {}
        for geometry, other in others.items():
            scaled = tuple(side / plan.scale for side in other.box)
            wanted[geometry] = other.size, _decoded_box(header, picture, scaled, plan.scale)
        view = scaling.common(picture, [(size, box), *wanted.values()])
        picture, box = view.picture, view.box(box)
        wanted = {geometry: (size, view.box(box)) for geometry, (size, box) in wanted.items()}
        kept = Kept(picture, wanted, header, upright)
        kept = kept if kept.bytes <= MOST_KEPT else None
    thumbnail = _finished(picture, size, box, plan.gap, header)
    del picture
    return encode.encoded(thumbnail, format, quality), kept


def _decoded_box(header: Header, picture, box: Box, scale: int) -> Box:
    """Return where the *box* of the source, divided by *scale*, lies in the decoded *picture*."""
    if not header.stretched:
        return box
    x, y = picture.width * scale / header.width, picture.height * scale / header.height
    return (
        box[0] * x,
        box[1] * y,
        min(box[2] * x, picture.width),
        min(box[3] * y, picture.height),
    )


def _finished(picture, size: tuple[int, int], box: Box, gap: float, header: Header) -> Image.Image:
    """Return the *box* of a decoded *picture* at *size*, upright and in sRGB."""
    picture, box = scaling.prepared(picture, size, box, gap)
    thumbnail = scaling.scaled(picture, size, box)
    return colour.to_srgb(_turned(thumbnail, header.orientation), header.colour)


def _film(
    file: BinaryIO, header: Header, fitting: Fitting, quality: int | None, limits: Limits
) -> tuple[bytes, int]:
    frames, moving = animation.frames(file, header, *fitting, limits)
    frames = [_turned(frame, header.orientation) for frame in frames]
    return encode.encoded_film(frames, moving, quality), len(frames)


def _stored(fitting: Fitting, stored: tuple[int, int], turned: int) -> Fitting:
    """Return the *fitting* of the upright picture for the picture as it is stored."""
    size = orientation.swap(fitting.size, turned)
    return Fitting(size, orientation.stored_box(fitting.box, stored, turned))


def _from_copy(
    file: BinaryIO,
    header: Header,
    fitting: Fitting,
    others: Mapping[Geometry, Fitting],
    copy: BinaryIO,
    limits: Limits,
) -> tuple[BinaryIO, Header, Fitting, Mapping[Geometry, Fitting]]:
    """Return *copy*, its header and the fittings in it for which it is large enough.

    If it is too small for *fitting*, return the source's.
    """
    found = formats.inspect(copy, limits)
    in_copy = _in_copy(fitting, header, found)
    if planning.ratio(in_copy) < _COPY_GAP:
        return file, header, fitting, others
    mapped = {geometry: _in_copy(other, header, found) for geometry, other in others.items()}
    large = {
        geometry: other for geometry, other in mapped.items() if planning.ratio(other) >= _COPY_GAP
    }
    return copy, found._replace(orientation=header.orientation), in_copy, large


def _in_copy(fitting: Fitting, header: Header, copy: Header) -> Fitting:
    x, y = copy.width / header.width, copy.height / header.height
    left, upper, right, lower = fitting.box
    box = (left * x, upper * y, min(right * x, copy.width), min(lower * y, copy.height))
    return Fitting(fitting.size, box)


def _turned(thumbnail: Image.Image, turned: int) -> Image.Image:
    if turned in orientation.UPRIGHT:
        return thumbnail.transpose(orientation.UPRIGHT[turned])
    return thumbnail
