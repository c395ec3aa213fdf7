"""Animations: what a frame leaves uncovered, what becomes of it, and how often all are shown."""

import io

import pytest
from PIL import Image

from handlers.image.errors import BrokenSource
from handlers.image.geometry import parse
from handlers.image.thumbnail import make
from tests.attacks import box
from tests.pictures.avif import avif_of
from tests.pictures.chart import SIZE, apart, chart, grid
from tests.pictures.gif import gif_frame, gif_of
from tests.pictures.webp import webp_film, webp_frame

CLEAR = (0, 0, 0, 0)
RED, BLUE = Image.new("RGB", (80, 60), (200, 20, 20)), Image.new("RGB", (80, 60), (20, 20, 200))


def frames_of(data, format="webp"):
    made = make(io.BytesIO(data), parse("1000x1000"), format, animated=True)
    film = Image.open(io.BytesIO(made.data))
    found = []
    for number in range(film.n_frames):
        film.seek(number)
        found.append(film.convert("RGBA").copy())
    return found, film.info


def near(pixel, wanted):
    if wanted == CLEAR:
        return pixel[3] == 0
    return pixel[3] == 255 and all(abs(a - b) < 24 for a, b in zip(pixel, wanted, strict=False))


def see(frame):
    """Return what is seen left and right."""
    return [frame.getpixel(place) for place in ((20, 30), (120, 90))]


def gif_halves(disposal, **options):
    left = gif_frame(RED.quantize(4), 0, 0, disposal=disposal)
    right = gif_frame(BLUE.quantize(4), 80, 60, disposal=1)
    return gif_of([left, right], **options)


@pytest.mark.parametrize(
    ("disposal", "second"),
    [
        (0, ((200, 20, 20), (20, 20, 200))),
        (1, ((200, 20, 20), (20, 20, 200))),
        (2, (CLEAR, (20, 20, 200))),
        (3, (CLEAR, (20, 20, 200))),
    ],
)
@pytest.mark.parametrize("background", [0, 3])
def test_gif_frame_leaves_the_rest_clear_and_goes_as_it_says(disposal, second, background):
    frames, _ = frames_of(gif_halves(disposal, background=background))
    assert len(frames) == 2
    first = (200, 20, 20), CLEAR
    for frame, wanted in zip(frames, (first, second), strict=True):
        assert all(map(near, see(frame), wanted)), see(frame)


def test_gif_frame_shows_what_is_beneath_its_holes():
    hole = Image.new("P", (80, 60), 1)
    hole.putpalette([0, 0, 0, 255, 255, 255])
    hole.paste(0, (40, 0, 80, 60))
    below = gif_frame(RED.resize(SIZE).quantize(4), disposal=1)
    frames, _ = frames_of(gif_of([below, gif_frame(hole, 20, 20, transparent=1)]))
    assert near(frames[1].getpixel((40, 50)), (200, 20, 20))
    assert near(frames[1].getpixel((80, 50)), (0, 0, 0))


@pytest.mark.parametrize("disposal", [0, 1])
def test_webp_frame_leaves_the_rest_clear_and_goes_as_it_says(disposal):
    pieces = [webp_frame(RED, 0, 0, flags=disposal), webp_frame(BLUE, 80, 60)]
    for flags in (0x12, 0x02):
        frames, _ = frames_of(webp_film(pieces, flags=flags))
        second = (CLEAR if disposal else (200, 20, 20)), (20, 20, 200)
        for frame, wanted in zip(frames, (((200, 20, 20), CLEAR), second), strict=True):
            assert all(map(near, see(frame), wanted)), see(frame)


def netscape(times):
    return b"!\xff\x0bNETSCAPE2.0\3\1" + times.to_bytes(2, "little") + b"\0"


@pytest.mark.parametrize(
    ("before", "shown"), [(b"", 1), (netscape(0), 0), (netscape(1), 2), (netscape(9), 10)]
)
def test_gif_is_shown_once_more_than_it_asks_to_be_repeated(before, shown):
    _, info = frames_of(gif_halves(1, before=before))
    assert info["loop"] == shown


@pytest.mark.parametrize("loop", [0, 1, 7])
def test_webp_is_shown_as_often_as_before(loop):
    pieces = [webp_frame(RED, 0, 0), webp_frame(BLUE, 80, 60)]
    assert frames_of(webp_film(pieces, loop=loop))[1]["loop"] == loop


def sequence():
    """Return an AVIF sequence that has a still picture as well, as libavif writes them."""
    buffer = io.BytesIO()
    other = Image.new("RGB", SIZE, "teal")
    chart().save(buffer, "AVIF", save_all=True, append_images=[other], quality=95)
    return buffer.getvalue()


def test_avif_sequence_shows_its_still_picture():
    data = sequence()
    assert data[8:12] == b"avis"
    made = make(io.BytesIO(data), parse("1000x1000"), "png")
    assert apart(grid(Image.open(io.BytesIO(made.data))), grid(chart())) < 2


def test_avif_sequence_without_a_still_picture_says_so():
    data = sequence()
    start = data.index(b"meta") - 4
    data = data[: start + 4] + b"free" + data[start + 8 :]
    with pytest.raises(BrokenSource, match="sequence without a still picture"):
        make(io.BytesIO(data), parse("100x100"), "png")


@pytest.mark.parametrize("major", [b"heic", b"heix", b"mif1", b"hevc"])
def test_heic_is_named(major):
    data = box(b"ftyp", major, bytes(4), b"mif1heic") + avif_of()[40:]
    with pytest.raises(BrokenSource, match="HEIC is not supported"):
        make(io.BytesIO(data), parse("100x100"), "png")
