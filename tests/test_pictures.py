"""Pictures as the world makes them: what Chromium shows, we thumbnail, in the same colours."""

import io

import pytest
from PIL import Image

from handlers.image.errors import BrokenSource, ImageError
from handlers.image.geometry import parse
from handlers.image.thumbnail import make
from tests.pictures import jpeg
from tests.pictures.chart import apart, chart, grid, on_white
from tests.pictures.members import MEMBERS, recorded

#: The mean of what two grids may be apart. JPEG and WebP lose colours at the edges of patches.
_MOST = 1.0
#: PQ and HLG are interpolated between the points of a table.
_MOST_BRIGHT = 3.0
_BRIGHT = ("-16-0-1", "-18-0-1", "-pq", "-hlg", "nclx-9-16", "nclx-12-16", "nclx-1-16")
_BRIGHT += ("nclx-9-18", "nclx-1-18")


def check(data, expected, most, sizes=("1000x1000",), formats=("png", "jpg", "webp")):
    """Compare the thumbnails of *data* with the (width, height, grid) *expected*."""
    for size in sizes:
        for format in formats:
            made = make(io.BytesIO(data), parse(size), format)
            assert (made.source_width, made.source_height) == expected[:2]
            cells = on_white(expected[2]) if format == "jpg" else expected[2]
            found = grid(Image.open(io.BytesIO(made.data)))
            assert apart(found, cells) <= most, (size, format)


@pytest.mark.parametrize(
    "name",
    [
        # one of four in the quick part, as their order is that of their kinds
        pytest.param(name, marks=[pytest.mark.slow] if number % 4 else [])
        for number, name in enumerate(MEMBERS)
    ],
)
def test_member_is_shown_as_chromium_shows_it(name):
    expected, data = recorded()[name], MEMBERS[name]()
    if expected is None:
        with pytest.raises(BrokenSource):
            make(io.BytesIO(data), parse("100x100"), "png")
        return
    most = most_apart(name)
    check(data, expected, most, formats=("png",))
    check(data, expected, most + 0.5, sizes=("100x100",), formats=("png",))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MEMBERS if recorded()[name] is not None])
def test_member_is_the_same_in_every_format(name):
    check(MEMBERS[name](), recorded()[name], most_apart(name), formats=("jpg", "webp"))


def most_apart(name):
    """Return how far the thumbnail of a member may be from what Chromium shows."""
    return _MOST_BRIGHT if any(part in name for part in _BRIGHT) else _MOST


@pytest.mark.parametrize("name", jpeg.endless())
def test_jpeg_without_its_end_is_shown_whole(name):
    data = jpeg.endless()[name]()
    mode = "L" if name.endswith("-L") else "RGB"
    picture = chart(mode, (131, 97)) if "odd" in name else chart(mode)
    check(data, (*picture.size, grid(picture)), _MOST + 0.5)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 2}])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.8, 0.9, 0.97])
@pytest.mark.parametrize("tail", [b"", bytes(50_000), b"\xff"])
def test_jpeg_that_lacks_rows_is_broken(options, part, tail):
    whole = jpeg.jpeg_of(picture=chart(size=(320, 240)), **options)
    data = whole[: int(len(whole) * part)] + tail
    with pytest.raises(ImageError):
        make(io.BytesIO(data), parse("100x100"), "png")
