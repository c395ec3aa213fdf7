"""Memory that goes back to the system once a large source is done with.

A child of a prefork server lives for days. What it once needed for a large picture stays in the
allocator's free lists, and all children together hold many times what is ever used at once.
"""

import ctypes

#: Below this the free lists are worth keeping: the next thumbnail takes the same memory again.
LARGE_BYTES = 8 << 20

# glibc has it, musl and others do not
_malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


def give_back(cost_bytes: int) -> None:
    """Return free memory to the system, if a thumbnail that cost *cost_bytes* was a large one."""
    if cost_bytes >= LARGE_BYTES and _malloc_trim is not None:
        _malloc_trim(0)
