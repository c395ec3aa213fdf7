"""Standard error of a command: log lines, and a progress bar that they do not break."""

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from typing import TextIO

_CLEAR_LINE = "\r\x1b[K"
_COLUMNS = 80


class Terminal(logging.Handler):
    """Writes log records, and keeps a line of progress below them where *stream* is a terminal.

    Any thread may use it.
    """

    def __init__(self, stream: TextIO):
        super().__init__(logging.WARNING)
        self._stream = stream
        self._line = ""
        self._writing = threading.RLock()
        #: Whether there is somebody to look at a bar.
        self.interactive = stream.isatty()

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record's message above the bar."""
        try:
            self.say(self.format(record))
        except Exception:
            self.handleError(record)

    def say(self, text: str) -> None:
        """Write a line of its own; a bar that is drawn is drawn again below it."""
        with self._writing:
            line = self._line
            self.clear()
            self._stream.write(f"{text}\n")
            self.draw(line)
            self._stream.flush()

    def draw(self, line: str) -> None:
        """Draw *line* in place of the one drawn before, if this is a terminal."""
        if not self.interactive:
            return
        with self._writing:
            self._line = line[: self._columns() - 1]
            self._stream.write(_CLEAR_LINE + self._line)
            self._stream.flush()

    def clear(self) -> None:
        """Take the drawn line away."""
        with self._writing:
            if self._line:
                self._stream.write(_CLEAR_LINE)
                self._stream.flush()
            self._line = ""

    def _columns(self) -> int:
        # a line that wraps would stay behind
        with contextlib.suppress(OSError, ValueError):
            return os.get_terminal_size(self._stream.fileno()).columns or _COLUMNS
        return _COLUMNS


@contextlib.contextmanager
def logging_to(terminal: Terminal) -> Iterator[None]:
    """Send the warnings and errors of the package to *terminal* for the length of a with block.

    Results are printed, and failures are raised and printed once; so info lines are left out.
    """
    package = logging.getLogger("handlers")
    before = package.level, package.propagate
    package.addHandler(terminal)
    package.setLevel(logging.WARNING)
    package.propagate = False
    try:
        yield
    finally:
        terminal.clear()
        package.removeHandler(terminal)
        package.level, package.propagate = before
