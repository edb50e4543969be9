"""What a file of the pool was given room for, which may be more than it has.

Whoever gets a volume as a file may cut it and write it anew, as cinder's backup service does. What
the file was given is noted in it (``user.onestack.allotted``) before that, so that nobody else
gets the room meanwhile.
"""

from __future__ import annotations

import os
from pathlib import Path

_NAME = "user.onestack.allotted"


def note(path: Path, size: int) -> None:
    """Let ``path`` count as ``size`` bytes at least."""
    if _noted(path) != size:
        os.setxattr(path, _NAME, str(size).encode())


def allotted(path: Path) -> int:
    """Bytes that ``path`` may grow to without asking for room."""
    return max(path.stat().st_size, _noted(path))


def _noted(path: Path) -> int:
    try:
        return int(os.getxattr(path, _NAME))
    except FileNotFoundError:
        raise
    except (OSError, ValueError):  # nothing was noted
        return 0
