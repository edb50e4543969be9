"""A cloud's root directory, and what in it is not the cloud's."""

from __future__ import annotations

from pathlib import Path

from onestack.model.cloud import record_path

PLACES = ("etc", "run", "log", "data", "bin")
"""The first directories of a cloud's root."""
LOST = "lost+found"


def foreign(root: Path) -> list[str]:
    """What lies in ``root`` and was not made by a cloud there (the first few names)."""
    if not root.is_dir() or record_path(root).is_file():
        return []
    return sorted(p.name for p in root.iterdir() if p.name not in (*PLACES, LOST))[:5]
