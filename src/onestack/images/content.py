"""What of a folder counts in the digest of a recipe."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path


def files_below(place: Path) -> list[Path]:
    """All files and links of a folder, in a fixed order; a file itself."""
    if not place.is_dir():
        return [place]
    found = (path for path in place.rglob("*") if "__pycache__" not in path.parts)
    return sorted(path for path in found if path.is_symlink() or path.is_file())


def contents(base: Path, names: Iterable[str]) -> Iterator[bytes]:
    """Path, mode and content of each file of ``names``, files and folders below ``base``.

    Of the mode that counts which everybody's copy has alike, whatever his umask: a program or not.
    """
    for name in names:
        for path in files_below(base / name):
            yield os.fsencode(path.relative_to(base)) + b"\0"
            if path.is_symlink():
                yield b"-> " + os.fsencode(os.readlink(path))
            else:
                raw = path.read_bytes()
                mode = "111" if path.stat().st_mode & 0o100 else "0"
                yield f"{mode} {len(raw)} ".encode() + raw
