"""Colour: from what a picture says of its own to sRGB, which is what browsers take pictures for."""

import functools
import io
import struct

from PIL import Image, ImageCms

from handlers.image import cicp, tone

#: Bytes of a profile that is looked at: those of cameras and screens have 0.5 to 4 KB, those of
#: printing presses up to 2 MB.
LARGEST_PROFILE = 4 << 20
_PROFILES_KEPT = 8
# ICC.1:2022, section 7.2: the header, then the number of tags and 12 bytes for each
_TAGS_AT = 128
_TAG = struct.Struct(">4sII")
_MOST_TAGS = 100
_SIGNATURE_AT, _SIGNATURE = 36, b"acsp"
_SPACE = slice(16, 20)
_TABLES = (b"mft1", b"mft2", b"mAB ")
_CURVES = (b"curv", b"para")
_NUMBERS = (b"XYZ ", b"sf32")
#: The tags that say how to come from the picture's colours to others, and the types they may have.
#: Others are hidden from LittleCMS: among them multiProcessElements (D2B0, type mpet), programs
#: whose run time has no bound.
_TAGS = {
    b"desc": (b"desc", b"mluc"),
    **dict.fromkeys((b"A2B0", b"A2B1", b"A2B2"), _TABLES),
    **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC", b"kTRC"), _CURVES),
    **dict.fromkeys((b"rXYZ", b"gXYZ", b"bXYZ", b"wtpt", b"bkpt", b"chad"), _NUMBERS),
}
_SAMPLES = 6
#: How far a profile may be from sRGB and still be taken for it.
_ALIKE = 2


def is_profile(data: bytes) -> bool:
    """Tell whether *data* begins as an ICC profile does."""
    return (
        _TAGS_AT + 4 <= len(data) <= LARGEST_PROFILE
        and data[_SIGNATURE_AT : _SIGNATURE_AT + 4] == _SIGNATURE
    )


def to_srgb(
    thumbnail: Image.Image, colour: bytes | cicp.Coding | cicp.Bright | None
) -> Image.Image:
    """Return *thumbnail* in sRGB; CMYK becomes RGB in any case.

    A profile that is broken, or made for another kind of picture, is passed over: colours a
    little off are better than no picture.

    :param colour: what its numbers mean: an ICC profile, or what PNG and AVIF say in numbers.
    """
    if isinstance(colour, cicp.Bright):
        return tone.to_srgb(thumbnail, colour)
    if isinstance(colour, cicp.Coding):
        colour = cicp.profile(colour, thumbnail.mode in ("L", "LA"))
    if colour and is_profile(colour):
        thumbnail = _by_profile(thumbnail, colour)
    return thumbnail.convert("RGB") if thumbnail.mode == "CMYK" else thumbnail


def _by_profile(thumbnail: Image.Image, profile: bytes) -> Image.Image:
    if thumbnail.mode in ("L", "LA"):
        if profile[_SPACE] != b"GRAY":
            return _applied(thumbnail.convert("RGB" if thumbnail.mode == "L" else "RGBA"), profile)
        if thumbnail.mode == "LA":
            grey, alpha = thumbnail.split()
            return Image.merge("LA", (_applied(grey, profile).convert("L"), alpha))
        return _applied(thumbnail, profile).convert("L")
    return _applied(thumbnail, profile)


def _applied(picture: Image.Image, profile: bytes) -> Image.Image:
    try:
        transform = _transform(profile, picture.mode)
        return picture if transform is None else transform.apply(picture)
    except (ImageCms.PyCMSError, ValueError):
        return picture


@functools.lru_cache(_PROFILES_KEPT)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from *profile* to sRGB, None if there is none, or nothing to do."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(_harmless(profile)))
        target = "RGBA" if mode == "RGBA" else "RGB"
        transform = ImageCms.buildTransform(source, _srgb(), mode, target)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, struct.error):
        return None
    if mode == target and _changes_nothing(transform, mode):
        return None
    return transform


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    before = _sample(mode)
    pairs = zip(before.tobytes(), transform.apply(before).tobytes(), strict=True)
    return all(abs(one - other) <= _ALIKE for one, other in pairs)


@functools.cache
def _sample(mode: str) -> Image.Image:
    """Return a few colours from everywhere, the dark ones with more care."""
    steps = [255 * number**2 // (_SAMPLES - 1) ** 2 for number in range(_SAMPLES)]
    colours = bytes(
        value for red in steps for green in steps for blue in steps for value in (red, green, blue)
    )
    return Image.frombytes("RGB", (_SAMPLES**2, _SAMPLES), colours).convert(mode)


def _harmless(profile: bytes) -> bytes:
    """Return *profile* with those tags only that are in _TAGS.

    :raises ValueError, struct.error: if it is broken.
    """
    (count,) = struct.unpack_from(">I", profile, _TAGS_AT)
    if count > _MOST_TAGS:
        raise ValueError("too many tags")
    start = _TAGS_AT + 4
    kept = []
    for number in range(count):
        name, offset, size = _TAG.unpack_from(profile, start + number * _TAG.size)
        if profile[offset : offset + 4] in _TAGS.get(name, ()):
            kept.append(_TAG.pack(name, offset, size))
    # what follows keeps its place
    table = b"".join(kept).ljust(count * _TAG.size, b"\0")
    return b"".join(
        (
            profile[:_TAGS_AT],
            len(kept).to_bytes(4, "big"),
            table,
            profile[start + len(table) :],
        )
    )


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.createProfile("sRGB")
