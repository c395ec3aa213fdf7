"""How long a thumbnail takes here: one moving figure that all children share and keep.

It decides how long the turn of a request is away, and so whether the request waits. Eight bytes in
a file are all there is. A process that is killed while it writes, or two that write at once, leave
a figure that the next thumbnails correct.
"""

import contextlib
import os
import struct

from handlers import state_directory

#: Seconds that are taken for true before the first thumbnail is made.
_USUAL = 0.1
#: The part of the figure that each thumbnail makes up.
_WEIGHT = 0.3
_LONGEST = 86_400.0
_FIGURE = struct.Struct("=d")


class Pace:
    """The figure of the cache *directory*; any process and thread may use it."""

    def __init__(self, directory: str):
        self._path = state_directory.path(directory, "pace")

    def seconds(self) -> float:
        """Return the seconds that a thumbnail takes from its maker's turn to its end."""
        # a machine that has lost its power may leave anything
        with contextlib.suppress(OSError, struct.error):
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                (figure,) = _FIGURE.unpack(os.read(fd, _FIGURE.size))
            finally:
                os.close(fd)
            if 0 <= figure <= _LONGEST:
                return figure
        return _USUAL

    def note(self, seconds: float) -> None:
        """Count a thumbnail that has taken *seconds*."""
        before = self.seconds()
        self._write(before + _WEIGHT * (seconds - before))

    def note_at_least(self, seconds: float) -> None:
        """Count one that has not come within *seconds*."""
        if seconds > self.seconds():
            self._write(seconds)

    def _write(self, figure: float) -> None:
        # what cannot be written, on a disk that is full, say, is not worth a thumbnail
        with contextlib.suppress(OSError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(self._path, flags, 0o600)
            try:
                os.pwrite(fd, _FIGURE.pack(figure), 0)
            finally:
                os.close(fd)
