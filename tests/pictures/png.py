"""PNG files: chunks that are spoilt, chunks that tell colours, colours that are transparent."""

import struct
import zlib

from tests.attacks import png_chunk
from tests.pictures.chart import chart, patches
from tests.pictures.metadata import SWAPPED, curv, exif, icc

_PNG = b"\x89PNG\r\n\x1a\n"

_COLOUR_TYPES = {"L": 0, "RGB": 2, "P": 3, "LA": 4, "RGBA": 6}


def png_of(mode="RGB", bits=8, before=b"", between=b"", after=b"", picture=None, low=None):
    """Return the chart as PNG with chunks *before* the palette, *between* it and the picture.

    :param bits: of a sample; of 16 the lower byte is *low*, or that of the upper one.
    """
    picture = picture or chart(mode)
    width, height = picture.size
    data, bands = picture.tobytes(), len(picture.getbands())
    row = width * bands
    lines = []
    for y in range(height):
        line = data[y * row : (y + 1) * row]
        if bits == 16:
            line = bytes(
                byte for sample in line for byte in (sample, sample if low is None else low)
            )
        elif bits < 8:
            shift = 0 if mode == "P" else 8 - bits
            packed = 0
            for sample in line:
                packed = packed << bits | sample >> shift
            line = (packed << -row * bits % 8).to_bytes((row * bits + 7) // 8, "big")
        lines.append(b"\0" + line)
    head = struct.pack(">IIBBBBB", width, height, bits, _COLOUR_TYPES[mode], 0, 0, 0)
    palette = png_chunk(b"PLTE", bytes(picture.getpalette()[:192])) if mode == "P" else b""
    return b"".join(
        (
            _PNG + png_chunk(b"IHDR", head) + before + palette + between,
            png_chunk(b"IDAT", zlib.compress(b"".join(lines), 9)) + after + png_chunk(b"IEND"),
        )
    )


def spoilt(chunk):
    """Return the PNG *chunk* with a wrong checksum."""
    return chunk[:-4] + bytes(byte ^ 0x5A for byte in chunk[-4:])


def gamma(value):
    return png_chunk(b"gAMA", struct.pack(">I", round(value * 100000)))


#: White and primaries, x and y each.
PRIMARIES = {
    "sRGB": (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06),
    "P3": (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
    "Adobe": (0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06),
    "ProPhoto": (0.3457, 0.3585, 0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001),
    "none": (0.0,) * 8,
    "line": (0.3127, 0.329, 0.3, 0.3, 0.4, 0.4, 0.5, 0.5),
}


def chroma(name):
    return png_chunk(b"cHRM", struct.pack(">8I", *(round(v * 100000) for v in PRIMARIES[name])))


def cicp(*values):
    return png_chunk(b"cICP", bytes(values))


def iccp(profile, method=0, name=b"icc\0", data=None):
    return png_chunk(b"iCCP", name + bytes((method,)) + (data or zlib.compress(profile)))


def text_chunks():
    """Return nine chunks of text, as many as programs write."""
    japanese = "写真の説明、".encode()
    international = b"Title\0\0\0ja\0" + japanese + b"\0" + japanese * 20
    packed = b"Description\0\1\0ja\0\0" + zlib.compress(japanese * 300)
    plain = png_chunk(b"tEXt", b"Author\0somebody") * 3
    deflated = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 3000)) * 3
    xmp = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta/>")
    return plain + deflated + png_chunk(b"iTXt", international) + png_chunk(b"iTXt", packed) + xmp


def members():
    """Return name -> what makes the file."""
    return {**_spoilt(), **_told(), **_coded(), **_keys()}


