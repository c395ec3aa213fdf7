"""Colour: from the profile a picture carries to sRGB, which is what browsers take pictures for."""

import contextlib
import functools
import io

from PIL import Image, ImageCms

# the profiles of cameras and screens have 0.5 to 4 KB, those of printing presses up to 2 MB
_LARGEST_PROFILE = 4 << 20
_PROFILES_KEPT = 8


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
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in (source.profile.profile_description or ""):
            return None
        return ImageCms.buildTransform(source, _srgb(), mode, "RGBA" if mode == "RGBA" else "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.createProfile("sRGB")
