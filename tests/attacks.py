"""Pictures made to hurt, byte by byte, and what is to become of each."""

import io
import struct
import zlib

from PIL import Image, ImageCms

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
        rows = min(height, max(1, MEGABYTE // len(row)))
        pieces = [deflate.compress(row * rows) for _ in range(height // rows)]
        pieces.append(deflate.compress(row * (height % rows)))
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


def deflate_bloat(block, size, side=8):
    """Return a square PNG whose pixels come after *size* bytes of a deflate *block* without any.

    :param block: its bits, the first one first.
    """
    bits = block * 8
    unit = bytes(
        sum(bit << place for place, bit in enumerate(bits[at : at + 8]))
        for at in range(0, len(bits), 8)
    )
    pixels = bytes(side * (1 + 3 * side))
    deflate = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    stream = b"\x78\1" + unit * (size // len(unit)) + deflate.compress(pixels) + deflate.flush()
    stream += zlib.adler32(pixels).to_bytes(4, "big")
    pieces = [stream[at : at + MEGABYTE] for at in range(0, len(stream), MEGABYTE)]
    return png(side, side, idat=b"".join(png_chunk(b"IDAT", piece) for piece in pieces))


def empty_dynamic_block():
    """Return the bits of a deflate block whose two code tables hold nothing but its end."""
    bits = []

    def put(value, count):
        bits.extend(value >> place & 1 for place in range(count))

    put(0b100, 3)
    put(0, 10)
    put(14, 4)
    for symbol in (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1):
        put(symbol in (1, 18), 3)
    # 256 zeros, then the code of the end, then that of a distance
    for zeros in (138, 118):
        put(1, 1)
        put(zeros - 11, 7)
    put(0, 3)
    return bits


def profile_with_program(curve_segments, steps):
    """Return sRGB's profile with a multiProcessElements tag (ICC.1:2022, 10.16) beside the rest.

    :param curve_segments: how many segments the one curve of the program has.
    :param steps: how often the program sends each colour through it.
    """
    plain = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # a picture that says it is sRGB is not converted
    plain = plain.replace("sRGB".encode("utf-16-be"), "nRGB".encode("utf-16-be"))
    (count,) = struct.unpack_from(">I", plain, 128)
    end = 132 + 12 * count
    segment = b"parf" + bytes(4) + struct.pack(">HH4f", 0, 0, 1, 1, 0, 0)
    breaks = b"".join(struct.pack(">f", at / curve_segments) for at in range(1, curve_segments))
    curve = b"curf" + bytes(4) + struct.pack(">HH", curve_segments, 0) + breaks
    curve += segment * curve_segments
    element_at = 16 + 8 * steps
    curves_at = 12 + 3 * 8
    element = b"cvst" + bytes(4) + struct.pack(">HH", 3, 3)
    element += struct.pack(">II", curves_at, len(curve)) * 3 + curve
    program = b"mpet" + bytes(4) + struct.pack(">HHI", 3, 3, steps)
    program += struct.pack(">II", element_at, len(element)) * steps + element
    tags = b"".join(
        struct.pack(">4sII", name, offset + 12, size)
        for name, offset, size in struct.iter_unpack(">4sII", plain[132:end])
    )
    tags += struct.pack(">4sII", b"D2B0", len(plain) + 12, len(program))
    body = plain[4:128] + struct.pack(">I", count + 1) + tags + plain[end:] + program
    return struct.pack(">I", len(body) + 4) + body


def jpeg_with_profile(profile, picture=None):
    """Return a JPEG with *profile* in as many segments as it takes."""
    size = 65519
    pieces = [profile[at : at + size] for at in range(0, len(profile), size)]
    return jpeg_with(
        b"".join(
            jpeg_segment(0xE2, b"ICC_PROFILE\0" + bytes((number + 1, len(pieces))) + piece)
            for number, piece in enumerate(pieces)
        ),
        picture,
    )


def box(name, *contents):
    body = b"".join(contents)
    return (len(body) + 8).to_bytes(4, "big") + name + body


def avif_of_items(count):
    """Return an AVIF whose table of items has *count* more entries than its picture needs."""
    whole = saved(Image.new("RGB", (64, 64), "teal"), "AVIF")
    extra = b"".join(
        box(b"infe", bytes((2, 0, 0, 0)), struct.pack(">HH", 1000 + number, 0), b"av01\0")
        for number in range(count)
    )
    start = whole.index(b"iinf") - 4
    size = int.from_bytes(whole[start : start + 4], "big")
    head = whole[start + 8 : start + 12]
    (entries,) = struct.unpack_from(">H", whole, start + 12)
    table = box(
        b"iinf", head, struct.pack(">H", entries + count), whole[start + 14 : start + size], extra
    )
    grown = len(table) - size
    meta = whole.index(b"meta") - 4
    meta_size = int.from_bytes(whole[meta : meta + 4], "big") + grown
    patched = bytearray(whole[:start] + table + whole[start + size :])
    patched[meta : meta + 4] = meta_size.to_bytes(4, "big")
    # the place of the picture's data, in the only extent of the only item
    iloc = patched.index(b"iloc")
    place = patched.index(struct.pack(">I", whole.index(b"mdat") + 4), iloc)
    patched[place : place + 4] = struct.pack(">I", whole.index(b"mdat") + 4 + grown)
    return bytes(patched)


def avif_of_places(count):
    """Return an AVIF whose table of places has an item of *count* places that take no bytes."""
    whole = saved(Image.new("RGB", (64, 64), "teal"), "AVIF")
    start = whole.index(b"iloc") - 4
    size = int.from_bytes(whole[start : start + 4], "big")
    table = bytes(4) + b"\0\0" + struct.pack(">HHHH", 1, 1, 0, count)
    return whole[:start] + box(b"iloc", table.ljust(size - 8, b"\0")) + whole[start + size :]


def tiff_of_strips(count, more=()):
    """Return a TIFF of one column of *count* grey pixels, each a strip, with *more* tags.

    Those are (tag, type, number of values), and their values lie at the end of the file.
    """
    tags = [(256, 4, 1, 1), (257, 4, 1, count), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    place = 8 + 2 + 12 * (len(tags) + 3 + len(more)) + 4
    tags += [(273, 4, count, place), (278, 4, 1, 1), (279, 4, count, place + 4 * count)]
    tags += [(*tag, place + 8 * count) for tag in more]
    return b"".join(
        (
            b"II*\0" + struct.pack("<IH", 8, len(tags)),
            *(struct.pack("<HHII", *tag) for tag in sorted(tags)),
            bytes(4),
            struct.pack("<I", place) * count,
            struct.pack("<I", 1) * count,
            bytes(MEGABYTE),
        )
    )


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
    return webp(*webp_flood_chunks(width, height))


def webp_flood_chunks(width, height):
    bits = (width - 1) | (height - 1) << 14
    codes = bytes((0x88, 0x88, 0x08, 0, 0, 0, 0, 0, 0))
    return (webp_chunk(b"VP8L", b"\x2f" + bits.to_bytes(4, "little") + codes),)


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
        "served",
    ),
    "jpeg of small EXIF blocks": (
        lambda: jpeg_with(jpeg_segment(0xE1, b"Exif\0\0MM\0*" + bytes(1000)) * 4000),
        "served",
    ),
    "jpeg with a profile that is a program": (
        lambda: jpeg_with_profile(
            profile_with_program(60_000, 12), Image.new("RGB", (640, 480), "teal")
        ),
        "served",
    ),
    "png of empty dynamic blocks": (
        lambda: deflate_bloat(empty_dynamic_block(), 45 * MEGABYTE),
        "RefusedSource",
    ),
    "png of empty dynamic blocks and 12 megapixels": (
        lambda: deflate_bloat(empty_dynamic_block(), 23 * MEGABYTE, 3500),
        "served",
    ),
    "png of 20 MB of empty dynamic blocks": (
        lambda: deflate_bloat(empty_dynamic_block(), 20 * MEGABYTE),
        "RefusedSource",
    ),
    "png of empty fixed blocks": (
        lambda: deflate_bloat([0, 1, 0, 0, 0, 0, 0, 0, 0, 0], 45 * MEGABYTE),
        "RefusedSource",
    ),
    "avif of 60,000 items": (lambda: avif_of_items(60_000), "RefusedSource"),
    "avif of 60,000 places in no bytes": (lambda: avif_of_places(60_000), "RefusedSource"),
    "avif of 2,000 items": (lambda: avif_of_items(2_000), "served"),
    "jpeg of profiles": (
        lambda: jpeg_with(jpeg_segment(0xE2, b"ICC_PROFILE\0\1\1" + JUNK) * 120),
        "served",
    ),
    "png one pixel wide": (lambda: png(1, 40_000_000, colour=0), "RefusedSource"),
    "png one pixel wide within the limits": (lambda: png(1, 4_000_000, colour=0), "served"),
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
        "served",
    ),
    "png of a large private chunk": (
        lambda: png(8, 8, before=png_chunk(b"prVt", bytes(45 * MEGABYTE))),
        "served",
    ),
    "png with a long tail of IDAT": (
        lambda: png(
            3000,
            3000,
            idat=png_chunk(b"IDAT", zlib.compress(bytes(3000 * 9001)) + bytes(40 * MEGABYTE)),
        ),
        "served",
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
        lambda: webp(*webp_flood_chunks(8, 8), webp_chunk(b"junk", b"") * 1_000_000),
        "RefusedSource",
    ),
    "webp with a million chunks behind its end": (
        lambda: webp_flood(8, 8) + webp_chunk(b"junk", b"") * 1_000_000,
        "served",
    ),
    "webp flood of 49 megapixels": (lambda: webp_flood(7000, 7000), "served"),
    "progressive jpeg of 42 megapixels": (
        lambda: flat_jpeg(6500, 6500, progressive=True),
        "served",
    ),
    "progressive jpeg of 49 megapixels": (
        lambda: flat_jpeg(7000, 7000, progressive=True),
        "RefusedSource",
    ),
    "progressive jpeg of filling": (
        lambda: flat_jpeg(64, 64, progressive=True)[:-2] + b"\xff" * 8_000_000,
        "BrokenSource",
    ),
    "gif that is a corner of 49 megapixels": (
        lambda: gif_screen(7000, 7000) + gif(10, 10)[19:],
        "served",
    ),
    "file that is too long": (lambda: bytes(129 * MEGABYTE), "RefusedSource"),
}
