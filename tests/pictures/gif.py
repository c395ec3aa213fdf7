"""GIF files: frames that leave something out, and what is no picture."""

import struct

from tests.attacks import saved
from tests.pictures.chart import SIZE, chart
from tests.pictures.metadata import curv, icc


def gif_frame(picture, left=0, top=0, transparent=None, disposal=0, delay=8):
    """Return one frame of a GIF: its control block, and *picture* with a palette of its own."""
    one = saved(picture, "GIF", optimize=False, interlace=0)
    flags = one[10]
    palette = one[13 : 13 + 3 * (2 << (flags & 7))]
    start = one.index(b",", 13 + len(palette))
    while struct.unpack_from("<HH", one, start + 5) != picture.size:
        start = one.index(b",", start + 1)
    control = bytes((disposal << 2 | (transparent is not None), delay, 0, transparent or 0, 0))
    descriptor = struct.pack("<HHHH", left, top, *picture.size) + bytes((0x80 | flags & 7,))
    rest = one[start + 10 :].removesuffix(b";")
    return b"!\xf9\x04" + control + b"," + descriptor + palette + rest


def gif_of(frames, size=SIZE, before=b"", after=b"", background=0):
    screen = b"GIF89a" + struct.pack("<HHBBB", *size, 0x70, background, 0)
    return screen + before + b"".join(frames) + after + b";"


def blocks(data):
    pieces = [data[at : at + 255] for at in range(0, len(data), 255)]
    return b"".join(bytes((len(piece),)) + piece for piece in pieces) + b"\0"


def gif_xmp(size):
    """Return an application extension with *size* bytes of XMP, as Adobe writes it: unblocked."""
    text = (
        b"<?xpacket begin='' id='W5M0MpCehiHzreSzNTczkc9d'?>"
        + b"<rdf:li>abc</rdf:li>\n" * (size // 21)
    )[:size]
    magic = b"\1" + bytes(range(255, -1, -1)) + b"\0"
    return b"!\xff\x0bXMP DataXMP" + text + magic


def members():
    """Return name -> what makes the file."""
    palette = chart("P")
    small = chart("P", (80, 60))
    return {
        "gif-plain": lambda: gif_of([gif_frame(palette)]),
        "gif-part": lambda: gif_of([gif_frame(small, 40, 30)]),
        "gif-part-transparent": lambda: gif_of([gif_frame(small, 40, 30, transparent=3)]),
        "gif-part-background": lambda: gif_of([gif_frame(small, 40, 30)], background=5),
        "gif-part-film": lambda: gif_of([gif_frame(small, 40, 30, disposal=2), gif_frame(palette)]),
        "gif-beyond": lambda: gif_of([gif_frame(palette)], size=(100, 80)),
        "gif-beyond-part": lambda: gif_of([gif_frame(small, 80, 60)], size=(100, 80)),
        "gif-no-screen": lambda: gif_of([gif_frame(palette)], size=(0, 0)),
        "gif-xmp": lambda: gif_of([gif_frame(palette)], before=gif_xmp(700_000)),
        "gif-comment": lambda: gif_of(
            [gif_frame(palette)], before=b"!\xfe" + blocks(b"x" * 700_000)
        ),
        "gif-icc": lambda: gif_of(
            [gif_frame(palette)], before=b"!\xff\x0bICCRGBG1012" + blocks(icc(curve=curv(1)))
        ),
        "gif-no-trailer": lambda: gif_of([gif_frame(palette)])[:-1],
        "gif-plain-text": lambda: gif_of(
            [gif_frame(palette)], before=b"!\x01\x0c" + bytes(12) + b"\3abc\0"
        ),
        "gif-two-controls": lambda: gif_of([b"!\xf9\x04\1\0\0\5\0" + gif_frame(palette)]),
    }
