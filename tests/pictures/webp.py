"""WebP files: chunks that are no picture, frames that leave something out."""

from tests.attacks import saved, webp_chunk
from tests.pictures.chart import SIZE, chart
from tests.pictures.metadata import curv, icc

_LINEAR = icc(curve=curv(1), name="sRGB linear")


def webp_of(*more, picture=None, flags=0, tail=b"", size=SIZE, **options):
    """Return the chart as WebP, with chunks *more* behind the picture."""
    options = {"lossless": True} | options
    whole = saved(picture or chart(), "WEBP", **options)
    pictures = whole[12:]
    if whole[12:16] == b"VP8X":
        pictures = whole[30:]
    extended = webp_chunk(
        b"VP8X", bytes((flags, 0, 0, 0)) + three(size[0] - 1) + three(size[1] - 1)
    )
    body = b"WEBP" + extended + pictures + b"".join(more)
    return b"RIFF" + len(body).to_bytes(4, "little") + body + tail


def three(number):
    return number.to_bytes(3, "little")


def webp_frame(picture, left=0, top=0, flags=0, duration=80, **options):
    options = {"lossless": True} | options
    whole = saved(picture, "WEBP", **options)[12:]
    if whole[:4] == b"VP8X":
        whole = whole[18:]
    head = three(left // 2) + three(top // 2) + three(picture.width - 1) + three(picture.height - 1)
    return webp_chunk(b"ANMF", head + three(duration) + bytes((flags,)) + whole)


def webp_film(frames, size=SIZE, background=b"\xff\xff\xff\xff", loop=0, flags=0x12):
    body = webp_chunk(b"VP8X", bytes((flags, 0, 0, 0)) + three(size[0] - 1) + three(size[1] - 1))
    body += webp_chunk(b"ANIM", background + loop.to_bytes(2, "little")) + b"".join(frames)
    body = b"WEBP" + body
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def members():
    """Return name -> what makes the file."""
    return {
        "webp-trailing": lambda: webp_of(tail=b"\xde\xad\xbe\xef" * 2000),
        "webp-trailing-simple": lambda: saved(chart(), "WEBP", lossless=True) + b"\xff" * 999,
        "webp-trailing-lossy": lambda: saved(chart(), "WEBP", quality=95) + b"\xff" * 999,
        "webp-xmp": lambda: webp_of(webp_chunk(b"XMP ", b"x" * 900_000), flags=4),
        "webp-unknown": lambda: webp_of(*[webp_chunk(b"abcd", b"x" * 9)] * 500),
        "webp-film-part": lambda: webp_film([webp_frame(chart(size=(80, 60)), 40, 30)] * 2),
        "webp-film-part-RGBA": lambda: webp_film([webp_frame(chart("RGBA", (80, 60)), 40, 30)] * 2),
        "webp-film-one": lambda: webp_film([webp_frame(chart())]),
        "webp-film-no-alpha-flag": lambda: webp_film(
            [webp_frame(chart(size=(80, 60)), 40, 30)] * 2, flags=2
        ),
        "icc-webp": lambda: saved(chart(), "WEBP", lossless=True, icc_profile=_LINEAR),
        "icc-webp-RGBA": lambda: saved(chart("RGBA"), "WEBP", lossless=True, icc_profile=_LINEAR),
        "icc-webp-no-flag": lambda: webp_of(webp_chunk(b"ICCP", _LINEAR)),
    }
