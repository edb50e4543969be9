"""The clouds of this machine: one small file each in the shared cache."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from onestack.cloud import CACHE, Cloud
from onestack.host.change import Change
from onestack.host.files import ensure_file


def path_of(cloud: Cloud, cache: Path = CACHE) -> Path:
    return cache / "clouds" / f"{cloud.name}.json"


def ensure_registered(cloud: Cloud, cache: Path = CACHE) -> Iterator[Change]:
    yield from ensure_file(path_of(cloud, cache), json.dumps({"root": str(cloud.root)}) + "\n")


def unregister(cloud: Cloud, cache: Path = CACHE) -> None:
    path_of(cloud, cache).unlink(missing_ok=True)


def others(cloud: Cloud, cache: Path = CACHE) -> dict[str, Path]:
    """Name and root of the other clouds that are still on this machine."""
    found = {}
    for path in sorted((cache / "clouds").glob("*.json")):
        try:
            root = Path(json.loads(path.read_text())["root"])
        except (OSError, ValueError, KeyError):
            continue
        if path.stem != cloud.name and root != cloud.root and (root / "etc").is_dir():
            found[path.stem] = root
    return found
