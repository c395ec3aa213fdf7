"""Spelling and arithmetic of thumbnail sizes."""

import pytest

from handlers.image import orientation
from handlers.image.geometry import BadGeometry, Geometry, fit, parse


@pytest.mark.parametrize(
    ("text", "geometry"),
    [
        ("200x200", Geometry(200, 200, False)),
        ("200x200-crop", Geometry(200, 200, True)),
        ("1x1", Geometry(1, 1, False)),
        ("10000x9-crop", Geometry(10000, 9, True)),
    ],
)
def test_canonical_spelling_round_trips(text, geometry):
    assert parse(text) == geometry
    assert str(geometry) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "200",
        "200x",
        "x200",
        "0x200",
        "200x0",
        "0200x200",
        "200x0200",
        "+200x200",
        "-1x200",
        "10001x1",
        "1x10001",
        "99999x99999",
        "200X200",
        "200x200-Crop",
        "200x200-crop ",
        " 200x200",
        "200x200\n",
        "200x200-crop-crop",
        "200 x200",
        "2e2x200",
        "200x200x200",
        "٢٠٠x200",
        "１００x100",
        "9" * 5000 + "x1",
    ],
)
def test_any_other_spelling_is_bad(text):
    with pytest.raises(BadGeometry):
        parse(text)


@pytest.mark.parametrize(
    ("source", "geometry", "size"),
    [
        ((4000, 3000), "200x200", (200, 150)),
        ((3000, 4000), "200x200", (150, 200)),
        ((200, 200), "200x200", (200, 200)),
        ((100, 50), "200x200", (100, 50)),
        ((1, 1), "200x200", (1, 1)),
        ((5000, 1), "200x200", (200, 1)),
        ((1, 5000), "200x200", (1, 200)),
        ((1000, 667), "200x200", (200, 133)),
        ((6000, 4000), "200x100", (150, 100)),
        ((250, 10000), "200x200", (5, 200)),
    ],
)
def test_fit_shows_everything_and_never_enlarges(source, geometry, size):
    fitting = fit(source, parse(geometry))
    assert fitting.size == size
    assert fitting.box == (0, 0, *source)


@pytest.mark.parametrize(
    ("source", "geometry", "size", "box"),
    [
        ((4000, 3000), "400x400-crop", (400, 400), (500, 0, 3500, 3000)),
        ((3000, 4000), "400x400-crop", (400, 400), (0, 500, 3000, 3500)),
        ((4000, 3000), "200x100-crop", (200, 100), (0, 500, 4000, 2500)),
        # too small to cover: the aspect is kept, the scale is the source's own
        ((300, 100), "400x400-crop", (100, 100), (100, 0, 200, 100)),
        ((300, 1000), "600x300-crop", (300, 150), (0, 425, 300, 575)),
        ((1, 1), "200x100-crop", (1, 1), (0, 0, 1, 1)),
        ((5000, 1), "200x200-crop", (1, 1), (2499.5, 0, 2500.5, 1)),
        ((1, 5000), "200x200-crop", (1, 1), (0, 2499.5, 1, 2500.5)),
    ],
)
def test_crop_covers_without_enlarging(source, geometry, size, box):
    fitting = fit(source, parse(geometry))
    assert fitting.size == size
    assert fitting.box == pytest.approx(box)


@pytest.mark.parametrize(
    ("focus", "left"),
    [
        ((0.5, 0.5), 500),
        ((0.0, 0.0), 0),
        ((1.0, 1.0), 1000),
        ((0.45, 0.5), 300),
        ((0.1, 0.5), 0),
        (None, 500),
        ((-3.0, 0.5), 500),
        ((float("nan"), 0.5), 500),
        ((float("inf"), 0.5), 500),
    ],
)
def test_crop_keeps_the_focus_as_near_to_its_middle_as_the_edges_allow(focus, left):
    fitting = fit((4000, 3000), Geometry(200, 200, True), focus)
    assert fitting.box == pytest.approx((left, 0, left + 3000, 3000))


def test_box_is_always_within_the_source():
    for width in (1, 2, 3, 7, 199, 200, 201, 4001):
        for height in (1, 2, 5, 150, 333, 3001):
            for geometry in ("1x1-crop", "200x200-crop", "37x611-crop", "10000x1-crop", "9x7"):
                for focus in (None, (0, 0), (1, 1), (0.3, 0.7)):
                    size, box = fit((width, height), parse(geometry), focus)
                    assert 0 <= box[0] < box[2] <= width
                    assert 0 <= box[1] < box[3] <= height
                    assert 1 <= size[0] <= max(1, min(width, parse(geometry).width))
                    assert 1 <= size[1] <= max(1, min(height, parse(geometry).height))


@pytest.mark.parametrize("turned", range(1, 9))
def test_stored_box_is_where_the_upright_box_came_from(turned):
    stored = (40, 30)
    upright = orientation.swap(stored, turned)
    whole = orientation.stored_box((0, 0, *upright), stored, turned)
    part = orientation.stored_box((1, 2, 11, 5), stored, turned)
    assert whole == (0, 0, 40, 30)
    assert (part[2] - part[0], part[3] - part[1]) == orientation.swap((10, 3), turned)