def _spoilt():
    found = {}
    crc = {
        "pHYs": struct.pack(">IIB", 3780, 3780, 1),
        "gAMA": struct.pack(">I", 100000),
        "cHRM": bytes(32),
        "sRGB": b"\0",
        "tEXt": b"a\0b",
        "tIME": bytes((7, 230, 1, 1, 1, 1, 1)),
        "bKGD": bytes(6),
        "sBIT": b"\x08\x08\x08",
        "zTXt": b"a\0\0" + zlib.compress(b"b"),
        "iTXt": b"a\0\0\0\0\0b",
        "sPLT": b"a\0\x08",
        "cICP": bytes((12, 13, 0, 1)),
        "mDCV": bytes(24),
        "cLLI": bytes(8),
        "eXIf": exif(6, signature=b""),
        "oFFs": bytes(9),
        "prVt": b"x",
        "vpAg": bytes(9),
        "caNv": bytes(16),
        "iCCP": iccp(icc(primaries=SWAPPED))[8:-4],
    }
    for name, payload in crc.items():
        chunk = png_chunk(name.encode(), payload)
        found[f"png-badcrc-{name}"] = lambda chunk=chunk: png_of(before=spoilt(chunk))
        found[f"png-empty-{name}"] = lambda name=name: png_of(before=png_chunk(name.encode()))
        if len(payload) > 1:
            found[f"png-short-{name}"] = lambda name=name, payload=payload: png_of(
                before=png_chunk(name.encode(), payload[:-1])
            )
        found[f"png-long-{name}"] = lambda name=name, payload=payload: png_of(
            before=png_chunk(name.encode(), payload + b"\0\0")
        )
        found[f"png-twice-{name}"] = lambda chunk=chunk: png_of(before=chunk * 2)
        found[f"png-last-{name}"] = lambda chunk=chunk: png_of(after=chunk)
    found |= {
        "png-badcrc-tRNS": lambda: png_of(
            between=spoilt(png_chunk(b"tRNS", struct.pack(">3H", *patches()[0])))
        ),
        "png-badcrc-tRNS-P": lambda: png_of("P", between=spoilt(png_chunk(b"tRNS", bytes(20)))),
        "png-short-tRNS": lambda: png_of(
            between=png_chunk(b"tRNS", struct.pack(">3H", *patches()[0])[:-1])
        ),
        "png-empty-tRNS": lambda: png_of(between=png_chunk(b"tRNS")),
        "png-more-tRNS-P": lambda: png_of("P", between=png_chunk(b"tRNS", bytes(100))),
        "png-tRNS-before-PLTE": lambda: png_of("P", before=png_chunk(b"tRNS", bytes(20))),
        "png-chrm-none-gama-linear": lambda: png_of(before=chroma("none") + gamma(1)),
        "png-chrm-line-gama-linear": lambda: png_of(before=chroma("line") + gamma(1)),
        "png-long-tRNS": lambda: png_of(
            between=png_chunk(b"tRNS", struct.pack(">3H", *patches()[0]) + b"12")
        ),
        "png-iccp-gray-gama": lambda: png_of(before=gamma(1) + iccp(icc("GRAY", curv(1.8)))),
        "png-long-tRNS-P": lambda: png_of("P", between=png_chunk(b"tRNS", bytes(300))),
        "png-PLTE-in-RGB": lambda: png_of(before=png_chunk(b"PLTE", bytes(30))),
        "png-odd-PLTE-in-RGB": lambda: png_of(before=png_chunk(b"PLTE", bytes(31))),
        "png-text-nine": lambda: png_of(before=text_chunks()),
        "png-text-after": lambda: png_of(after=text_chunks()),
        "png-text-inflates": lambda: png_of(
            before=png_chunk(b"zTXt", b"t\0\0" + zlib.compress(bytes(2 << 20)))
        ),
        "png-text-method": lambda: png_of(before=png_chunk(b"zTXt", b"t\0\x09abc")),
        "png-itxt-method": lambda: png_of(before=png_chunk(b"iTXt", b"t\0\1\x07\0\0abc")),
        "png-itxt-flag": lambda: png_of(before=png_chunk(b"iTXt", b"t\0\5\0\0\0abc")),
        "png-text-broken": lambda: png_of(before=png_chunk(b"zTXt", b"t\0\0notzlib")),
        "png-no-iend": lambda: png_of()[:-12],
        "png-badcrc-iend": lambda: png_of()[:-4] + b"abcd",
        "png-junk-behind": lambda: png_of() + b"junk" * 1000,
        "png-iccp-method": lambda: png_of(before=iccp(icc(primaries=SWAPPED), method=3)),
        "png-iccp-noname": lambda: png_of(before=iccp(icc(primaries=SWAPPED), name=b"\0")),
        "png-iccp-broken": lambda: png_of(before=iccp(b"", data=b"notzlib")),
        "png-iccp-garbage": lambda: png_of(before=iccp(b"no profile" * 50)),
        "png-iccp-cut": lambda: png_of(
            before=iccp(b"", data=zlib.compress(icc(primaries=SWAPPED))[:-9])
        ),
        "png-iccp": lambda: png_of(before=iccp(icc(primaries=SWAPPED))),
        "png-iccp-padded": lambda: png_of(before=iccp(icc(primaries=SWAPPED) + bytes(99))),
        "png-iccp-bomb": lambda: png_of(before=iccp(bytes(30 << 20))),
    }
    return found


