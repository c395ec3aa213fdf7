"""Large pictures decoded in strips by libvips, where it is installed.

libvips by pyvips is a soft dependency (``pip install modpython-handlers[vips]``). Pillow holds a
decoded picture whole; of one whose file is small beside its pixels, as that of a screenshot is,
decoding in strips takes a quarter of the memory or less, and a little less time. All that comes
after decoding is the same, and so are the thumbnails.

libvips that has been used once does not survive a fork. Only makers load it, which fork nothing,
and they ask for strips from their only thread, so libvips starts none of its own.
"""

import io
import os

from PIL import Image

from handlers.image.errors import BrokenSource

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_SPACES = {"uchar": 1, "ushort": 2}
#: Bytes beside the file: rows in work, the tables of the decoder, a strip and a copy of it.
_WORK_BYTES = 6 << 20
#: Rows that are decoded ahead, and the most bytes of a pixel in them.
_ROWS, _PIXEL_BYTES = 48, 8

#: Of a narrower picture a strip has thousands of rows, which libvips looks for one by one.
NARROWEST = 256

_vips = None


def load() -> bool:
    """Load libvips, if it is installed; tell whether it is there.

    To be called by a process that will not fork.
    """
    global _vips
    # read when it is loaded
    os.environ["VIPS_CONCURRENCY"] = "1"
    try:
        import pyvips
    except (ImportError, OSError, AttributeError):
        return False
    # what it remembers of one picture is no use for the next
    pyvips.cache_set_max(0)
    _vips = pyvips
    return True


def is_usable() -> bool:
    """Tell whether pictures are decoded in strips here."""
    return _vips is not None


def check() -> None:
    """Do without libvips from now on, if it cannot decode a picture in this process."""
    global _vips
    file = io.BytesIO()
    Image.new("RGBA", (8, 8)).save(file, "PNG")
    try:
        if is_usable():
            Strips(file.getvalue()).crop((0, 0, 8, 8))
    except BrokenSource:
        _vips = None


def memory(width: int, file_bytes: int) -> int:
    """Return the bytes that decoding a picture of this *width* takes, its file included."""
    return file_bytes + _WORK_BYTES + _ROWS * _PIXEL_BYTES * width


class Strips:
    """A picture that is decoded while it is read from its top to its bottom, once.

    It stands for a picture of Pillow's where only its mode, its size and :meth:`crop` are asked.

    :param data: the file.
    :raises BrokenSource: if it is damaged.
    """

    def __init__(self, data: bytes):
        try:
            picture = _vips.Image.new_from_buffer(data, "", access="sequential", fail_on="error")
            self.mode = _MODES[picture.bands]
            if _SPACES[picture.format] == 2:
                # as Pillow does it
                picture = picture.msb()
            self._region = _vips.Region.new(picture)
        except (_vips.Error, KeyError) as error:
            raise BrokenSource(f"cannot be decoded in strips: {error}") from error
        self.size = self.width, self.height = picture.width, picture.height
        self.info: dict = {}

    def crop(self, box: tuple[int, int, int, int]) -> Image.Image:
        """Return the pixels in *box*, which must not lie above those of the last one.

        :raises BrokenSource: if they cannot be decoded.
        """
        left, upper, right, lower = box
        size = right - left, lower - upper
        try:
            pixels = self._region.fetch(left, upper, *size)
        except _vips.Error as error:
            raise BrokenSource(f"cannot be decoded in strips: {error}") from error
        return Image.frombuffer(self.mode, size, bytes(pixels), "raw", self.mode, 0, 1)
