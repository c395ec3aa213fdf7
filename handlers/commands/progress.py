"""How far a long command has come: a bar on a terminal, a plain line now and then in a pipe."""

import time
from collections.abc import Callable

from handlers.commands.terminal import Terminal

_BAR = 40
# seconds between two looks of the bar, and between two lines in a pipe
_REDRAWN = 0.1
_REPORTED = 30.0


class Progress:
    """Counts steps of a command that runs in one thread, and shows where it stands.

    :param unit: what is counted, such as ``pictures``.
    :param total: how many there are, None if nobody knows.
    :param more: returns what else to say, given the seconds so far.
    """

    def __init__(
        self,
        terminal: Terminal,
        unit: str,
        total: int | None = None,
        more: Callable[[float], str] = lambda seconds: "",
    ):
        self.done = 0
        self._terminal = terminal
        self._unit = unit
        self._total = total
        self._more = more
        self._started = time.monotonic()
        # the first step draws the bar, and is no line of its own in a log
        self._said = 0.0 if terminal.interactive else self._started

    def add(self, steps: int = 1) -> None:
        """Count *steps*, and show them if it is time to."""
        self.done += steps
        now = time.monotonic()
        is_bar = self._terminal.interactive
        if now - self._said > (_REDRAWN if is_bar else _REPORTED):
            self._said = now
            (self._terminal.draw if is_bar else self._terminal.say)(self._line(now - self._started))

    def _line(self, seconds: float) -> str:
        bar = of = ""
        if self._total:
            of = f" of {self._total}"
            filled = min(_BAR, _BAR * self.done // self._total)
            bar = f"[{'#' * filled}{'.' * (_BAR - filled)}] " if self._terminal.interactive else ""
        return f"{bar}{self.done}{of} {self._unit}{self._more(seconds)}"
