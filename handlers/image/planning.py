"""How a thumbnail is made: what the decoder leaves out, in strips or whole, and what that costs."""

from collections.abc import Mapping
from typing import NamedTuple

from handlers.image import encode, resampling, scaling
from handlers.image.geometry import Fitting, Geometry
from handlers.image.limits import Header, Limits, held_bytes

_SCALES = (1, 2, 4, 8)
#: How much larger than the thumbnail a picture is decoded, at least. 1.8 keeps it within 46 dB of
#: full decoding; 2 would cost half as much again just above each power of two.
_DECODING_GAP = 1.8
#: What is tried in place of scaling.GAP when memory is short; 1 gives 44 dB.
_COARSER_GAPS = (1.8, 1.0)
#: How many times less memory than Pillow strips have to take.
_SAVED = 4
#: Bytes of a decoded picture that is kept for other thumbnails, at most.
MOST_KEPT = 48 << 20
#: Pixels that are decoded for other thumbnails beyond those that the one asked for needs, at most:
#: a sixteenth of the source's, which adds an eighth to the time, or so many, which take 4 ms.
_MOST_FINER = 1 / 16
_FEW_PIXELS = 1_000_000


class Plan(NamedTuple):
    """How a still thumbnail is made: decoded at *scale*, then its *box* brought to *size*.

    Or decoded in strips, which are scaled one by one.
    """

    size: tuple[int, int]
    box: resampling.Box
    scale: int
    gap: float
    cost_bytes: int
    in_strips: bool = False


def best(header: Header, fitting: Fitting, format: str, limits: Limits) -> Plan:
    """Return the best way of making the thumbnail that is within the limits.

    If there is none, the best of all, whose cost tells why.
    """
    larger = ratio(fitting)
    scales = [s for s in _SCALES if s == 1 or (header.scalable and larger / s >= 1)]
    wanted = max((s for s in scales if larger / s >= _DECODING_GAP), default=1)
    ways = [(scale, scaling.GAP) for scale in scales[scales.index(wanted) :]]
    ways += [(scales[-1], gap) for gap in _COARSER_GAPS]
    plans = [_priced(header, fitting, format, *way) for way in ways]
    return next((plan for plan in plans if plan.cost_bytes <= limits.memory), plans[0])


def in_strips(
    header: Header, fitting: Fitting, format: str, limits: Limits, whole: Plan
) -> Plan | None:
    """Return the plan for strips, if that takes less time, or a quarter of the memory, or *whole*
    is too much.
    """
    if header.strips_bytes is None:
        return None
    is_better = header.quick_in_strips or _SAVED * header.strips_bytes <= held_bytes(header, 1)
    if not is_better and whole.cost_bytes <= limits.memory:
        return None
    cost = _strips_bytes(header, fitting, format)
    if cost > limits.memory >= whole.cost_bytes:
        return None
    return Plan(fitting.size, fitting.box, 1, scaling.GAP, cost, in_strips=True)


def shared(
    header: Header,
    plan: Plan,
    fitting: Fitting,
    others: Mapping[Geometry, Fitting],
    format: str,
    limits: Limits,
) -> tuple[Plan, dict[Geometry, Fitting]]:
    """Return the *plan* of a thumbnail so that others can be made of what is decoded, and these.

    They become as good as each one alone. Those for which much more would have to be decoded, or
    which would not be within the limits, are left out.

    :param fitting: what the plan is for.
    """
    if plan.gap != scaling.GAP:
        # memory is short
        return plan, {}
    found, scale = {}, plan.scale
    pixels = header.width * header.height
    most_finer = max(_MOST_FINER, _FEW_PIXELS / pixels)
    for geometry, other in others.items():
        if plan.in_strips:
            is_cheap = min(scaling.factors(other.box, other.size)) > 1
        else:
            own = best(header, other, format, limits)
            finer = 1 / own.scale**2 - 1 / plan.scale**2
            is_cheap = own.gap == scaling.GAP and finer <= most_finer
            scale = min(scale, own.scale) if is_cheap else scale
        if is_cheap:
            found[geometry] = other
    fittings = fitting, *found.values()
    if plan.in_strips:
        costs = [_strips_bytes(header, one, format) for one in fittings]
        kept = MOST_KEPT
    else:
        costs = [_priced(header, one, format, scale, scaling.GAP).cost_bytes for one in fittings]
        kept = held_bytes(header, scale)
    cost = max(*costs, *(kept + encode.work_bytes(one.size, format) for one in fittings))
    if not found or cost > limits.memory:
        return plan, {}
    box = tuple(side / scale for side in fitting.box)
    return plan._replace(scale=scale, box=box, cost_bytes=cost), found


def _priced(header: Header, fitting: Fitting, format: str, scale: int, gap: float) -> Plan:
    box = tuple(side / scale for side in fitting.box)
    held = held_bytes(header, scale)
    cost = max(
        held + header.decoder_bytes,
        scaling.peak_bytes(held, box, fitting.size, header.direct, gap),
        encode.work_bytes(fitting.size, format),
    )
    return Plan(fitting.size, box, scale, gap, cost)


def _strips_bytes(header: Header, fitting: Fitting, format: str) -> int:
    scaled = scaling.peak_bytes(0, fitting.box, fitting.size, False)
    return max(header.strips_bytes + scaled, encode.work_bytes(fitting.size, format))


def ratio(fitting: Fitting) -> float:
    """Return how many times larger than the thumbnail what it shows is, in the nearer direction."""
    left, upper, right, lower = fitting.box
    return min((right - left) / fitting.size[0], (lower - upper) / fitting.size[1])
