"""Pictures decoded in strips by libvips: the same thumbnails, for a fraction of the memory."""

import errno
import io
import random
import struct
import sys
import time
import zlib

import pytest
from PIL import Image

from handlers.image import planning, png, scaling, strips, thumbnail
from handlers.image.errors import (
    BrokenSource,
    ImageError,
    RefusedSource,
    SourceUnavailable,
    TooCostly,
)
from handlers.image.excerpt import Excerpt
from handlers.image.geometry import parse
from handlers.image.limits import Limits
from handlers.image.thumbnail import make
from tests.attacks import ATTACKS, deflate_bloat, empty_dynamic_block
from tests.pictures.members import MEMBERS

PNGS = sorted(name for name in MEMBERS if "png" in name)
MEGABYTE = 1 << 20


@pytest.fixture
def both(monkeypatch):
    """Return what makes a thumbnail whole and then in strips, however small the picture is."""
    assert strips.load(), "pip install modpython-handlers[vips]"
    library, used = strips._vips, []
    strips._vips = None

    class Counted(strips.Strips):
        def __init__(self, data, *options):
            used.append(data.length)
            super().__init__(data, *options)

    monkeypatch.setattr(strips, "Strips", Counted)
    monkeypatch.setattr(planning, "_SAVED", 0)
    # but for what is a matter of time
    monkeypatch.setattr(strips, "NARROWEST", 20)

    def make_both(data, size, **options):
        made = []
        for loaded in (None, library):
            monkeypatch.setattr(strips, "_vips", loaded)
            try:
                found = make(io.BytesIO(data), parse(size), "png", **options)
                made.append(found._replace(data=Image.open(io.BytesIO(found.data)).tobytes()))
            except ImageError as error:
                made.append(type(error))
        return *made, len(used)

    return make_both


