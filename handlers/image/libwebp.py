"""WebP pictures decoded at a smaller size, by the libwebp that Pillow is built with.

Pillow decodes every WebP as an animation: 12 bytes for each pixel, and all of them. libwebp itself
scales while it decodes, rows of a lossy picture are never all in memory, and it takes a third of
the time. Pillow has no way to ask for that, so its library is called here (``webp/decode.h``, whose
ABI has not changed since 2012 and is checked by the library itself).
"""

import ctypes

from PIL import Image, _webp

from handlers.image.errors import BrokenSource

_ABI_VERSION = 0x0209
_MODE_RGBA = 1
_PIXEL_BYTES = 4
_Numbers = ctypes.c_int


class _Features(ctypes.Structure):
    _fields_ = (
        *((name, _Numbers) for name in ("width", "height", "has_alpha", "has_animation", "format")),
        ("pad", ctypes.c_uint32 * 5),
    )


class _Pixels(ctypes.Structure):
    # the larger one of a union comes to this size
    _fields_ = (
        ("place", ctypes.c_void_p),
        ("stride", _Numbers),
        ("size", ctypes.c_size_t),
        ("rest", ctypes.c_uint8 * 56),
    )


class _Buffer(ctypes.Structure):
    _fields_ = (
        *((name, _Numbers) for name in ("colours", "width", "height", "is_external")),
        ("pixels", _Pixels),
        ("pad", ctypes.c_uint32 * 4),
        ("private", ctypes.c_void_p),
    )


class _Options(ctypes.Structure):
    _fields_ = (
        *((name, _Numbers) for name in ("bypass_filtering", "no_fancy_upsampling")),
        *(
            (name, _Numbers)
            for name in ("use_cropping", "left", "top", "crop_width", "crop_height")
        ),
        *((name, _Numbers) for name in ("use_scaling", "scaled_width", "scaled_height")),
        *((name, _Numbers) for name in ("use_threads", "dithering", "flip", "alpha_dithering")),
        ("pad", ctypes.c_uint32 * 5),
    )


class _Config(ctypes.Structure):
    _fields_ = (("input", _Features), ("output", _Buffer), ("options", _Options))


def is_usable() -> bool:
    """Tell whether libwebp can be called here."""
    return _library is not None


def decoded(data: bytes, size: tuple[int, int], has_alpha: bool, *, is_scaled: bool) -> Image.Image:
    """Return the still WebP *data* in *size*, in mode RGBA, or RGBX if it has no alpha.

    :param is_scaled: whether *size* is another one than its own.

    :raises BrokenSource: if it is damaged, or too short.
    """
    config = _Config()
    _library.WebPInitDecoderConfigInternal(ctypes.byref(config), _ABI_VERSION)
    width, height = size
    pixels = bytearray(width * height * _PIXEL_BYTES)
    output, options = config.output, config.options
    output.colours, output.width, output.height, output.is_external = _MODE_RGBA, width, height, 1
    place = (ctypes.c_uint8 * len(pixels)).from_buffer(pixels)
    output.pixels.place = ctypes.addressof(place)
    output.pixels.stride, output.pixels.size = width * _PIXEL_BYTES, len(pixels)
    options.use_scaling = int(is_scaled)
    options.scaled_width, options.scaled_height = width, height
    status = _library.WebPDecode(data, len(data), ctypes.byref(config))
    if status:
        raise BrokenSource(f"WebP cannot be decoded: status {status} of libwebp")
    mode = "RGBA" if has_alpha else "RGBX"
    return Image.frombuffer(mode, size, pixels, "raw", mode, 0, 1)


def _load() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(_webp.__file__)
        decode, check = library.WebPDecode, library.WebPInitDecoderConfigInternal
    except (OSError, AttributeError):
        return None
    decode.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.POINTER(_Config))
    check.argtypes = (ctypes.POINTER(_Config), _Numbers)
    return library if check(ctypes.byref(_Config()), _ABI_VERSION) else None


# at once: a maker that is shut in can open no library
_library = _load()
