"""Making one thumbnail of one source file."""

from typing import BinaryIO, NamedTuple

from PIL import Image

from handlers.image import (
    animation,
    colour,
    encode,
    formats,
    memory,
    orientation,
    resampling,
    scaling,
)
from handlers.image.errors import BrokenSource
from handlers.image.geometry import Fitting, Geometry, fit
from handlers.image.limits import Header, Limits, check, held_bytes

_SCALES = (1, 2, 4, 8)
#: How much larger than the thumbnail a picture is decoded, at least. 1.8 keeps it within 46 dB of
#: full decoding; 2 would cost half as much again just above each power of two.
_DECODING_GAP = 1.8
#: What is tried in place of scaling.GAP when memory is short; 1 gives 44 dB.
_COARSER_GAPS = (1.8, 1.0)
#: How many times less memory than Pillow strips have to take.
_SAVED = 4
#: The same for a copy: it has been through JPEG once more, and less of that is averaged away.
_COPY_GAP = 2.4


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


class _Plan(NamedTuple):
    """How a still thumbnail is made: decoded at *scale*, then its *box* brought to *size*.

    Or decoded in strips, which are scaled one by one.
    """

    size: tuple[int, int]
    box: resampling.Box
    scale: int
    gap: float
    cost_bytes: int
    in_strips: bool = False


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
    :raises RefusedSource: if the source is over a limit; nothing of it has been decoded then.
    :raises BrokenSource: if it is not a picture of a known format, or damaged.
    :raises SourceUnavailable: if *file* or *copy* cannot be read for now.
    :raises ValueError: if *format* cannot be encoded here.
    """
    encode.check(format)
    limits = limits or Limits()
    with formats.storage():
        return _made(file, geometry, format, focus, limits, quality, animated, copy)


def _made(file, geometry, format, focus, limits, quality, animated, copy) -> Thumbnail:
    header = formats.inspect(file, limits)
    stored = header.width, header.height
    upright = orientation.swap(stored, header.orientation)
    fitting = _stored(fit(upright, geometry, focus), stored, header.orientation)
    if copy is not None:
        file, header, fitting = _from_copy(file, header, fitting, copy, limits)
    whole = _plan(header, fitting, format, limits)
    plan = _in_strips(header, fitting, format, limits, whole) or whole
    check(header, plan.cost_bytes, limits)
    film_bytes = None
    if animated and format == "webp":
        film_bytes = animation.price(file, header, fitting.size, limits)
    try:
        if film_bytes is not None:
            data, frames = _film(file, header, fitting, quality, limits)
        else:
            data, frames = _first(file, header, (plan, whole), format, quality, limits), 1
    finally:
        # what strips take is returned with them
        memory.give_back(film_bytes or (0 if plan.in_strips else plan.cost_bytes))
    size = orientation.swap(fitting.size, header.orientation)
    return Thumbnail(data, *size, *upright, header.format, frames)


def _first(file, header: Header, plans: tuple[_Plan, _Plan], format, quality, limits) -> bytes:
    """Return the thumbnail by the first of two *plans*; what is damaged is for Pillow to say."""
    plan, whole = plans
    try:
        return _still(file, header, plan, format, quality)
    except BrokenSource:
        if not plan.in_strips or whole.cost_bytes > limits.memory:
            raise
    return _still(file, header, whole, format, quality)


def _still(file: BinaryIO, header: Header, plan: _Plan, format: str, quality: int | None) -> bytes:
    if plan.in_strips:
        picture = formats.in_strips(file, header)
    else:
        picture = formats.decoded(file, header, plan.scale)
    box = plan.box
    if header.stretched:
        x, y = (
            picture.width * plan.scale / header.width,
            picture.height * plan.scale / header.height,
        )
        box = (
            box[0] * x,
            box[1] * y,
            min(box[2] * x, picture.width),
            min(box[3] * y, picture.height),
        )
    picture, box = scaling.prepared(picture, plan.size, box, plan.gap)
    thumbnail = scaling.scaled(picture, plan.size, box)
    del picture
    thumbnail = colour.to_srgb(_turned(thumbnail, header.orientation), header.colour)
    return encode.encoded(thumbnail, format, quality)


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
    file: BinaryIO, header: Header, fitting: Fitting, copy: BinaryIO, limits: Limits
) -> tuple[BinaryIO, Header, Fitting]:
    """Return *copy*, its header and the fitting in it; those of the source if it is too small."""
    found = formats.inspect(copy, limits)
    x, y = found.width / header.width, found.height / header.height
    left, upper, right, lower = fitting.box
    box = (left * x, upper * y, min(right * x, found.width), min(lower * y, found.height))
    if _ratio(Fitting(fitting.size, box)) < _COPY_GAP:
        return file, header, fitting
    return copy, found._replace(orientation=header.orientation), Fitting(fitting.size, box)


def _ratio(fitting: Fitting) -> float:
    left, upper, right, lower = fitting.box
    return min((right - left) / fitting.size[0], (lower - upper) / fitting.size[1])


def _turned(thumbnail: Image.Image, turned: int) -> Image.Image:
    if turned in orientation.UPRIGHT:
        return thumbnail.transpose(orientation.UPRIGHT[turned])
    return thumbnail


def _plan(header: Header, fitting: Fitting, format: str, limits: Limits) -> _Plan:
    """Return the best way of making the thumbnail that is within the limits.

    If there is none, the best of all, whose cost tells why.
    """
    ratio = _ratio(fitting)
    scales = [s for s in _SCALES if s == 1 or (header.scalable and ratio / s >= 1)]
    best = max((s for s in scales if ratio / s >= _DECODING_GAP), default=1)
    ways = [(scale, scaling.GAP) for scale in scales[scales.index(best) :]]
    ways += [(scales[-1], gap) for gap in _COARSER_GAPS]
    plans = [_priced(header, fitting, format, *way) for way in ways]
    return next((plan for plan in plans if plan.cost_bytes <= limits.memory), plans[0])


def _in_strips(
    header: Header, fitting: Fitting, format: str, limits: Limits, whole: _Plan
) -> _Plan | None:
    """Return the plan for strips, if that takes less time, or a quarter of the memory, or *whole*
    is too much.
    """
    if header.strips_bytes is None:
        return None
    decoding = header.strips_bytes
    is_better = header.quick_in_strips or _SAVED * decoding <= held_bytes(header, 1)
    if not is_better and whole.cost_bytes <= limits.memory:
        return None
    cost = max(
        decoding + scaling.peak_bytes(0, fitting.box, fitting.size, False),
        encode.work_bytes(fitting.size, format),
    )
    if cost > limits.memory >= whole.cost_bytes:
        return None
    return _Plan(fitting.size, fitting.box, 1, scaling.GAP, cost, in_strips=True)


def _priced(header: Header, fitting: Fitting, format: str, scale: int, gap: float) -> _Plan:
    box = tuple(side / scale for side in fitting.box)
    held = held_bytes(header, scale)
    cost = max(
        held + header.decoder_bytes,
        scaling.peak_bytes(held, box, fitting.size, header.direct, gap),
        encode.work_bytes(fitting.size, format),
    )
    return _Plan(fitting.size, box, scale, gap, cost)
