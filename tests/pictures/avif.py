"""AVIF files: brands, and numbers that tell colours."""

import struct

from tests.attacks import box, saved
from tests.pictures.chart import chart
from tests.pictures.metadata import curv, exif, icc


def avif_of(major=b"avif", compatible=None, nclx=None, picture=None, **options):
    """Return the chart as AVIF of other brands, or with other numbers of colour (H.273)."""
    options = {"quality": 95, "subsampling": "4:4:4", "speed": 8, "max_threads": 1} | options
    whole = saved(picture or chart(), "AVIF", **options)
    if nclx is not None:
        at = whole.index(b"colrnclx") + 8
        whole = whole[:at] + struct.pack(">HH", *nclx) + whole[at + 4 :]
    length = int.from_bytes(whole[:4], "big")
    brands = whole[16:length] if compatible is None else compatible
    grown = 16 + len(brands) - length
    if grown:
        # the place of the picture's data moves with what is in front of it
        place = struct.pack(">I", whole.index(b"mdat") + 4)
        at = whole.index(place, whole.index(b"iloc"))
        moved = struct.pack(">I", whole.index(b"mdat") + 4 + grown)
        whole = whole[:at] + moved + whole[at + 4 :]
    return box(b"ftyp", major, bytes(4), brands) + whole[length:]


def _half_clear():
    """Return the chart clear above and solid below.

    Of alpha between the two, Chromium shows what the range of video would make of it.
    """
    picture = chart("RGBA").copy()
    picture.putalpha(picture.getchannel("A").point(lambda value: 255 * (value > 127)))
    return picture


def members():
    """Return name -> what makes the file."""
    found = {}
    named = icc(curve=curv(1), name="sRGB linear")
    found |= {
        "icc-avif": lambda: avif_of(icc_profile=named),
        "icc-avif-gray": lambda: avif_of(picture=chart("L"), icc_profile=icc(curve=curv(1))),
    }
    miaf = b"mif1avifmiafMA1B"
    found |= {
        "avif-plain": lambda: avif_of(),
        "avif-major-mif1": lambda: avif_of(b"mif1", miaf),
        "avif-major-miaf": lambda: avif_of(b"miaf", b"mif1miafavifMA1B"),
        "avif-major-MA1B": lambda: avif_of(b"MA1B", b"mif1miafMA1Bavif"),
        "avif-major-MA1A": lambda: avif_of(b"MA1A", b"avif"),
        "avif-major-only-mif1": lambda: avif_of(b"mif1", b"mif1miaf"),
        "avif-major-only-miaf": lambda: avif_of(b"miaf", b"miafMA1B"),
        "avif-major-only": lambda: avif_of(b"avif", b""),
        "avif-gray": lambda: avif_of(picture=chart("L"), subsampling="4:0:0"),
        "avif-RGBA": lambda: avif_of(picture=_half_clear()),
        "avif-limited": lambda: avif_of(range="limited"),
        "avif-exif": lambda: avif_of(exif=exif(6)),
    }
    for values in (
        (12, 13),
        (11, 13),
        (9, 13),
        (9, 1),
        (9, 14),
        (1, 8),
        (12, 8),
        (1, 4),
        (1, 5),
        (2, 2),
        (1, 2),
        (6, 6),
        (5, 6),
        (9, 16),
        (12, 16),
        (1, 16),
        (9, 18),
        (1, 18),
        (99, 99),
    ):
        name = "-".join(map(str, values))
        found[f"avif-nclx-{name}"] = lambda values=values: avif_of(nclx=values)
    found["avif-nclx-12-13-RGBA"] = lambda: avif_of(picture=_half_clear(), nclx=(12, 13))
    found["avif-nclx-1-8-L"] = lambda: avif_of(picture=chart("L"), nclx=(1, 8))
    found["avif-nclx-9-16-icc"] = lambda: avif_of(icc_profile=named)
    return found
