"""Sources made to hurt: each is refused, or served within the memory and CPU time of the limits."""

import contextlib
import io
import json
import random
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from PIL import Image, TiffImagePlugin

from handlers.image.errors import BrokenSource, RefusedSource
from handlers.image.geometry import Geometry
from handlers.image.limits import Limits
from handlers.image.thumbnail import make
from tests.attacks import ATTACKS, MEGABYTE, flat_jpeg, saved, tiff_of_strips

FIT = Geometry(200, 200)

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


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_stays_within_memory_and_time(attack, tmp_path):
    write, expected = ATTACKS[attack]
    source = tmp_path / "source"
    source.write_bytes(write())
    outcome, growth, seconds = in_child(source)
    source.unlink()
    assert outcome == expected
    assert growth < 264 * MEGABYTE
    assert seconds < 5


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


@pytest.mark.parametrize(
    "source, why",
    [
        (tiff_of_strips(200_000), "over 4096 numbers in its tag 273"),
        (tiff_of_strips(9, [(33434, 5, 100_000)]), "over 4096 numbers in its tag 33434"),
        (tiff_of_strips(9, [(40_000, 7, MEGABYTE)] * 9), "metadata over metadata_bytes"),
        (tiff_of_strips(9, [(40_000, 7, 1)] * 5000), "over 4096 tags"),
    ],
)
def test_tiff_of_too_much_is_refused_before_pillow_reads_it(source, why, monkeypatch):
    limits = Limits(formats=("TIFF",))
    assert make(io.BytesIO(tiff_of_strips(4000)), FIT, "jpg", limits=limits).source_height == 4000
    monkeypatch.setattr(TiffImagePlugin, "TiffImageFile", None)
    with pytest.raises(RefusedSource, match=why):
        make(io.BytesIO(source), FIT, "jpg", limits=limits)


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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "size", "format", "options"),
    [
        ("RGB", (6000, 4000), "JPEG", {}),
        ("RGB", (6000, 4000), "JPEG", {"progressive": True}),
        ("RGBA", (5200, 3900), "PNG", {"compress_level": 1}),
        ("RGB", (4000, 3000), "WEBP", {"method": 0}),
        ("RGBA", (4000, 3000), "WEBP", {"method": 0}),
        ("RGB", (4000, 3000), "AVIF", {"speed": 10}),
    ],
)
def test_ordinary_pictures_are_served_within_the_memory(mode, size, format, options, tmp_path):
    picture = Image.radial_gradient("L").resize(size).convert(mode)
    if mode == "RGBA":
        picture.putalpha(picture.getchannel("R"))
    source = tmp_path / "source"
    source.write_bytes(saved(picture, format, **options))
    outcome, growth, seconds = in_child(source)
    assert outcome == "served"
    assert growth < 264 * MEGABYTE
    assert seconds < 5
    with open(source, "rb") as file:
        assert make(file, Geometry(2000, 2000), "jpg").width == 2000


def noise(width, height):
    chance = random.Random(width)
    return Image.frombytes("RGB", (width, height), chance.randbytes(width * height * 3))
