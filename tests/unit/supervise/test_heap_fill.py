"""What children of the zygote allocate lies on pages of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from onestack.supervise import heap_fill

PROGRAM = """
from onestack.supervise import heap_fill
kept = [bytes(67) for _ in range(20000)][::2]
old = {id(block) // heap_fill.POOL for block in kept}
def hits():
    return sum(id(block) // heap_fill.POOL in old for block in [bytes(67) for _ in range(500)])
before = hits()
filled = heap_fill.fill()
print(before, hits(), filled)
"""


def test_holes_are_filled() -> None:
    # a program of its own: this one's memory has threads and history
    src = str(Path(heap_fill.__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env={"PYTHONPATH": src}
    )
    before, after, filled = map(int, done.stdout.split())
    assert (before, after) == (500, 0)
    assert filled > 10000 // 2 * 112 // 2


def test_it_ends_with_another_allocator() -> None:
    src = str(Path(heap_fill.__file__).resolve().parents[2])
    program = (
        "from onestack.supervise import heap_fill; heap_fill.MOST = 1000; print(heap_fill.fill())"
    )
    env = {"PYTHONPATH": src, "PYTHONMALLOC": "malloc"}
    assert subprocess.run([sys.executable, "-c", program], env=env, timeout=60).returncode == 0
