"""What a decoder is given of a file."""

import io

import pytest
from PIL import Image, ImageCms

from handlers.image.excerpt import Excerpt, joined
from handlers.image.formats import inspect
from handlers.image.geometry import Geometry
from handlers.image.limits import Limits
from handlers.image.thumbnail import make
from tests.attacks import jpeg_segment, jpeg_with, jpeg_with_profile, png, png_chunk

LETTERS = b"abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize("size", [1, 2, 5, 100, -1])
def test_places_are_read_one_after_the_other(size):
    excerpt = Excerpt(io.BytesIO(LETTERS), [(2, 3), (0, 1), (20, 4)])
    pieces = iter(lambda: excerpt.read(size), b"")
    assert b"".join(pieces) == b"cdeauvwx"


def test_seek_goes_to_any_place():
    excerpt = Excerpt(io.BytesIO(LETTERS), [(2, 3), (20, 4)])
    assert (excerpt.seek(4), excerpt.read(2), excerpt.tell()) == (4, b"vw", 6)
    assert (excerpt.seek(-2, 2), excerpt.read()) == (5, b"wx")
    assert (excerpt.seek(-6, 1), excerpt.read(2)) == (1, b"de")
    assert (excerpt.seek(99), excerpt.read()) == (99, b"")


def test_bytes_may_stand_in_place_of_the_files():
    excerpt = Excerpt(io.BytesIO(LETTERS), [(0, 3), b"123", (3, 2)])
    assert [excerpt.read(2) for _ in range(4)] == [b"ab", b"c1", b"23", b"de"]
    assert (excerpt.seek(-1, 2), excerpt.read()) == (7, b"e")


def test_file_that_ends_before_its_places_ends_the_reading():
    assert Excerpt(io.BytesIO(LETTERS), [(24, 10)]).read() == b"yz"


def test_neighbours_are_one_place():
    assert joined([(0, 8), (8, 4), (20, 1), (21, 2)]) == [(0, 12), (20, 3)]
    assert joined([(0, 8), b"x", (8, 4)]) == [(0, 8), b"x", (8, 4)]


def given(source):
    header = inspect(io.BytesIO(source), Limits())
    return Excerpt(io.BytesIO(source), header.pieces).read()


def test_jpeg_keeps_what_its_pixels_depend_on():
    plain = jpeg_with(b"")
    noise = [
        jpeg_segment(0xE1, b"Exif\0\0MM\0*"),
        jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>"),
        jpeg_segment(0xED, b"Photoshop 3.0\x008BIM"),
        jpeg_segment(0xE2, b"MPF\0MM\0*"),
        jpeg_segment(0xE2, b"ICC_PROFILE\0"),
        jpeg_segment(0xEE, b"Adobe\0"),
        jpeg_segment(0xFE, b"a comment"),
    ]
    assert given(jpeg_with(b"".join(noise))) == plain
    adobe = jpeg_with(jpeg_segment(0xEE, b"Adobe\0\x64\0\0\0\0\1"))
    assert given(adobe) == adobe


def test_png_keeps_what_its_pixels_depend_on():
    noise = [
        png_chunk(name, b"x")
        for name in (b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"acTL", b"prVt", b"pHYs", b"tIME")
    ]
    wrong = b"\0\0\0\1gAMAxxxxx"
    assert given(png(8, 8, before=b"".join(noise) + wrong)) == png(8, 8)


def test_program_in_a_profile_is_not_run_and_the_rest_of_it_holds():
    """A tag that is passed over must not change the colours that the others give."""
    plain = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # the red and the green colorant change places
    red, green = plain.index(b"rXYZ"), plain.index(b"gXYZ")
    plain[red], plain[green] = plain[green], plain[red]
    swapped = bytes(plain).replace("sRGB".encode("utf-16-be"), "nRGB".encode("utf-16-be"))
    (count,) = (int.from_bytes(swapped[128:132], "big"),)
    table_end = 132 + 12 * count
    entries = [swapped[132 + 12 * n : 144 + 12 * n] for n in range(count)]
    moved = b"".join(
        entry[:4] + (int.from_bytes(entry[4:8], "big") + 12).to_bytes(4, "big") + entry[8:]
        for entry in entries
    )
    program = b"mpet" + bytes(8)
    extra = b"D2B0" + (len(swapped) + 12).to_bytes(4, "big") + len(program).to_bytes(4, "big")
    body = swapped[4:128] + (count + 1).to_bytes(4, "big") + moved + extra
    body += swapped[table_end:] + program
    with_program = (len(body) + 4).to_bytes(4, "big") + body
    picture = Image.new("RGB", (64, 64), (200, 30, 30))
    pixels = []
    for profile in (swapped, with_program):
        source = jpeg_with_profile(profile, picture)
        made = make(io.BytesIO(source), Geometry(64, 64), "png")
        pixels.append(Image.open(io.BytesIO(made.data)).getpixel((32, 32)))
    assert pixels[0] == pixels[1]
    red, green, blue = pixels[0]
    assert green > 150 > red and blue < 100
