"""Pictures made to hurt, byte by byte, and what is to become of each."""

import io
import struct
import zlib

from PIL import Image

MEGABYTE = 1024 * 1024


def saved(picture, format, **options):
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def png_chunk(name, payload=b""):
    crc = zlib.crc32(name + payload)
    return len(payload).to_bytes(4, "big") + name + payload + crc.to_bytes(4, "big")


def png(width, height, bits=8, colour=2, before=b"", after=b"", interlaced=0, idat=None):
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    if idat is None:
        row = bytes(1 + (width * channels * bits + 7) // 8)
        deflate = zlib.compressobj(1)
        pieces = [deflate.compress(row) for _ in range(height)]
        idat = png_chunk(b"IDAT", b"".join(pieces) + deflate.flush())
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    palette = png_chunk(b"PLTE", bytes(range(256)) * 3) if colour == 3 else b""
    pieces = [png_chunk(b"IHDR", head), palette, before, idat, after, png_chunk(b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(pieces)


def jpeg_segment(marker, payload=b""):
    return bytes((0xFF, marker)) + (len(payload) + 2).to_bytes(2, "big") + payload


def jpeg_with(segments, picture=None):
    """Return a JPEG with *segments* put right behind its SOI marker."""
    plain = saved(picture or Image.new("RGB", (64, 64), "teal"), "JPEG")
    return plain[:2] + segments + plain[2:]


def flat_jpeg(width, height, progressive=False, interleaved=True, components=3, refinements=0):
    """Return a JPEG whose every block is one bit long: as many pixels as can be in a file.

    :param refinements: scans that go over all AC coefficients again, as many as are wanted.
    """
    table = bytes([1] * 64)
    # one code of one bit for symbol 0: "no difference", or "end of block"
    codes = bytes((1, *[0] * 15, 0))
    # and one for a run of 16384 blocks, for the refinements
    runs = bytes((1, *[0] * 15, 0xE0))
    frame = struct.pack(">BHHB", 8, height, width, components)
    frame += b"".join(bytes((number + 1, 0x11, 0)) for number in range(components))
    pieces = [
        b"\xff\xd8",
        jpeg_segment(0xDB, b"\0" + table),
        jpeg_segment(0xC2 if progressive else 0xC0, frame),
        jpeg_segment(0xC4, b"\x00" + codes),
        jpeg_segment(0xC4, b"\x10" + (runs if progressive else codes)),
    ]
    blocks = -(-width // 8) * -(-height // 8)
    if interleaved:
        scans = [tuple(range(components))]
    else:
        scans = [(number,) for number in range(components)]
    last, per_block = (0, 1) if progressive else (63, 2)
    for scan in scans:
        spec = bytes((len(scan),)) + b"".join(bytes((number + 1, 0)) for number in scan)
        pieces.append(jpeg_segment(0xDA, spec + bytes((0, last, last and 0))))
        pieces.append(bytes(blocks * len(scan) * per_block // 8 + 1))
    for _ in range(refinements):
        # 1 bit of code and 14 bits of length for each run; zeros say: 16384 blocks
        pieces.append(jpeg_segment(0xDA, bytes((1, 1, 0, 1, 63, 0x10))))
        pieces.append(bytes((blocks // 16384 + 1) * 15 // 8 + 2))
    return b"".join(pieces) + b"\xff\xd9"


def gif_screen(width, height):
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)


def gif(width, height, frames=1, before=b"", disposal=0):
    # one frame of Pillow's making, again and again
    one = saved(Image.new("P", (width, height)), "GIF")
    start = one.index(b",", 13 + 3 * (2 << (one[10] & 7)))
    frame = one[start:-1]
    control = b"!\xf9\x04" + bytes((disposal << 2, 5, 0, 0, 0))
    return gif_screen(width, height) + before + (control + frame) * frames + b";"


def webp_chunk(name, payload):
    return name + len(payload).to_bytes(4, "little") + payload + b"\0" * (len(payload) & 1)


def webp(*chunks):
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def webp_flood(width, height):
    """Return a WebP of some 34 bytes: lossless, every code of zero length, one colour."""
    bits = (width - 1) | (height - 1) << 14
    codes = bytes((0x88, 0x88, 0x08, 0, 0, 0, 0, 0, 0))
    return webp(webp_chunk(b"VP8L", b"\x2f" + bits.to_bytes(4, "little") + codes))


JUNK = bytes(range(256)) * 255
#: Name -> what writes the file, and ``served`` or the error that refuses it.
ATTACKS = {
    "webp flood of 34 bytes": (lambda: webp_flood(9380, 9380), "RefusedSource"),
    "webp flood within the limits": (lambda: webp_flood(2080, 2080), "served"),
    "rgba png flood": (lambda: png(9380, 9380, colour=6), "RefusedSource"),
    "rgba png within the limits": (lambda: png(3500, 3500, colour=6), "served"),
    "16 bit png within the limits": (lambda: png(3500, 3500, bits=16, colour=6), "served"),
    "grey png flood": (lambda: png(9380, 9380, colour=0), "RefusedSource"),
    "palette png within the limits": (lambda: png(7000, 7000, colour=3), "served"),
    "png of a billion pixels": (lambda: png(65535, 65535, idat=b""), "RefusedSource"),
    "baseline jpeg of 88 megapixels": (lambda: flat_jpeg(9380, 9380), "served"),
    "baseline jpeg as wide as can be": (lambda: flat_jpeg(65500, 3800), "served"),
    "baseline jpeg of 260 megapixels": (lambda: flat_jpeg(16125, 16125), "RefusedSource"),
    "progressive jpeg flood": (lambda: flat_jpeg(9380, 9380, progressive=True), "RefusedSource"),
    "baseline jpeg in three scans": (
        lambda: flat_jpeg(9380, 9380, interleaved=False),
        "RefusedSource",
    ),
    "jpeg of 211 scans": (
        lambda: flat_jpeg(3000, 2900, progressive=True, refinements=210),
        "RefusedSource",
    ),
    "jpeg of 63 scans, large": (
        lambda: flat_jpeg(3000, 2900, progressive=True, refinements=62),
        "RefusedSource",
    ),
    "jpeg of 63 scans, small": (
        lambda: flat_jpeg(2000, 2000, progressive=True, refinements=62),
        "served",
    ),
    "jpeg of a million segments": (
        lambda: jpeg_with(jpeg_segment(0xFE) * 1_000_000),
        "RefusedSource",
    ),
    "jpeg of filling": (lambda: jpeg_with(b"\xff" * 8_000_000), "RefusedSource"),
    "jpeg of zeros": (
        lambda: jpeg_with(jpeg_segment(0xFE) + bytes(8_000_000)),
        "RefusedSource",
    ),
    "jpeg of EXIF blocks": (
        lambda: jpeg_with(jpeg_segment(0xE1, b"Exif\0\0" + JUNK) * 600),
        "RefusedSource",
    ),
    "jpeg of profiles": (
        lambda: jpeg_with(jpeg_segment(0xE2, b"ICC_PROFILE\0\1\1" + JUNK) * 120),
        "served",
    ),
    "png of a million chunks": (
        lambda: png(8, 8, before=png_chunk(b"prVt") * 1_000_000),
        "RefusedSource",
    ),
    "png of empty IDAT chunks": (
        lambda: png(8, 8, idat=png_chunk(b"IDAT") * 1_000_000),
        "RefusedSource",
    ),
    "png of inflating texts": (
        lambda: png(
            8, 8, before=png_chunk(b"zTXt", b"t\0\0" + zlib.compress(bytes(MEGABYTE - 1))) * 60
        ),
        "RefusedSource",
    ),
    "png of a large private chunk": (
        lambda: png(8, 8, before=png_chunk(b"prVt", bytes(45 * MEGABYTE))),
        "RefusedSource",
    ),
    "png with a long tail of IDAT": (
        lambda: png(
            3000,
            3000,
            idat=png_chunk(b"IDAT", zlib.compress(bytes(3000 * 9001)) + bytes(40 * MEGABYTE)),
        ),
        "RefusedSource",
    ),
    "gif frame bomb": (lambda: gif(4000, 4000, 60), "served"),
    "gif flood": (lambda: gif_screen(65535, 65535) + b",", "BrokenSource"),
    "gif canvas flood": (
        lambda: gif_screen(1, 1) + b"," + struct.pack("<HHHHB", 65000, 65000, 9, 9, 0) + b"\2",
        "RefusedSource",
    ),
    "gif of comments": (
        lambda: gif(8, 8, before=(b"!\xfe" + b"\1x" * 500 + b"\0") * 9000),
        "RefusedSource",
    ),
    "gif of a million frames": (lambda: gif(1, 1, 1_000_000), "served"),
    "webp of a million chunks": (
        lambda: webp_flood(8, 8) + webp_chunk(b"junk", b"") * 1_000_000,
        "RefusedSource",
    ),
    "file that is too long": (lambda: bytes(51 * MEGABYTE), "RefusedSource"),
}