def _told():
    found = {}
    for name, value in (
        ("linear", 1.0),
        ("1.8", 1 / 1.8),
        ("2.2", 0.45455),
        ("2.6", 1 / 2.6),
        ("0", 0),
        ("tiny", 0.0001),
        ("9", 9.0),
        ("2.2ish", 0.47),
        ("2.4", 1 / 2.4),
    ):
        found[f"png-gama-{name}"] = lambda value=value: png_of(before=gamma(value))
    for mode in ("L", "LA", "P", "RGBA"):
        found[f"png-gama-linear-{mode}"] = lambda mode=mode: png_of(mode, before=gamma(1))
        found[f"png-cicp-p3-{mode}"] = lambda mode=mode: png_of(mode, before=cicp(12, 13, 0, 1))
        found[f"png-chrm-gama-{mode}"] = lambda mode=mode: png_of(
            mode, before=chroma("P3") + gamma(0.45455)
        )
    for mode in ("L", "RGB", "LA", "RGBA"):
        found[f"png-gama-linear-{mode}-16"] = lambda mode=mode: png_of(mode, 16, gamma(1))
        found[f"png-16-{mode}"] = lambda mode=mode: png_of(mode, 16)
    found |= {
        "png-gama-linear-16-low": lambda: png_of("RGB", 16, gamma(1), low=0),
        "png-16-low": lambda: png_of("RGB", 16, low=0),
        "png-16-L-low": lambda: png_of("L", 16, low=0),
        "png-iccp-RGB-16": lambda: png_of("RGB", 16, iccp(icc(curve=curv(1)))),
        "png-gama-linear-L-4": lambda: png_of("L", 4, gamma(1)),
        "png-gama-linear-L-2": lambda: png_of("L", 2, gamma(1)),
        "png-srgb-gama-linear": lambda: png_of(before=png_chunk(b"sRGB", b"\0") + gamma(1)),
        "png-gama-linear-srgb": lambda: png_of(before=gamma(1) + png_chunk(b"sRGB", b"\0")),
        "png-srgb-9-gama-linear": lambda: png_of(before=png_chunk(b"sRGB", b"\x09") + gamma(1)),
        "png-iccp-gama-linear": lambda: png_of(before=iccp(icc()) + gamma(1)),
        "png-gama-linear-iccp-broken": lambda: png_of(before=gamma(1) + iccp(b"", data=b"xx")),
        "png-gama-linear-iccp-garbage": lambda: png_of(before=gamma(1) + iccp(b"no profile" * 50)),
        "png-srgb-iccp": lambda: png_of(
            before=png_chunk(b"sRGB", b"\0") + iccp(icc(primaries=SWAPPED))
        ),
        "png-gama-after-PLTE": lambda: png_of("P", between=gamma(1)),
        "png-gama-after": lambda: png_of(after=gamma(1)),
        "png-cicp-after": lambda: png_of(after=cicp(12, 13, 0, 1)),
    }
    for name in PRIMARIES:
        found[f"png-chrm-{name}"] = lambda name=name: png_of(before=chroma(name))
        found[f"png-chrm-gama-{name}"] = lambda name=name: png_of(
            before=chroma(name) + gamma(0.45455)
        )
    return found


