"""The one LANCZOS resampling of a thumbnail: by Pillow, or by cykooz.resizer where it is installed.

cykooz.resizer is a soft dependency (``pip install modpython-handlers[fast]``): a wheel of 2 MB
around a SIMD resizer written in Rust, which works on Pillow's pictures in place. It gives the same
thumbnail (54 dB) for 0.8 of all CPU time at 400 pixels and 0.65 at 640, from a JPEG of 12
megapixels; the smaller the source, the more.
"""

from PIL import Image

try:
    import cykooz_resizer as fast
    from cykooz_resizer import structs
except ImportError:
    fast = None

Box = tuple[float, float, float, float]
_FAST_MODES = {"L", "RGB", "RGBa", "CMYK"}


def resample(picture: Image.Image, size: tuple[int, int], box: Box) -> Image.Image:
    """Return the *box* of *picture* at *size*, in the same mode."""
    if fast is not None and picture.mode in _FAST_MODES:
        return _resample_fast(picture, size, box)
    return picture.resize(size, Image.Resampling.LANCZOS, box)


def _resample_fast(picture: Image.Image, size: tuple[int, int], box: Box) -> Image.Image:
    left, upper, right, lower = box
    options = structs.ResizeOptions(
        resize_alg=structs.ResizeAlg.convolution(structs.FilterType.lanczos3),
        crop_box=structs.CropBox(left, upper, right - left, lower - upper),
        use_alpha=False,
    )
    thumbnail = Image.new(picture.mode, size)
    # a Resizer keeps its buffers, and is not for several threads
    fast.Resizer().resize_pil(picture, thumbnail, options)
    return thumbnail
