"""Time that grows no faster than the input."""

import gc
import time

_ATTEMPTS = 4
_ROUNDS = 3
# Ten times the input may take this many times the time.
_MOST = 12


def cpu_seconds(work) -> float:
    """Return the CPU time of calling *work*, of several rounds the least."""
    best = float("inf")
    collecting = gc.isenabled()
    # A collection costs what all objects of the test run cost.
    gc.disable()
    try:
        for _ in range(_ROUNDS):
            start = time.process_time()
            work()
            best = min(best, time.process_time() - start)
    finally:
        if collecting:
            gc.enable()
    return best


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