@pytest.mark.parametrize("size", ["60x90-crop", pytest.param("100x100", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "name",
    [
        # one of three in the quick part, as their order is that of their kinds
        pytest.param(name, marks=[pytest.mark.slow] if number % 3 else [])
        for number, name in enumerate(PNGS)
    ],
)
def test_member_is_the_same_in_strips(both, name, size):
    whole, in_strips, _ = both(MEMBERS[name](), size, focus=(0.2, 0.7))
    assert whole == in_strips


@pytest.mark.parametrize(
    "size", [(900, 1), (20, 900), (331, 97), pytest.param((480, 360), marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_mode_is_the_same_in_strips(both, mode, size, monkeypatch):
    # a small picture has many strips, too
    monkeypatch.setattr(scaling, "_BAND_PIXELS", 1 << 13)
    picture = Image.effect_noise(size, 90)
    for part in ("RGBA", mode) if mode in ("RGBA", "LA") else (mode,):
        picture = picture.convert(part)
    if mode in ("RGBA", "LA"):
        picture.putalpha(Image.linear_gradient("L").resize(size))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    for wanted in ("50x50", "70x40-crop", "2000x2000"):
        whole, in_strips, used = both(buffer.getvalue(), wanted)
        assert whole == in_strips and isinstance(whole, thumbnail.Thumbnail)
    assert used == 3


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_palette_with_more_colours_than_pixels_can_name_is_the_same(both, bits):
    size, row = (64, 40), bytes([0]) + bytes(range(0, 8 * bits))
    header = struct.pack(">IIBBBBB", *size, bits, 3, 0, 0, 0)
    colours = random.Random(bits).randbytes(3 * 200)
    alphas = bytes(range(100, 100 + (1 << bits) + 1))
    picture = zlib.compress(row * size[1])
    chunks = (b"IHDR", header), (b"PLTE", colours), (b"tRNS", alphas), (b"IDAT", picture)
    data = b"\x89PNG\r\n\x1a\n" + b"".join(png._chunk(*chunk) for chunk in chunks)
    whole, in_strips, _ = both(data + png._chunk(b"IEND", b""), "30x30")
    assert whole == in_strips and isinstance(whole, thumbnail.Thumbnail)


def saved(size=(400, 300), **options):
    buffer = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(buffer, "PNG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99])
def test_what_lacks_rows_is_broken_in_strips(both, part):
    data = saved()
    whole, in_strips, used = both(data[: int(len(data) * part)], "50x50")
    assert whole is in_strips is BrokenSource and used == 1


@pytest.mark.slow
@pytest.mark.parametrize("fixture", [None, "read_on_the_way"])
@pytest.mark.parametrize("end", ["cut", "damaged", "whole"])
def test_part_of_a_damaged_picture_is_none_in_strips(both, end, fixture, request):
    """What is shown ends long before the damage."""
    if fixture is not None:
        request.getfixturevalue(fixture)
    data = bytearray(saved((300, 900)))
    if end == "cut":
        del data[len(data) * 9 // 10 :]
    elif end == "damaged":
        data[len(data) * 9 // 10] ^= 0x55
    whole, in_strips, used = both(bytes(data), "60x30-crop", focus=(0.5, 0))
    assert whole == in_strips and used == 1
    assert (whole is BrokenSource) == (end != "whole")


@pytest.mark.parametrize("place", [0.02, 0.4, 0.8])
def test_damage_is_what_pillow_takes_for_it(both, place):
    data = bytearray(saved())
    data[int(len(data) * place)] ^= 0x55
    whole, in_strips, _ = both(bytes(data), "50x50")
    assert whole == in_strips


@pytest.mark.slow
@pytest.mark.parametrize("attack", [name for name in ATTACKS if name.startswith("png")])
def test_attack_is_refused_in_strips(both, attack):
    write, expected = ATTACKS[attack]
    whole, in_strips, _ = both(write(), "50x50")
    assert whole == in_strips
    assert expected == "served" or whole.__name__ == expected


class Failing(io.BytesIO):
    """A file on a storage that goes away."""

    def read(self, size=-1):
        if self.tell() > 4000:
            raise OSError(errno.EIO, "gone")
        return super().read(size)

    def readinto(self, place):
        if len(place) > 4000:
            raise OSError(errno.EIO, "gone")
        return super().readinto(place)


@pytest.fixture
def read_on_the_way(monkeypatch):
    """Have a file of any length be too long to be read before it is decoded."""
    monkeypatch.setattr(png, "_MOST_TRUSTED_BYTES", 3000)
    monkeypatch.setattr(png, "_TRUSTED_BYTES", 3000)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_long_file_is_read_while_it_is_decoded(both, read_on_the_way, mode, monkeypatch):
    monkeypatch.delattr(Excerpt, "whole")
    buffer = io.BytesIO()
    Image.effect_noise((640, 480), 90).convert(mode).save(buffer, "PNG")
    for size in ("50x50", "70x40-crop", "2000x2000"):
        whole, in_strips, used = both(buffer.getvalue(), size)
        assert whole == in_strips and isinstance(whole, thumbnail.Thumbnail)
    assert used == 3
    cut = buffer.getvalue()[: len(buffer.getvalue()) // 2]
    assert both(cut, "50x50")[:2] == (BrokenSource, BrokenSource)


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [empty_dynamic_block(), [0, 1, 0, 0, 0, 0, 0, 0, 0, 0]])
def test_long_file_without_pixels_is_refused_before_its_end(both, blocks):
    started = time.process_time()
    assert both(deflate_bloat(blocks, 45 * MEGABYTE, 300), "50x50") == (
        *(RefusedSource, RefusedSource),
        1,
    )
    assert time.process_time() - started < 10


@pytest.mark.parametrize("fixture", [None, "read_on_the_way"])
def test_storage_that_goes_away_is_no_damage(both, fixture, request):
    if fixture:
        request.getfixturevalue(fixture)
    assert strips.load()
    with pytest.raises(SourceUnavailable, match="gone"):
        make(Failing(saved()), parse("50x50"), "jpg")


def test_large_photograph_is_decoded_in_strips(both, monkeypatch):
    """Whatever the length of its file: that takes less time."""
    monkeypatch.setattr(planning, "_SAVED", 4)
    monkeypatch.setattr(png, "_QUICK_PIXELS", 400 * 300)
    assert both(saved(), "50x50")[2] == 1
    assert both(saved((399, 300)), "50x50")[2] == 1
    buffer = io.BytesIO()
    Image.effect_noise((400, 300), 60).save(buffer, "PNG")
    assert both(buffer.getvalue(), "50x50")[2] == 1
    # but not at the cost of a refusal
    monkeypatch.setattr(strips, "_WORK_BYTES", 300 * MEGABYTE)
    assert both(saved(), "50x50")[2] == 1


@pytest.mark.slow
def test_tall_picture_takes_no_longer_in_strips(both):
    buffer = io.BytesIO()
    Image.new("L", (256, 190_000)).save(buffer, "PNG")
    for size in ("9x9", "200x200", "200x200-crop"):
        started = time.process_time()
        whole, in_strips, _ = both(buffer.getvalue(), size)
        assert whole == in_strips
        assert time.process_time() - started < 10


def test_narrow_picture_is_decoded_whole(both):
    buffer = io.BytesIO()
    Image.new("RGB", (19, 3000)).save(buffer, "PNG")
    whole, in_strips, used = both(buffer.getvalue(), "50x50")
    assert whole == in_strips and not used


@pytest.mark.slow
def test_large_picture_takes_a_fraction_of_the_memory(both, monkeypatch):
    """And one that is too large for Pillow within the limits is made."""
    monkeypatch.setattr(planning, "_SAVED", 4)
    buffer = io.BytesIO()
    Image.new("RGBA", (3000, 2500), (9, 99, 199, 128)).save(buffer, "PNG")
    whole, in_strips, used = both(buffer.getvalue(), "200x200")
    assert whole == in_strips and used == 1
    limits = Limits(memory=16 * MEGABYTE)
    whole, in_strips, used = both(buffer.getvalue(), "200x200", limits=limits)
    assert issubclass(whole, ImageError) and whole is not BrokenSource
    assert in_strips.width == 200 and used == 2
    # a small one is not worth it
    assert both(saved(), "50x50")[2] == 2
    assert both(buffer.getvalue(), "2900x2900", limits=limits)[1] is TooCostly


def test_without_libvips_all_is_made_by_pillow(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvips", None)
    assert not strips.load() and not strips.is_usable()
    assert make(io.BytesIO(saved()), parse("50x50"), "jpg").width == 50
