"""Sources made to hurt: each is refused, or served within the memory and CPU time of the limits."""

import contextlib
import io
import json
import random
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import pytest
from PIL import Image

from handlers.image.errors import BrokenSource, RefusedSource
from handlers.image.geometry import Geometry
from handlers.image.limits import Limits
from handlers.image.thumbnail import make

MEGABYTE = 1024 * 1024
FIT = Geometry(200, 200)

# ---- files ----------------------------------------------------------------------------------


def saved(picture, format, **options):
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def png_chunk(name, payload=b""):
    crc = zlib.crc32(name + payload)
    return len(payload).to_bytes(4, "big") + name + payload + crc.to_bytes(4, "big")


def png(width, height, bits=8, colour=2, before=b"", after=b"", interlaced=0, idat=None):
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    if idat is None:
        row = bytes(1 + (width * channels * bits + 7) // 8)
        deflate = zlib.compressobj(1)
        pieces = [deflate.compress(row) for _ in range(height)]
        idat = png_chunk(b"IDAT", b"".join(pieces) + deflate.flush())
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    palette = png_chunk(b"PLTE", bytes(range(256)) * 3) if colour == 3 else b""
    pieces = [png_chunk(b"IHDR", head), palette, before, idat, after, png_chunk(b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(pieces)


def jpeg_segment(marker, payload=b""):
    return bytes((0xFF, marker)) + (len(payload) + 2).to_bytes(2, "big") + payload


def jpeg_with(segments, picture=None):
    """Return a JPEG with *segments* put right behind its SOI marker."""
    plain = saved(picture or Image.new("RGB", (64, 64), "teal"), "JPEG")
    return plain[:2] + segments + plain[2:]


def flat_jpeg(width, height, progressive=False, interleaved=True, components=3, refinements=0):
    """Return a JPEG whose every block is one bit long: as many pixels as can be in a file.

    :param refinements: scans that go over all AC coefficients again, as many as are wanted.
    """
    table = bytes([1] * 64)
    # one code of one bit for symbol 0: "no difference", or "end of block"
    codes = bytes((1, *[0] * 15, 0))
    # and one for a run of 16384 blocks, for the refinements
    runs = bytes((1, *[0] * 15, 0xE0))
    frame = struct.pack(">BHHB", 8, height, width, components)
    frame += b"".join(bytes((number + 1, 0x11, 0)) for number in range(components))
    pieces = [
        b"\xff\xd8",
        jpeg_segment(0xDB, b"\0" + table),
        jpeg_segment(0xC2 if progressive else 0xC0, frame),
        jpeg_segment(0xC4, b"\x00" + codes),
        jpeg_segment(0xC4, b"\x10" + (runs if progressive else codes)),
    ]
    blocks = -(-width // 8) * -(-height // 8)
    if interleaved:
        scans = [tuple(range(components))]
    else:
        scans = [(number,) for number in range(components)]
    last, per_block = (0, 1) if progressive else (63, 2)
    for scan in scans:
        spec = bytes((len(scan),)) + b"".join(bytes((number + 1, 0)) for number in scan)
        pieces.append(jpeg_segment(0xDA, spec + bytes((0, last, last and 0))))
        pieces.append(bytes(blocks * len(scan) * per_block // 8 + 1))
    for _ in range(refinements):
        # 1 bit of code and 14 bits of length for each run; zeros say: 16384 blocks
        pieces.append(jpeg_segment(0xDA, bytes((1, 1, 0, 1, 63, 0x10))))
        pieces.append(bytes((blocks // 16384 + 1) * 15 // 8 + 2))
    return b"".join(pieces) + b"\xff\xd9"


def gif_screen(width, height):
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)


def gif(width, height, frames=1, before=b"", disposal=0):
    # one frame of Pillow's making, again and again
    one = saved(Image.new("P", (width, height)), "GIF")
    start = one.index(b",", 13 + 3 * (2 << (one[10] & 7)))
    frame = one[start:-1]
    control = b"!\xf9\x04" + bytes((disposal << 2, 5, 0, 0, 0))
    return gif_screen(width, height) + before + (control + frame) * frames + b";"


def webp_chunk(name, payload):
    return name + len(payload).to_bytes(4, "little") + payload + b"\0" * (len(payload) & 1)


def webp(*chunks):
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def webp_flood(width, height):
    """Return a WebP of some 34 bytes: lossless, every code of zero length, one colour."""
    bits = (width - 1) | (height - 1) << 14
    codes = bytes((0x88, 0x88, 0x08, 0, 0, 0, 0, 0, 0))
    return webp(webp_chunk(b"VP8L", b"\x2f" + bits.to_bytes(4, "little") + codes))


# ---- what becomes of them -------------------------------------------------------------------

#: Makes one thumbnail; says what came of it, the growth of the peak memory, and the CPU time.
_CHILD = """
import json, sys, time
from handlers.image import errors, geometry, thumbnail

def peak():
    lines = open("/proc/self/status")
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

before, start = peak(), time.process_time()
with open(sys.argv[1], "rb") as file:
    try:
        made = thumbnail.make(file, geometry.Geometry(200, 200), "webp", animated=True)
        outcome = "served"
    except errors.ImageError as error:
        outcome = type(error).__name__
print(json.dumps([outcome, peak() - before, time.process_time() - start]))
"""

JUNK = bytes(range(256)) * 255
ATTACKS = {
    "webp flood of 34 bytes": (lambda: webp_flood(9380, 9380), "RefusedSource"),
    "webp flood within the limits": (lambda: webp_flood(2080, 2080), "served"),
    "rgba png flood": (lambda: png(9380, 9380, colour=6), "RefusedSource"),
    "rgba png within the limits": (lambda: png(3500, 3500, colour=6), "served"),
    "16 bit png within the limits": (lambda: png(3500, 3500, bits=16, colour=6), "served"),
    "grey png flood": (lambda: png(9380, 9380, colour=0), "RefusedSource"),
    "palette png within the limits": (lambda: png(7000, 7000, colour=3), "served"),
    "png of a billion pixels": (lambda: png(65535, 65535, idat=b""), "RefusedSource"),
    "baseline jpeg of 88 megapixels": (lambda: flat_jpeg(9380, 9380), "served"),
    "baseline jpeg as wide as can be": (lambda: flat_jpeg(65500, 3800), "served"),
    "baseline jpeg of 260 megapixels": (lambda: flat_jpeg(16125, 16125), "RefusedSource"),
    "progressive jpeg flood": (lambda: flat_jpeg(9380, 9380, progressive=True), "RefusedSource"),
    "baseline jpeg in three scans": (
        lambda: flat_jpeg(9380, 9380, interleaved=False),
        "RefusedSource",
    ),
    "jpeg of 211 scans": (
        lambda: flat_jpeg(3000, 2900, progressive=True, refinements=210),
        "RefusedSource",
    ),
    "jpeg of 63 scans, large": (
        lambda: flat_jpeg(3000, 2900, progressive=True, refinements=62),
        "RefusedSource",
    ),
    "jpeg of 63 scans, small": (
        lambda: flat_jpeg(2000, 2000, progressive=True, refinements=62),
        "served",
    ),
    "jpeg of a million segments": (
        lambda: jpeg_with(jpeg_segment(0xFE) * 1_000_000),
        "RefusedSource",
    ),
    "jpeg of filling": (lambda: jpeg_with(b"\xff" * 8_000_000), "RefusedSource"),
    "jpeg of zeros": (
        lambda: jpeg_with(jpeg_segment(0xFE) + bytes(8_000_000)),
        "RefusedSource",
    ),
    "jpeg of EXIF blocks": (
        lambda: jpeg_with(jpeg_segment(0xE1, b"Exif\0\0" + JUNK) * 600),
        "RefusedSource",
    ),
    "jpeg of profiles": (
        lambda: jpeg_with(jpeg_segment(0xE2, b"ICC_PROFILE\0\1\1" + JUNK) * 120),
        "served",
    ),
    "png of a million chunks": (
        lambda: png(8, 8, before=png_chunk(b"prVt") * 1_000_000),
        "RefusedSource",
    ),
    "png of empty IDAT chunks": (
        lambda: png(8, 8, idat=png_chunk(b"IDAT") * 1_000_000),
        "RefusedSource",
    ),
    "png of inflating texts": (
        lambda: png(
            8, 8, before=png_chunk(b"zTXt", b"t\0\0" + zlib.compress(bytes(MEGABYTE - 1))) * 60
        ),
        "RefusedSource",
    ),
    "png of a large private chunk": (
        lambda: png(8, 8, before=png_chunk(b"prVt", bytes(45 * MEGABYTE))),
        "RefusedSource",
    ),
    "png with a long tail of IDAT": (
        lambda: png(
            3000,
            3000,
            idat=png_chunk(b"IDAT", zlib.compress(bytes(3000 * 9001)) + bytes(40 * MEGABYTE)),
        ),
        "RefusedSource",
    ),
    "gif frame bomb": (lambda: gif(4000, 4000, 60), "served"),
    "gif flood": (lambda: gif_screen(65535, 65535) + b",", "BrokenSource"),
    "gif canvas flood": (
        lambda: gif_screen(1, 1) + b"," + struct.pack("<HHHHB", 65000, 65000, 9, 9, 0) + b"\2",
        "RefusedSource",
    ),
    "gif of comments": (
        lambda: gif(8, 8, before=(b"!\xfe" + b"\1x" * 500 + b"\0") * 9000),
        "RefusedSource",
    ),
    "gif of a million frames": (lambda: gif(1, 1, 1_000_000), "served"),
    "webp of a million chunks": (
        lambda: webp_flood(8, 8) + webp_chunk(b"junk", b"") * 1_000_000,
        "RefusedSource",
    ),
    "file that is too long": (lambda: bytes(51 * MEGABYTE), "RefusedSource"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_stays_within_memory_and_time(attack, tmp_path):
    write, expected = ATTACKS[attack]
    source = tmp_path / "source"
    source.write_bytes(write())
    outcome, growth, seconds = in_child(source)
    source.unlink()
    assert outcome == expected
    assert growth < 56 * MEGABYTE
    assert seconds < 1


def in_child(source):
    """Make a thumbnail of *source* in a process of its own; return what it says of itself."""
    return json.loads(run_in_child(_CHILD, source))


def run_in_child(code, source):
    command = [sys.executable, "-c", code, str(source)]
    checkout = Path(__file__).parent.parent
    return subprocess.run(command, cwd=checkout, capture_output=True, check=True).stdout


@pytest.mark.parametrize(
    "format",
    ["BMP", "ICO", "PCX", "PPM", "SGI", "TGA", "EPS", "DDS", "JPEG2000"],
)
def test_other_formats_are_not_pictures(format):
    with pytest.raises(BrokenSource):
        make(io.BytesIO(saved(Image.new("RGB", (32, 32)), format)), FIT, "jpg")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff",
        b"GIF89a",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) run",
        b"push graphic-context\nurl(https://example.org/)",
        b"\0\0\0\x1cftypavis",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\xff\xff\xff\xffWEBP",
    ],
)
def test_what_is_no_picture_is_broken(text):
    with pytest.raises(BrokenSource):
        make(io.BytesIO(text), FIT, "jpg")


def test_tiff_is_served_by_option_only():
    source = saved(Image.new("RGB", (32, 32), "teal"), "TIFF")
    with pytest.raises(RefusedSource, match="TIFF is not among"):
        make(io.BytesIO(source), FIT, "jpg")
    made = make(io.BytesIO(source), FIT, "jpg", limits=Limits(formats=("TIFF",)))
    assert made.source_format == "TIFF"


@pytest.mark.parametrize("kind", [0xC3, 0xC5, 0xC9, 0xCA])
def test_lossless_hierarchical_and_arithmetic_jpeg_is_broken(kind):
    source = bytearray(saved(Image.new("RGB", (32, 32)), "JPEG"))
    source[source.index(b"\xff\xc0") + 1] = kind
    with pytest.raises(BrokenSource, match="unknown kind"):
        make(io.BytesIO(source), FIT, "jpg")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "AVIF"])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.9, 0.98])
def test_truncated_source_is_broken(format, part):
    whole = saved(noise(160, 120), format)
    with pytest.raises(BrokenSource):
        make(io.BytesIO(whole[: int(len(whole) * part)]), FIT, "jpg")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF"])
def test_damaged_source_is_broken_or_served(format):
    whole = saved(noise(64, 48), format)
    limits = Limits(formats=("JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF"))
    chance = random.Random(7)
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            damaged[chance.randrange(min(len(damaged), 600))] = chance.randrange(256)
        with contextlib.suppress(BrokenSource, RefusedSource), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = make(io.BytesIO(damaged), FIT, "jpg", limits=limits)
            Image.open(io.BytesIO(made.data)).load()


def test_limits_are_compared_before_scaled_decoding():
    source = io.BytesIO(flat_jpeg(4000, 3000, progressive=True))
    with pytest.raises(RefusedSource, match="over memory"):
        make(source, FIT, "jpg", limits=Limits(memory=20 * MEGABYTE))


def test_memory_of_a_large_source_goes_back(tmp_path):
    source = tmp_path / "large.jpg"
    source.write_bytes(flat_jpeg(2900, 2900, progressive=True))
    assert int(run_in_child(_RESIDENT, source)) < 5 * MEGABYTE


_RESIDENT = """
import sys
import warnings
from handlers.image import geometry, thumbnail

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

before = resident()
for _ in range(5):
    with open(sys.argv[1], "rb") as file:
        thumbnail.make(file, geometry.Geometry(200, 200), "jpg")
print(resident() - before)
"""


@pytest.mark.parametrize(
    ("name", "picture", "format", "options"),
    [
        ("12 megapixel progressive photograph", (4000, 3000), "JPEG", {"progressive": True}),
        ("24 megapixel photograph", (6000, 4000), "JPEG", {}),
        ("4 megapixel png", (2400, 1700), "PNG", {"compress_level": 1}),
        ("4 megapixel webp", (2400, 1700), "WEBP", {"method": 0}),
    ],
)
def test_ordinary_photographs_are_served(name, picture, format, options):
    source = io.BytesIO(
        saved(Image.radial_gradient("L").resize(picture).convert("RGB"), format, **options)
    )
    for geometry in (FIT, Geometry(800, 800)):
        assert make(source, geometry, "jpg").width == geometry.width


def noise(width, height):
    chance = random.Random(width)
    return Image.frombytes("RGB", (width, height), chance.randbytes(width * height * 3))
