"""JPEG files: segments that are short, filled, or too many; profiles; orientation; no end."""

from PIL import ImageCms

from tests.attacks import jpeg_segment, png_chunk, saved
from tests.pictures.chart import chart
from tests.pictures.metadata import SWAPPED, curv, exif, icc, para
from tests.pictures.png import png_of

_EOI = b"\xff\xd9"


def jpeg_of(before=b"", picture=None, strip=True, **options):
    """Return the chart as JPEG with *before* behind its SOI; without JFIF if *strip*."""
    options = {"quality": 95, "subsampling": 0} | options
    whole = saved(picture or chart(), "JPEG", **options)
    start = 20 if strip and whole[2:4] == b"\xff\xe0" else 2
    return whole[:2] + before + whole[start:]


def icc_segments(profile):
    size = 65000
    pieces = [profile[at : at + size] for at in range(0, len(profile), size)]
    return [
        jpeg_segment(0xE2, b"ICC_PROFILE\0" + bytes((number + 1, len(pieces))) + piece)
        for number, piece in enumerate(pieces)
    ]


def app1(payload):
    return jpeg_segment(0xE1, payload)


def before_scan(jpeg, piece):
    at = jpeg.index(b"\xff\xda")
    return jpeg[:at] + piece + jpeg[at:]


def between_scans(jpeg, piece):
    """Return the progressive *jpeg* with *piece* in front of its third scan."""
    at = -1
    for _ in range(3):
        at = jpeg.index(b"\xff\xda", at + 1)
    return jpeg[:at] + piece + jpeg[at:]


