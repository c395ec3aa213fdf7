"""Colour: from the profile a picture carries to sRGB, which is what browsers take pictures for."""

import contextlib
import functools
import io
import struct

from PIL import Image, ImageCms

# the profiles of cameras and screens have 0.5 to 4 KB, those of printing presses up to 2 MB
_LARGEST_PROFILE = 4 << 20
_PROFILES_KEPT = 8
# ICC.1:2022, section 7.2: the header, then the number of tags and 12 bytes for each
_TAGS_AT = 128
_TAG = struct.Struct(">4sII")
_MOST_TAGS = 100
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


def to_srgb(thumbnail: Image.Image, profile: bytes | None) -> Image.Image:
    """Return *thumbnail* in sRGB, without a profile; CMYK becomes RGB in any case.

    A profile that is broken, or made for another kind of picture, is passed over: colours a
    little off are better than no picture.
    """
    if profile and thumbnail.mode != "LA" and len(profile) <= _LARGEST_PROFILE:
        transform = _transform(profile, thumbnail.mode)
        if transform is not None:
            with contextlib.suppress(ImageCms.PyCMSError, ValueError):
                mode, thumbnail = thumbnail.mode, transform.apply(thumbnail)
                if mode == "L":
                    return thumbnail.convert("L")
    return thumbnail.convert("RGB") if thumbnail.mode == "CMYK" else thumbnail


@functools.lru_cache(_PROFILES_KEPT)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from *profile* to sRGB, None if there is none, or nothing to do."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(_harmless(profile)))
        if "sRGB" in (source.profile.profile_description or ""):
            return None
        return ImageCms.buildTransform(source, _srgb(), mode, "RGBA" if mode == "RGBA" else "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, struct.error):
        return None


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
