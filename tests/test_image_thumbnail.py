"""Thumbnails: size, orientation, colour, what is in the file, how near to the ideal they are."""

import functools
import io
import math
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image, ImageChops, ImageCms, ImageStat

from handlers.image import encode, resampling
from handlers.image.geometry import Geometry, fit, parse
from handlers.image.limits import Limits
from handlers.image.thumbnail import make
from tests.support import photograph

ALL = Limits(formats=("JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF"))
PILLOW_NAMES = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "avif": "AVIF"}
RED, LIME, BLUE, WHITE = (220, 20, 20), (20, 200, 20), (20, 20, 220), (250, 250, 250)
#: Corner colours of an upright picture: upper left, upper right, lower left, lower right.
CORNERS = (RED, LIME, BLUE, WHITE)


def saved(picture, format, **options):
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    buffer.seek(0)
    return buffer


def made(source, geometry, format="png", **options):
    """Return the thumbnail as a decoded picture."""
    thumbnail = make(source, parse(geometry), format, limits=ALL, **options)
    picture = Image.open(io.BytesIO(thumbnail.data))
    picture.load()
    assert picture.size == (thumbnail.width, thumbnail.height)
    return picture


def quarters(width, height):
    picture = Image.new("RGB", (width, height))
    for number, colour in enumerate(CORNERS):
        x, y = number % 2 * (width // 2), number // 2 * (height // 2)
        picture.paste(colour, (x, y, x + width - width // 2, y + height - height // 2))
    return picture


def corners(picture):
    width, height = picture.size
    picture = picture.convert("RGB")
    places = [(x, y) for y in (height // 8, height * 7 // 8) for x in (width // 8, width * 7 // 8)]
    return [picture.getpixel(place) for place in places]


def near(colour, expected, tolerance=14):
    pairs = zip(colour, expected, strict=True)
    return all(abs(one - other) <= tolerance for one, other in pairs)


def psnr(one, other):
    statistics = ImageStat.Stat(ImageChops.difference(one, other))
    error = sum(statistics.sum2) / sum(statistics.count)
    return 10 * math.log10(255**2 / error) if error else math.inf


@pytest.fixture(params=["cykooz.resizer", "Pillow"])
def resampler(request, monkeypatch):
    """Resample by what is used where it is installed, then by what is always there."""
    if request.param == "Pillow":
        monkeypatch.setattr(resampling, "fast", None)
    assert (resampling.fast is None) == (request.param == "Pillow")


@pytest.mark.usefixtures("resampler")
@pytest.mark.parametrize(
    "format",
    [
        pytest.param(name, marks=[] if name == "png" else pytest.mark.slow)
        for name in encode.FORMATS
    ],
)
@pytest.mark.parametrize(
    ("mode", "source_format"),
    [
        ("1", "PNG"),
        ("L", "PNG"),
        ("LA", "PNG"),
        ("P", "PNG"),
        ("RGB", "PNG"),
        ("RGBA", "PNG"),
        ("I;16", "PNG"),
        ("L", "JPEG"),
        ("RGB", "JPEG"),
        ("CMYK", "JPEG"),
        ("P", "GIF"),
        ("L", "GIF"),
        ("RGB", "WEBP"),
        ("RGBA", "WEBP"),
        ("RGB", "AVIF"),
        ("RGBA", "AVIF"),
        ("1", "TIFF"),
        ("L", "TIFF"),
        ("P", "TIFF"),
        ("RGB", "TIFF"),
        ("RGBA", "TIFF"),
        ("CMYK", "TIFF"),
        ("I", "TIFF"),
        ("F", "TIFF"),
        ("I;16", "TIFF"),
        ("I;16B", "TIFF"),
    ],
)
def test_every_mode_keeps_its_light_and_dark(mode, source_format, format):
    source = gradient(mode, source_format)
    for geometry in ("90x90", "50x60-crop", "1000x1000"):
        thumbnail = made(io.BytesIO(source), geometry, format).convert("L")
        tolerance = 40 if mode == "1" else 9
        for part in (0.2, 0.5, 0.8):
            middle = round(thumbnail.height * part)
            row = thumbnail.crop((0, middle - 2, thumbnail.width, middle + 2))
            assert ImageStat.Stat(row).mean[0] == pytest.approx(255 * part, abs=tolerance)


@functools.cache
def gradient(mode, format):
    """Return a file that is black at its upper edge and white at its lower one."""
    picture = Image.linear_gradient("L").resize((300, 200))
    if mode.startswith("I;16"):
        picture = picture.convert("I").point(lambda value: value * 257 + 0).convert("I;16")
        if mode == "I;16B":
            picture = Image.frombytes("I;16B", picture.size, picture.tobytes("raw", "I;16B"))
    elif mode == "P":
        picture = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    else:
        picture = picture.convert("RGB").convert(mode if mode in ("CMYK", "RGBA") else "L")
        picture = picture.convert(mode)
    return saved(picture, format).getvalue()


@pytest.mark.parametrize("source_format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize("turned", range(1, 9))
@pytest.mark.parametrize("geometry", ["60x60", "40x40-crop", "1000x1000"])
def test_every_orientation_is_set_upright(source_format, turned, geometry):
    stored = laid(quarters(160, 96), turned)
    exif = Image.Exif()
    exif[0x0112] = turned
    source = saved(stored, source_format, exif=exif)
    thumbnail = made(source, geometry)
    assert thumbnail.size == fit((160, 96), parse(geometry)).size
    assert all(near(*pair) for pair in zip(corners(thumbnail), CORNERS, strict=True))


def laid(picture, turned):
    """Return *picture* stored so that orientation *turned* sets it upright again."""
    inverse = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    return picture.transpose(Image.Transpose(inverse[turned])) if turned > 1 else picture


@pytest.mark.parametrize("turned", range(1, 9))
@pytest.mark.parametrize(
    ("focus", "expected"),
    [((0.1, 0.5), (RED, BLUE)), ((0.9, 0.5), (LIME, WHITE)), (None, (RED, LIME))],
)
def test_focus_is_meant_in_the_upright_picture(turned, focus, expected):
    exif = Image.Exif()
    exif[0x0112] = turned
    source = saved(laid(quarters(400, 100), turned), "JPEG", exif=exif, quality=95)
    thumbnail = made(source, "50x50-crop", focus=focus)
    found = corners(thumbnail)
    if focus is None:
        assert near(found[0], expected[0])
        assert near(found[1], expected[1])
    else:
        assert near(found[0], expected[0])
        assert near(found[1], expected[0])
        assert near(found[2], expected[1])


@pytest.mark.usefixtures("resampler")
@pytest.mark.parametrize("size", [(1, 1), (1, 700), (5000, 1), (2, 3), (9, 8), (17, 1000)])
@pytest.mark.parametrize("source_format", ["JPEG", "PNG", "GIF", "WEBP", "AVIF"])
def test_the_thinnest_sources_are_served(size, source_format):
    source = saved(Image.new("RGB", size, (200, 100, 50)), source_format)
    for geometry in ("200x200", "200x200-crop", "1x1", "1x1-crop"):
        thumbnail = made(source, geometry)
        assert thumbnail.size == fit(size, parse(geometry)).size
        assert near(thumbnail.convert("RGB").getpixel((0, 0)), (200, 100, 50), 30)


@pytest.mark.parametrize("format", encode.FORMATS)
def test_thumbnail_carries_nothing_but_pixels(format):
    exif = Image.Exif()
    exif[0x010E] = "a description"
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    options = {"exif": exif, "icc_profile": profile, "dpi": (300, 300)}
    picture = quarters(400, 300)
    sources = [
        saved(picture, "JPEG", comment=b"a secret", xmp=b"<x:xmpmeta/>", **options),
        saved(picture, "PNG", **options),
        saved(picture, "WEBP", exif=exif, icc_profile=profile, xmp=b"<x:xmpmeta/>"),
        saved(picture, "GIF", comment=b"a secret"),
    ]
    for source in sources:
        for geometry in ("100x100", "1000x1000"):
            data = make(source, parse(geometry), format).data
            for trace in (b"Exif", b"ICC", b"iCCP", b"secret", b"xmp", b"descr", b"eXIf", b"pHYs"):
                assert trace not in data
            decoded = Image.open(io.BytesIO(data))
            assert decoded.format == PILLOW_NAMES[format]
            assert not decoded.getexif()
            assert not {"icc_profile", "comment", "exif", "xmp", "dpi"} & decoded.info.keys()


def test_jpeg_shows_white_under_alpha():
    picture = Image.new("RGBA", (300, 300), (255, 0, 0, 0))
    picture.paste((0, 0, 255, 255), (150, 0, 300, 300))
    thumbnail = made(saved(picture, "PNG"), "100x100", "jpg")
    assert near(thumbnail.getpixel((20, 50)), (255, 255, 255))
    assert near(thumbnail.getpixel((80, 50)), (0, 0, 255))


@pytest.mark.parametrize("mode", ["P", "RGB", "L"])
@pytest.mark.parametrize("format", ["png", "webp"])
def test_transparent_colour_stays_transparent(mode, format):
    picture = Image.new("RGB", (300, 300), (10, 10, 10))
    picture.paste((200, 200, 200), (150, 0, 300, 300))
    if mode == "P":
        picture = picture.quantize(2)
    picture = picture.convert(mode)
    source = saved(picture, "PNG", transparency=picture.getpixel((0, 0)))
    thumbnail = made(source, "100x100", format).convert("RGBA")
    assert thumbnail.getpixel((20, 50))[3] == 0
    assert near(thumbnail.getpixel((80, 50)), (200, 200, 200, 255))


@pytest.mark.usefixtures("resampler")
def test_hidden_colours_do_not_shine_through_at_edges():
    picture = Image.new("RGBA", (400, 400), (255, 0, 0, 0))
    picture.paste((0, 0, 255, 255), (201, 0, 400, 400))
    thumbnail = made(saved(picture, "PNG"), "40x40")
    reds = [red for red, _, _, alpha in pixels(thumbnail) if alpha > 16]
    assert max(reds) <= 4


def pixels(picture):
    places = ((x, y) for y in range(picture.height) for x in range(picture.width))
    return [picture.getpixel(place) for place in places]


def test_opaque_alpha_is_left_out():
    picture = quarters(300, 300).convert("RGBA")
    assert made(saved(picture, "PNG"), "100x100").mode == "RGB"


def test_profile_is_turned_into_srgb():
    profile = swapped_profile()
    picture = Image.new("RGB", (300, 200), (200, 60, 30))
    for source_format in ("JPEG", "PNG", "WEBP", "AVIF", "TIFF"):
        source = saved(picture, source_format, icc_profile=profile)
        assert near(made(source, "100x100").getpixel((50, 30)), (60, 200, 30), 20)


def swapped_profile():
    """Return an sRGB profile whose red and green are changed over, so that no eye is needed."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = profile.index(b"rXYZ", 128), profile.index(b"gXYZ", 128)
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    # the description names sRGB, which it no longer is
    return bytes(profile).replace(b"s\0R\0G\0B", b"s\0W\0A\0P").replace(b"sRGB", b"sWAP")


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize(
    "profile",
    [b"nonsense", b"\0" * 4000, swapped_profile()[:300], swapped_profile()],
    ids=["nonsense", "zeros", "truncated", "another space"],
)
def test_profile_that_is_of_no_use_does_not_fail_the_picture(mode, profile):
    if (mode, profile) == ("RGB", swapped_profile()):
        profile = b""
    picture = Image.new("RGB", (300, 200), (120, 120, 120)).convert(mode)
    source = saved(picture, "JPEG", icc_profile=profile)
    assert near(made(source, "100x100").convert("RGB").getpixel((9, 9)), (120, 120, 120), 6)


@pytest.mark.usefixtures("resampler")
def test_adobe_cmyk_is_not_inverted():
    picture = Image.new("RGB", (300, 200), (30, 60, 200)).convert("CMYK")
    thumbnail = made(saved(picture, "JPEG", quality=95), "100x100")
    assert near(thumbnail.getpixel((50, 30)), (30, 60, 200))


@pytest.mark.slow
@pytest.mark.usefixtures("resampler")
@pytest.mark.parametrize(
    "geometry", ["200x200", "320x320", "400x400-crop", "700x700", "150x90-crop"]
)
def test_thumbnail_is_nearly_that_of_full_decoding(geometry):
    picture = photograph(3000, 2000)
    for source_format, options in (("JPEG", {"quality": 90}), ("PNG", {"compress_level": 1})):
        source = saved(picture, source_format, **options)
        size, box = fit(picture.size, parse(geometry))
        ideal = Image.open(source).resize(size, Image.Resampling.LANCZOS, box)
        assert psnr(made(source, geometry), ideal) >= 46


@pytest.mark.slow
@pytest.mark.usefixtures("resampler")
def test_alpha_thumbnail_is_nearly_that_of_full_decoding():
    picture = photograph(1500, 1100)
    picture.putalpha(Image.radial_gradient("L").resize(picture.size))
    source = saved(picture, "PNG", compress_level=1)
    ideal = picture.resize((200, 147), Image.Resampling.LANCZOS)
    black = Image.new("RGBA", ideal.size, "black")
    flat = [Image.alpha_composite(black, one) for one in (made(source, "200x200"), ideal)]
    assert psnr(*(one.convert("RGB") for one in flat)) >= 46


def test_less_memory_gives_a_coarser_thumbnail_before_none():
    picture = Image.linear_gradient("L").resize((2400, 1800)).convert("RGB")
    source = saved(picture, "JPEG", quality=90)
    little = Limits(memory=16 << 20)
    thumbnail = make(source, Geometry(900, 900), "jpg", limits=little)
    assert (thumbnail.width, thumbnail.height) == (900, 675)


@pytest.mark.parametrize("format", ["jpg", "webp", "avif"])
def test_quality_decides_the_length(format):
    source = saved(photograph(600, 400), "PNG")
    low, high = (make(source, Geometry(200, 200), format, quality=q).data for q in (30, 95))
    assert len(low) < len(high)


def test_noise_at_high_quality_is_encoded():
    chance = random.Random(1)
    noise = bytes(255 * (byte & 1) for byte in chance.randbytes(400 * 400 * 3))
    source = saved(Image.frombytes("RGB", (400, 400), noise), "PNG")
    for quality in range(85, 101):
        assert make(source, Geometry(400, 400), "jpg", quality=quality).data


def test_unknown_format_is_an_error_of_the_caller():
    with pytest.raises(ValueError, match="gif"):
        make(saved(Image.new("L", (9, 9)), "PNG"), Geometry(9, 9), "gif")


def film(format, size=(120, 80), frames=6, **options):
    colours = (RED, LIME, BLUE)
    pictures = [Image.new("RGB", size, colours[number % 3]) for number in range(frames)]
    first, *rest = pictures
    options = {"duration": [50 + 10 * number for number in range(frames)], "loop": 0} | options
    return saved(first, format, save_all=True, append_images=rest, **options)


@pytest.mark.parametrize("source_format", ["GIF", "WEBP", "PNG"])
def test_animation_shows_its_first_frame(source_format):
    for format in ("jpg", "png", "webp"):
        source = film(source_format)
        thumbnail = make(source, Geometry(60, 60), format)
        assert thumbnail.frames == 1
        picture = Image.open(io.BytesIO(thumbnail.data)).convert("RGB")
        assert near(picture.getpixel((30, 20)), RED)


@pytest.mark.parametrize("source_format", ["GIF", "WEBP"])
def test_animation_is_kept_by_option(source_format):
    source = film(source_format)
    thumbnail = make(source, Geometry(60, 60, True), "webp", animated=True)
    picture = Image.open(io.BytesIO(thumbnail.data))
    assert (thumbnail.frames, picture.n_frames, picture.size) == (6, 6, (60, 60))
    for number, colour in enumerate((RED, LIME, BLUE) * 2):
        picture.seek(number)
        assert near(picture.convert("RGB").getpixel((30, 30)), colour)
        assert picture.info["duration"] == 50 + 10 * number
    assert picture.info["loop"] == 0


@pytest.mark.parametrize("source_format", ["GIF", "WEBP"])
@pytest.mark.parametrize(
    "bounds", [{"frames": 5}, {"frame_pixels": 6 * 120 * 80}, {"memory": 200_000}]
)
def test_animation_over_the_limits_shows_its_first_frame(source_format, bounds):
    source, limits = film(source_format), Limits(**bounds)
    assert make(source, Geometry(60, 60), "webp", animated=True, limits=limits).frames == 1


def test_animation_is_not_kept_in_formats_without_it():
    for format in ("jpg", "png", "avif"):
        assert make(film("GIF"), Geometry(60, 60), format, animated=True).frames == 1


def test_result_tells_what_it_was_made_of():
    exif = Image.Exif()
    exif[0x0112] = 6
    source = saved(Image.new("RGB", (400, 300)), "JPEG", exif=exif)
    thumbnail = make(source, Geometry(200, 200), "jpg")
    assert thumbnail[1:] == (150, 200, 300, 400, "JPEG", 1, None)


def test_file_may_be_at_any_position_and_stays_open(tmp_path):
    path = tmp_path / "picture.jpg"
    path.write_bytes(saved(quarters(300, 200), "JPEG").getvalue())
    with open(path, "rb") as file:
        file.seek(100)
        first = make(file, Geometry(50, 50), "png")
        second = make(file, Geometry(50, 50), "png")
    assert first == second


@pytest.mark.slow
@pytest.mark.usefixtures("resampler")
def test_threads_make_the_same_as_one_after_the_other():
    profile = swapped_profile()
    sources = [
        saved(photograph(500, 300, seed), format, icc_profile=profile).getvalue()
        for seed, format in enumerate(("JPEG", "PNG", "WEBP", "AVIF"))
    ]
    jobs = [(data, size) for data in sources for size in ("90x90", "80x80-crop", "700x700")] * 4

    def job(data, size):
        return make(io.BytesIO(data), parse(size), "webp").data

    alone = [job(*one) for one in jobs]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(job, *zip(*jobs, strict=True)))
    assert together == alone
