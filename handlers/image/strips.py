"""Large pictures decoded in strips by libvips, where it is installed.

libvips by pyvips is a soft dependency (``pip install modpython-handlers[vips]``). Pillow holds a
decoded picture whole; of one whose file is small beside its pixels, as that of a screenshot is,
decoding in strips takes a quarter of the memory or less. It takes less time, too, since libvips
brings an inflate of its own (zlib-ng): 0.85 of that of a photograph. All that comes after decoding
is the same, and so are the thumbnails.

libvips that has been used once does not survive a fork. Only makers load it, which fork nothing,
and they ask for strips from their only thread, so libvips starts none of its own.
"""

import contextlib
import io
import os
from collections.abc import Iterator

from PIL import Image

from handlers.image.errors import BrokenSource, RefusedSource
from handlers.image.excerpt import Excerpt

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_SPACES = {"uchar": 1, "ushort": 2}
#: Modes in which Pillow has the same bytes as libvips.
_AS_THEY_ARE = {"L", "RGBA"}
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
    if not is_usable():
        return
    file = io.BytesIO()
    Image.new("RGBA", (8, 8)).save(file, "PNG")
    try:
        for at_once in (0, file.tell()):
            Strips(Excerpt(file, [(0, file.tell())]), at_once).crop((0, 0, 8, 8))
    except (BrokenSource, RefusedSource):
        _vips = None


def memory(width: int, held_bytes: int) -> int:
    """Return the bytes that decoding a picture of this *width* takes.

    :param held_bytes: those of the file, if it is not read while it is decoded.
    """
    return held_bytes + _WORK_BYTES + _ROWS * _PIXEL_BYTES * width


class Strips:
    """A picture that is decoded while it is read from its top to its bottom, once.

    It stands for a picture of Pillow's where only its mode, its size and :meth:`crop` are asked.

    :param data: the file; one that is longer than *at_once* is read while it is decoded, and its
        reader refused if it is far ahead of the pixels: see :meth:`crop`.
    :raises BrokenSource: if it is damaged.
    """

    def __init__(self, data: Excerpt, at_once: int):
        self._reading = _Reading(data, at_once) if data.length > at_once else None
        # to be kept: pyvips would free it with the picture unread
        if self._reading is None:
            self._source = _vips.Source.new_from_memory(data.whole())
        else:
            self._source = self._reading.source
        with self._telling():
            options = {"access": "sequential", "fail_on": "error"}
            picture = _vips.Image.new_from_source(self._source, "", **options)
            self.mode = _MODES[picture.bands]
            if _SPACES[picture.format] == 2:
                # as Pillow does it
                picture = picture.msb()
            self._region = _vips.Region.new(picture)
        self.size = self.width, self.height = picture.width, picture.height
        self.info: dict = {}
        self._at = 0
        self._last: Image.Image | None = None

    def crop(self, box: tuple[int, int, int, int]) -> Image.Image:
        """Return the pixels in *box*, which must not lie above those of the last one.

        They are there until the next call.

        :raises BrokenSource: if they cannot be decoded.
        :raises RefusedSource: if the file goes on and on without giving them.
        """
        left, upper, right, lower = box
        size = right - left, lower - upper
        self._pass(upper)
        pixels = self._fetch(left, upper, *size)
        if self.mode in _AS_THEY_ARE:
            return Image.frombuffer(self.mode, size, pixels, "raw", self.mode, 0, 1)
        if self._last is None or self._last.size != size:
            self._last = Image.new(self.mode, size)
        self._last.frombytes(pixels, "raw", self.mode)
        return self._last

    def finish(self) -> None:
        """Decode what is left, so that no part of a damaged picture is served.

        Raises as :meth:`crop` does.
        """
        self._pass(self.height)
        self._fetch(0, self.height - 1, 1, 1)

    def _pass(self, row: int) -> None:
        """Decode the rows above *row*, some at a time: how far the file is read goes with them."""
        for passed in range(self._at + _ROWS, row, _ROWS):
            self._fetch(0, passed, 1, 1)

    def _fetch(self, left: int, upper: int, width: int, height: int):
        self._at = upper + height
        if self._reading is not None:
            self._reading.bound(self._at * self.width * _PIXEL_BYTES)
        with self._telling():
            return self._region.fetch(left, upper, width, height)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Turn what goes wrong inside the block into what it is."""
        try:
            yield
        except (_vips.Error, KeyError) as error:
            if self._reading is not None and self._reading.fault is not None:
                raise self._reading.fault from error
            raise BrokenSource(f"cannot be decoded in strips: {error}") from error


class _Reading:
    """A file that libvips reads piece by piece, up to a bound.

    Nothing can be raised through libvips, so a fault is kept for its caller.
    """

    def __init__(self, data: Excerpt, bound: int):
        self.source = _vips.SourceCustom()
        self.source.on_read(self._read)
        self.source.on_seek(self._seek)
        self.fault: Exception | None = None
        self._data, self._ahead, self._bound = data, bound, bound

    def bound(self, pixel_bytes: int) -> None:
        """Have no more of the file read than so many bytes of pixels can take, and what is let go
        ahead of them.
        """
        self._bound = self._ahead + pixel_bytes

    def _read(self, size: int) -> bytes:
        if self._data.tell() > self._bound:
            self.fault = self.fault or RefusedSource("a file that gives too few pixels")
            return b""
        try:
            return self._data.read(size)
        except OSError as error:
            self.fault = error
            return b""

    def _seek(self, offset: int, whence: int) -> int:
        return self._data.seek(offset, whence)
