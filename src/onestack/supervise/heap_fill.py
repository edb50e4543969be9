"""Holes in the zygote's memory, filled before it forks.

Imports leave free blocks between what stays. Children would put what they make
into them, and each copy for itself the pages they share. Filled, the holes
cost the parent nothing, and children write to pages of their own.
"""

from __future__ import annotations

POOL = 16 * 1024
"""Bytes in which CPython's allocator keeps blocks of one size."""
SIZES = range(48, 513, 16)
"""Of all sizes of blocks, those that a bytes object can have."""
HEAD = 33
"""Bytes of a bytes object beside its content."""
MOST = 200_000
"""Objects of one size, with another allocator too."""

_filling: list[bytes] = []


def fill() -> int:
    """Take the free blocks of all pools that are used in part; how many bytes that were.

    The allocator gives those first. They are at an end when a whole pool's worth comes
    from one pool: it was empty.
    """
    return sum(_fill(size) for size in SIZES)


def _fill(size: int) -> int:
    enough = POOL // size * 9 // 10
    kept = len(_filling)
    run: list[bytes] = []
    pool = -1
    while len(run) < enough and len(_filling) - kept < MOST:
        block = bytes(size - HEAD)
        if id(block) // POOL != pool:
            pool = id(block) // POOL
            _filling.extend(run)
            run = []
        run.append(block)
    return (len(_filling) - kept) * size