def _coded():
    found = {}
    for values in (
        *(
            (1, 13, 0, 1),
            (12, 13, 0, 1),
            (11, 13, 0, 1),
            (9, 13, 0, 1),
            (9, 14, 0, 1),
            (9, 1, 0, 1),
        ),
        *((9, 15, 0, 1), (1, 8, 0, 1), (1, 4, 0, 1), (1, 5, 0, 1), (1, 6, 0, 1), (1, 7, 0, 1)),
        *((1, 9, 0, 1), (1, 10, 0, 1), (1, 11, 0, 1), (1, 12, 0, 1), (1, 17, 0, 1), (1, 2, 0, 1)),
        *((2, 2, 0, 1), (2, 13, 0, 1), (3, 13, 0, 1), (4, 13, 0, 1), (5, 13, 0, 1), (6, 13, 0, 1)),
        *((7, 13, 0, 1), (8, 13, 0, 1), (10, 13, 0, 1), (22, 13, 0, 1), (12, 13, 0, 0)),
        *(
            (0, 13, 0, 1),
            (12, 0, 0, 1),
            (99, 13, 0, 1),
            (12, 99, 0, 1),
        ),
        *(
            (9, 16, 0, 1),
            (12, 16, 0, 1),
            (1, 16, 0, 1),
            (9, 18, 0, 1),
            (12, 18, 0, 1),
            (1, 18, 0, 1),
        ),
        *((12, 8, 0, 1), (9, 8, 0, 1), (12, 17, 0, 1)),
    ):
        name = "-".join(map(str, values))
        found[f"png-cicp-{name}"] = lambda values=values: png_of(before=cicp(*values))
    found |= {
        "png-cicp-iccp": lambda: png_of(before=cicp(12, 13, 0, 1) + iccp(icc(primaries=SWAPPED))),
        "png-cicp-gama": lambda: png_of(before=gamma(1) + cicp(12, 13, 0, 1)),
        "png-cicp-srgb": lambda: png_of(before=png_chunk(b"sRGB", b"\0") + cicp(12, 13, 0, 1)),
        "png-cicp-unknown-gama": lambda: png_of(before=gamma(1) + cicp(99, 99, 0, 1)),
        "png-cicp-pq-16": lambda: png_of(bits=16, before=cicp(9, 16, 0, 1)),
        "png-cicp-hlg-16": lambda: png_of(bits=16, before=cicp(9, 18, 0, 1)),
        "png-cicp-pq-clli": lambda: png_of(
            before=cicp(9, 16, 0, 1) + png_chunk(b"cLLI", struct.pack(">II", 40000000, 4000000))
        ),
        "png-cicp-pq-clli-203": lambda: png_of(
            before=cicp(9, 16, 0, 1) + png_chunk(b"cLLI", struct.pack(">II", 2030000, 500000))
        ),
        "png-cicp-pq-mdcv": lambda: png_of(
            before=cicp(9, 16, 0, 1)
            + png_chunk(
                b"mDCV",
                struct.pack(
                    ">8HII", 35400, 14600, 8500, 39850, 6550, 2300, 15635, 16450, 40000000, 50
                ),
            )
        ),
        "png-cicp-pq-RGBA": lambda: png_of("RGBA", before=cicp(9, 16, 0, 1)),
        "png-cicp-pq-L": lambda: png_of("L", before=cicp(9, 16, 0, 1)),
        "png-cicp-hlg-L": lambda: png_of("L", before=cicp(9, 18, 0, 1)),
    }
    return found


def _keys():
    found = {}
    grey = patches("L")
    for bits in (1, 2, 4, 8):
        key = grey[20][0] >> (8 - bits)
        found[f"png-trns-L-{bits}"] = lambda bits=bits, key=key: png_of(
            "L", bits, between=png_chunk(b"tRNS", struct.pack(">H", key))
        )
        found[f"png-trns-L-{bits}-high"] = lambda bits=bits, key=key: png_of(
            "L", bits, between=png_chunk(b"tRNS", struct.pack(">H", key | 0xA500))
        )
    tall = grey[20][0] * 257
    colour = [sample * 257 for sample in patches()[4]]
    found |= {
        "png-trns-L-16": lambda: png_of(
            "L", 16, between=png_chunk(b"tRNS", struct.pack(">H", tall))
        ),
        "png-trns-L-16-near": lambda: png_of(
            "L", 16, between=png_chunk(b"tRNS", struct.pack(">H", tall ^ 1))
        ),
        "png-trns-RGB-16": lambda: png_of(
            "RGB", 16, between=png_chunk(b"tRNS", struct.pack(">3H", *colour))
        ),
        "png-trns-RGB-16-near": lambda: png_of(
            "RGB",
            16,
            between=png_chunk(b"tRNS", struct.pack(">3H", colour[0], colour[1], colour[2] ^ 1)),
        ),
        "png-trns-RGB-8": lambda: png_of(
            between=png_chunk(b"tRNS", struct.pack(">3H", *patches()[4]))
        ),
        "png-trns-RGB-8-high": lambda: png_of(
            between=png_chunk(b"tRNS", struct.pack(">3H", *(0x100 | v for v in patches()[4])))
        ),
        "png-trns-L-16-gama": lambda: png_of(
            "L", 16, gamma(1), png_chunk(b"tRNS", struct.pack(">H", tall))
        ),
        "png-trns-P": lambda: png_of("P", between=png_chunk(b"tRNS", bytes(range(0, 250, 10)))),
    }
    linear, grey_linear = icc(curve=curv(1)), icc("GRAY", curv(1))
    for mode in ("L", "LA", "RGB", "RGBA", "P"):
        found[f"icc-rgb-linear-png-{mode}"] = lambda mode=mode: png_of(mode, before=iccp(linear))
        found[f"icc-gray-linear-png-{mode}"] = lambda mode=mode: png_of(
            mode, before=iccp(grey_linear)
        )
    return found