def xmp_segments(size):
    piece = b"http://ns.adobe.com/xmp/extension/\0" + b"x" * 65000
    return app1(piece) * (size // 65000)


def members():
    """Return name -> what makes the file."""
    return {**_profiles(), **_segments(), **_orientations()}


def endless():
    """Return name -> what makes a file that is whole but for its end.

    All its rows are there, of which Chromium leaves out the last ones.
    """
    scans = {"progressive": True}
    return {
        "jpeg-no-eoi": lambda: jpeg_of().removesuffix(_EOI),
        "jpeg-no-eoi-odd": lambda: jpeg_of(
            picture=chart(size=(131, 97)), subsampling=2
        ).removesuffix(_EOI),
        "jpeg-no-eoi-L": lambda: jpeg_of(picture=chart("L"), subsampling=-1).removesuffix(_EOI),
        "jpeg-no-eoi-trailer": lambda: (
            jpeg_of().removesuffix(_EOI) + b"SEFHe\0\0\0" + b"panorama" * 300
        ),
        "jpeg-no-eoi-trailer-markers": lambda: (
            jpeg_of().removesuffix(_EOI) + b"\xff\xe1\0\x08abcdef" + b"SEFT"
        ),
        "jpeg-half-eoi": lambda: jpeg_of().removesuffix(b"\xd9"),
        "jpeg-no-eoi-zeros": lambda: jpeg_of().removesuffix(_EOI) + bytes(5000),
        "jpeg-no-eoi-restarts": lambda: jpeg_of(restart_marker_rows=1).removesuffix(_EOI),
        "jpeg-progressive-no-eoi": lambda: jpeg_of(**scans).removesuffix(_EOI),
        "jpeg-progressive-no-eoi-trailer": lambda: (
            jpeg_of(**scans).removesuffix(_EOI) + b"SEFH" + b"panorama" * 300
        ),
        "jpeg-progressive-no-eoi-L": lambda: jpeg_of(
            picture=chart("L"), subsampling=-1, **scans
        ).removesuffix(_EOI),
    }


def _profiles():
    found = {}
    linear, named = icc(curve=curv(1)), icc(curve=curv(1), name="sRGB linear")
    grey_linear = icc("GRAY", curv(1))
    for mode in ("L", "RGB", "CMYK"):
        for name, profile in (("rgb", linear), ("gray", grey_linear)):
            found[f"icc-{name}-linear-jpeg-{mode}"] = lambda mode=mode, profile=profile: jpeg_of(
                b"".join(icc_segments(profile)),
                chart(mode),
                **({} if mode == "RGB" else {"subsampling": -1}),
            )
    found |= {
        "icc-named-srgb-linear": lambda: jpeg_of(b"".join(icc_segments(named))),
        "icc-named-srgb-swapped": lambda: jpeg_of(
            b"".join(icc_segments(icc(name="sRGB IEC61966-2.1", primaries=SWAPPED)))
        ),
        "icc-para": lambda: jpeg_of(b"".join(icc_segments(icc(curve=para(1.5), name="c2 sRGB")))),
        "icc-srgb": lambda: jpeg_of(
            b"".join(
                icc_segments(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
            )
        ),
        "icc-jpeg-wrong-order": lambda: jpeg_of(
            b"".join(icc_segments(icc(curve=curv(1), tags={b"zzzz": bytes(70000)}))[::-1])
        ),
        "icc-jpeg-one-missing": lambda: jpeg_of(
            b"".join(icc_segments(icc(curve=curv(1), tags={b"zzzz": bytes(70000)}))[:1])
        ),
        "icc-jpeg-twice": lambda: jpeg_of(b"".join(icc_segments(linear)) * 2),
        "icc-jpeg-empty": lambda: jpeg_of(jpeg_segment(0xE2, b"ICC_PROFILE\0\1\1")),
        "icc-jpeg-short": lambda: jpeg_of(jpeg_segment(0xE2, b"ICC_PROFILE\0")),
        "icc-jpeg-zero": lambda: jpeg_of(jpeg_segment(0xE2, b"ICC_PROFILE\0\0\0" + linear)),
        "icc-jpeg-number": lambda: jpeg_of(jpeg_segment(0xE2, b"ICC_PROFILE\0\3\2" + linear)),
        "icc-jpeg-not-first": lambda: jpeg_of(
            jpeg_segment(0xE2, b"MPF\0abc") + b"".join(icc_segments(linear))
        ),
        "icc-jpeg-after-frame": lambda: before_scan(jpeg_of(), b"".join(icc_segments(linear))),
    }
    return found


def _segments():
    found = {}
    for marker in (0xE0, 0xE1, 0xE2, 0xE3, 0xED, 0xEE, 0xFE):
        for length in (0, 1, 4, 5, 7):
            starts = {
                0xE0: b"JFIF\0",
                0xE1: b"Exif\0\0",
                0xE2: b"ICC_PROFILE\0",
                0xED: b"Photoshop 3.0\0",
                0xEE: b"Adobe",
            }
            payload = starts.get(marker, b"comment")[:length]
            found[f"jpeg-{marker:x}-{length}"] = lambda marker=marker, payload=payload: jpeg_of(
                jpeg_segment(marker, payload)
            )
    photoshop = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\xff\xff"
    scans = {"progressive": True}
    found |= {
        "jpeg-photoshop-cut": lambda: jpeg_of(jpeg_segment(0xED, photoshop)),
        "jpeg-jfif-cut": lambda: jpeg_of(jpeg_segment(0xE0, b"JFIF\0\1\1\0")),
        "jpeg-jfif-zero-density": lambda: jpeg_of(jpeg_segment(0xE0, b"JFIF\0\1\1\1\0\0\0\0\0\0")),
        "jpeg-adobe-rgb": lambda: jpeg_of(
            jpeg_segment(0xEE, b"Adobe\0\x64\0\0\0\0\0"), keep_rgb=True
        ),
        "jpeg-adobe-0-on-ycc": lambda: jpeg_of(jpeg_segment(0xEE, b"Adobe\0\x64\0\0\0\0\0")),
        "jpeg-jfif-adobe-0": lambda: jpeg_of(
            jpeg_segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")
            + jpeg_segment(0xEE, b"Adobe\0\x64\0\0\0\0\0")
        ),
        "jpeg-adobe-11": lambda: jpeg_of(jpeg_segment(0xEE, b"Adobe\0\x64\0\0\0\0")),
        "jpeg-adobe-long": lambda: jpeg_of(jpeg_segment(0xEE, b"Adobe\0\x64\0\0\0\0\1abcdef")),
        "jpeg-xmp-3m": lambda: jpeg_of(xmp_segments(3_000_000)),
        "jpeg-comments": lambda: jpeg_of(jpeg_segment(0xFE, b"x") * 3000),
        "jpeg-fill": lambda: jpeg_of(b"\xff" * 9000),
        "jpeg-fill-before-scan": lambda: before_scan(jpeg_of(), b"\xff" * 9000),
        "jpeg-zeros": lambda: jpeg_of(bytes(9000)),
        "jpeg-zeros-before-scan": lambda: before_scan(jpeg_of(), bytes(9000)),
        "jpeg-letters-before-scan": lambda: before_scan(jpeg_of(), b"abc" * 900),
        "jpeg-ff00-before-scan": lambda: before_scan(jpeg_of(), b"\xff\0" * 900),
        "jpeg-fill-between-scans": lambda: between_scans(jpeg_of(**scans), b"\xff" * 9000),
        "jpeg-zeros-between-scans": lambda: between_scans(jpeg_of(**scans), bytes(9000)),
        "jpeg-rst": lambda: jpeg_of(b"\xff\xd0\xff\xd7"),
        "jpeg-tem": lambda: jpeg_of(b"\xff\x01"),
        "jpeg-dnl": lambda: jpeg_of(jpeg_segment(0xDC, b"\0\x78")),
        "jpeg-dnl-before-scan": lambda: before_scan(jpeg_of(), jpeg_segment(0xDC, b"\0\x78")),
        "jpeg-rst-before-scan": lambda: before_scan(jpeg_of(), b"\xff\xd3\xff\x01"),
        "jpeg-dac": lambda: jpeg_of(jpeg_segment(0xCC, b"\0\x10")),
        "jpeg-jpg0": lambda: jpeg_of(jpeg_segment(0xF0, b"abc")),
        "jpeg-jpg13": lambda: jpeg_of(jpeg_segment(0xFD, b"abc")),
        "jpeg-exp": lambda: jpeg_of(jpeg_segment(0xDF, b"a")),
        "jpeg-dhp": lambda: jpeg_of(jpeg_segment(0xDE, b"abc")),
        "jpeg-res": lambda: jpeg_of(b"\xff\x02"),
        "jpeg-soi-twice": lambda: jpeg_of(b"\xff\xd8"),
        "jpeg-motion-photo": lambda: jpeg_of(**scans) + b"\xff\xda\0\x08" * 200 + bytes(5000),
        "jpeg-two-files": lambda: jpeg_of(**scans) + jpeg_of(**scans) * 12,
    }
    return found


def _orientations():
    return {
        "exif-6": lambda: jpeg_of(app1(exif(6))),
        "exif-6-big": lambda: jpeg_of(app1(exif(6, ">"))),
        "exif-1-then-6": lambda: jpeg_of(app1(exif(1)) + app1(exif(6))),
        "exif-6-then-1": lambda: jpeg_of(app1(exif(6)) + app1(exif(1))),
        "exif-xmp-then-6": lambda: jpeg_of(
            app1(b"http://ns.adobe.com/xap/1.0/\0<x/>") + app1(exif(6))
        ),
        "exif-garbage-then-6": lambda: jpeg_of(app1(b"Exif\0\0garbage-garbage") + app1(exif(6))),
        "exif-short-then-6": lambda: jpeg_of(app1(b"Exif\0\0") + app1(exif(6))),
        "exif-no-signature": lambda: jpeg_of(app1(exif(6, signature=b""))),
        "exif-odd-signature": lambda: jpeg_of(app1(exif(6, signature=b"Exif\0\xff"))),
        "exif-odd-signature-2": lambda: jpeg_of(app1(exif(6, signature=b"EXIF\0\0"))),
        "exif-9": lambda: jpeg_of(app1(exif(9))),
        "exif-0-then-6": lambda: jpeg_of(app1(exif(0)) + app1(exif(6))),
        "exif-after-frame": lambda: before_scan(jpeg_of(), app1(exif(6))),
        "exif-png": lambda: png_of(before=png_chunk(b"eXIf", exif(6, signature=b""))),
        "exif-png-signature": lambda: png_of(before=png_chunk(b"eXIf", exif(6))),
        "exif-png-after": lambda: png_of(after=png_chunk(b"eXIf", exif(6, signature=b""))),
        "exif-png-twice": lambda: png_of(
            before=png_chunk(b"eXIf", exif(1, signature=b""))
            + png_chunk(b"eXIf", exif(6, signature=b""))
        ),
    }
