"""Middle-size copies: when there is one, and that a thumbnail of it is that of its source."""

import io
import math

import pytest
from PIL import Image, ImageChops, ImageStat

from handlers.image.copying import make_copy
from handlers.image.geometry import Geometry
from handlers.image.limits import Limits
from handlers.image.thumbnail import make
from tests.pictures.metadata import curv, icc
from tests.support import photograph


def jpeg(picture, **options):
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


def opened(thumbnail):
    return Image.open(io.BytesIO(thumbnail.data)).convert("RGB")


def decibels(one, other):
    squares = ImageStat.Stat(ImageChops.difference(one, other)).sum2
    error = sum(squares) / (one.width * one.height * 3)
    return 10 * math.log10(255**2 / error) if error else math.inf


@pytest.fixture(scope="module")
def source():
    return jpeg(photograph(4000, 3000))


@pytest.fixture(scope="module")
def plain():
    """A picture that is as large, and quickly made."""
    return jpeg(Image.linear_gradient("L").resize((4000, 3000)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "geometry", [Geometry(200, 200), Geometry(400, 400), Geometry(300, 300, 1)]
)
def test_thumbnail_of_the_copy_is_that_of_the_source(source, geometry):
    copy = make_copy(io.BytesIO(source))
    direct = make(io.BytesIO(source), geometry, "png")
    by_copy = make(io.BytesIO(source), geometry, "png", copy=io.BytesIO(copy))
    assert by_copy[1:] == direct[1:]
    assert decibels(opened(direct), opened(by_copy)) >= 46


def test_copy_that_is_too_small_is_left_alone(plain):
    copy = make_copy(io.BytesIO(plain))
    direct = make(io.BytesIO(plain), Geometry(640, 640), "png")
    assert make(io.BytesIO(plain), Geometry(640, 640), "png", copy=io.BytesIO(copy)) == direct


@pytest.mark.slow
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("geometry", [Geometry(200, 200), Geometry(120, 200, True)])
def test_copy_is_turned_as_its_source(orientation, geometry):
    picture = Image.linear_gradient("L").resize((3011, 4003)).convert("RGB")
    picture.paste("red", (0, 0, 900, 700))
    exif = Image.Exif()
    exif[0x0112] = orientation
    source = jpeg(picture, exif=exif)
    copy = make_copy(io.BytesIO(source))
    for focus in (None, (0.1, 0.9)):
        direct = make(io.BytesIO(source), geometry, "png", focus=focus)
        by_copy = make(io.BytesIO(source), geometry, "png", focus=focus, copy=io.BytesIO(copy))
        assert by_copy[1:] == direct[1:]
        assert decibels(opened(direct), opened(by_copy)) > 40


def test_copy_keeps_the_profile_and_nothing_else():
    exif = Image.Exif()
    exif[0x010E] = "where it was"
    profile = icc(curve=curv(1))
    source = jpeg(Image.new("RGB", (4000, 3000)), exif=exif, icc_profile=profile, comment=b"x")
    copy = Image.open(io.BytesIO(make_copy(io.BytesIO(source))))
    assert copy.info["icc_profile"] == profile
    assert not copy.getexif() and "comment" not in copy.info


@pytest.mark.parametrize(
    ("size", "mode", "format"),
    [((2000, 2000), "RGB", "JPEG"), ((4000, 3000), "CMYK", "JPEG"), ((4000, 3000), "P", "GIF")],
)
def test_no_copy_where_none_is_of_use(size, mode, format):
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, format)
    assert make_copy(buffer) is None


def test_no_copy_beyond_the_limits(plain):
    assert make_copy(io.BytesIO(plain), Limits(pixels=10_000_000)) is None
    assert make_copy(io.BytesIO(plain), Limits(memory=1 << 20)) is None
