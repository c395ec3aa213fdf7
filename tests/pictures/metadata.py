"""What pictures carry along: ICC profiles of a curve and a matrix, Exif blocks."""

import struct


def s15(value):
    return struct.pack(">i", round(value * 65536))


def icc(space="RGB", curve=None, name="test", primaries=None, tags=None):
    """Return an ICC profile: of curves and a matrix, or of a grey curve.

    :param curve: a ``curv`` or ``para`` tag.
    :param primaries: the D50-adapted red, green and blue, X Y Z each.
    """
    curve = curve or curv(2.2)
    red, green, blue = primaries or (
        (0.43607, 0.22249, 0.01392),
        (0.38515, 0.71687, 0.09708),
        (0.14307, 0.06061, 0.7141),
    )
    text = name.encode("utf-16-be")
    found = {
        b"desc": b"mluc\0\0\0\0"
        + struct.pack(">II", 1, 12)
        + b"enUS"
        + struct.pack(">II", len(text), 28)
        + text,
        b"wtpt": b"XYZ \0\0\0\0" + s15(0.9642) + s15(1.0) + s15(0.8249),
    }
    if space == "RGB":
        for key, xyz in ((b"rXYZ", red), (b"gXYZ", green), (b"bXYZ", blue)):
            found[key] = b"XYZ \0\0\0\0" + b"".join(map(s15, xyz))
        found |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    else:
        found[b"kTRC"] = curve
    found |= tags or {}
    at, table, body = 132 + 12 * len(found), b"", b""
    for key, value in found.items():
        value += bytes(-len(value) % 4)
        table += key + struct.pack(">II", at + len(body), len(value))
        body += value
    head = struct.pack(
        ">I4sI4s4s4s12s4sIIIIQI12s4s44s",
        at + len(body),
        b"lcms",
        0x04300000,
        b"mntr",
        b"RGB " if space == "RGB" else b"GRAY",
        b"XYZ ",
        bytes(12),
        b"acsp",
        0,
        0,
        0,
        0,
        0,
        0,
        s15(0.9642) + s15(1.0) + s15(0.8249),
        b"",
        b"",
    )
    return head + struct.pack(">I", len(found)) + table + body


def curv(gamma):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def para(gamma):
    return b"para\0\0\0\0\0\0\0\0" + s15(gamma)


SWAPPED = ((0.38515, 0.71687, 0.09708), (0.43607, 0.22249, 0.01392), (0.14307, 0.06061, 0.7141))


def exif(orientation, order="<", signature=b"Exif\0\0"):
    """Return an Exif block with *orientation* in it, behind its *signature*."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return signature + mark + struct.pack(order + "IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
