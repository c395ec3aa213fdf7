"""TIFF files of samples that Pillow cannot read by itself, and of kinds that nobody can."""

import io
import struct
import zlib

import pytest
from PIL import Image

from handlers.image.errors import BrokenSource
from handlers.image.geometry import parse
from handlers.image.limits import Limits
from handlers.image.thumbnail import make
from tests.pictures.chart import SIZE, apart, chart, grid

TIFF = Limits(formats=("TIFF",))
_DEFLATE = 8


def tiff(mode, bits, *, order="<", is_float=False, photometric=None, compression=1):
    """Return the chart as a TIFF of one strip."""
    width, height = SIZE
    data, each = chart(mode).tobytes(), len(mode)
    if photometric is None:
        photometric = 1 if each == 1 else 2
    if photometric == 0:
        data = bytes(255 - sample for sample in data)
    if is_float:
        strip = struct.pack(f"{order}{len(data)}f", *(sample / 255 for sample in data))
    elif bits == 16:
        strip = struct.pack(f"{order}{len(data)}H", *(sample * 257 for sample in data))
    else:
        packed = 0
        for sample in data:
            packed = packed << bits | round(sample * (2**bits - 1) / 255)
        strip = packed.to_bytes(len(data) * bits // 8, "big")
    if compression == _DEFLATE:
        strip = zlib.compress(strip)
    more = 8 + 2 + 12 * 11 + 4
    tags = {256: width, 257: height, 258: bits, 259: compression, 262: photometric}
    tags |= {273: more + 12, 277: each, 278: height, 279: len(strip), 284: 1}
    tags[339] = 3 if is_float else 1
    entries = b""
    for tag, value in tags.items():
        if tag in (258, 339) and each == 3:
            entries += struct.pack(order + "HHII", tag, 3, 3, more + 6 * (tag == 339))
        else:
            entries += struct.pack(order + "HHII", tag, 4, 1, value)
    numbers = struct.pack(order + "6H", *([bits] * 3 + [tags[339]] * 3))
    mark = b"II*\0" if order == "<" else b"MM\0*"
    head = mark + struct.pack(order + "IH", 8, len(tags))
    return head + entries + bytes(4) + numbers + strip


@pytest.mark.parametrize("compression", [1, _DEFLATE])
@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("L", {"bits": 16, "photometric": 0}),
        ("L", {"bits": 16, "photometric": 0, "order": ">"}),
        ("L", {"bits": 16}),
        ("L", {"bits": 12}),
        ("L", {"bits": 12, "photometric": 0}),
        ("RGB", {"bits": 12}),
        ("RGB", {"bits": 32, "is_float": True}),
        ("RGB", {"bits": 32, "is_float": True, "order": ">"}),
        ("L", {"bits": 32, "is_float": True}),
        ("L", {"bits": 32, "is_float": True, "order": ">"}),
        ("L", {"bits": 8, "photometric": 0}),
        ("RGB", {"bits": 8}),
        ("RGB", {"bits": 16}),
    ],
)
def test_samples_of_any_depth_are_seen_as_they_are(mode, options, compression):
    data = tiff(mode, compression=compression, **options)
    for size in ("1000x1000", "100x100"):
        made = make(io.BytesIO(data), parse(size), "png", limits=TIFF)
        assert (made.source_width, made.source_height) == SIZE
        assert apart(grid(Image.open(io.BytesIO(made.data))), grid(chart(mode))) <= 1.0


@pytest.mark.parametrize(
    ("compression", "named"), [(34712, "JPEG 2000"), (33005, "JPEG 2000"), (50002, "JPEG XL")]
)
def test_what_nobody_decodes_is_named(compression, named):
    with pytest.raises(BrokenSource, match=named):
        data = tiff("RGB", 8, compression=compression)
        make(io.BytesIO(data), parse("9x9"), "png", limits=TIFF)


def test_unknown_samples_are_named():
    with pytest.raises(BrokenSource, match="kind that Pillow cannot read"):
        make(io.BytesIO(tiff("RGB", 4)), parse("9x9"), "png", limits=TIFF)
