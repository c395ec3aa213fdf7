"""Time that grows no faster than the input."""

import gc
import sys
import time

_ATTEMPTS = 12
_ROUNDS = 3
# Ten times the input may take this many times the time.
_MOST = 12


def cpu_seconds(work) -> float:
    """Return the CPU time of this thread in calling *work*, of several rounds the least."""
    best = float("inf")
    collecting = gc.isenabled()
    # A collection costs what all objects of the test run cost.
    gc.disable()
    try:
        for _ in range(_ROUNDS):
            start = time.thread_time()
            work()
            best = min(best, time.thread_time() - start)
    finally:
        if collecting:
            gc.enable()
    return best


def lines_run(work) -> int:
    """Return how many lines of Python calling *work* runs: the same number each time."""
    count = 0

    def trace(frame, event, arg):
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def assert_linear_in_lines(work, size: int) -> None:
    """Assert that ``work(10 * size)`` runs at most twelve times the lines of ``work(size)``.

    It needs no clock, and does not see what a function written in C does with its input.
    """
    small, large = lines_run(lambda: work(size)), lines_run(lambda: work(10 * size))
    assert large <= _MOST * small, f"size {size} runs {small} lines, ten times the size {large}"


def assert_linear(work, size: int, clock=cpu_seconds, least: float = 0.0005) -> None:
    """Assert that ``work(10 * size)`` takes at most twelve times as long as ``work(size)``.

    Noise makes times longer, never shorter, so it is right as soon as one of some attempts is.

    :param clock: returns the seconds that a call takes.
    :param least: seconds; what is faster counts as this, since a clock cannot tell it from noise.
    """
    small = large = float("inf")
    for _ in range(_ATTEMPTS):
        small = min(small, clock(lambda: work(size)))
        large = min(large, clock(lambda: work(10 * size)))
        if large <= _MOST * max(small, least):
            return
    raise AssertionError(f"size {size} takes {small:.6f} s, ten times the size {large:.6f} s")
