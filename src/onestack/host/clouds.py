"""The clouds of this machine: one small file each in the shared cache.

What they share on the host is in the ledger of one of them. One that is removed
hands it over to one that stays, under a lock of all clouds (`hand_over`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from onestack.host.files import ensure_directory, write_file
from onestack.host.ledger import Ledger
from onestack.host.locks import directory_lock
from onestack.model.change import Change
from onestack.model.cloud import CACHE, Cloud, record_path

_REMOVING = "going"
"""In a cloud's file, which those of other versions on the machine read, too."""


def path_of(cloud: Cloud, cache: Path = CACHE) -> Path:
    return cache / "clouds" / f"{cloud.name}.json"


@contextmanager
def alone(cache: Path | None = None) -> Iterator[None]:
    """The lock of all clouds: none begins to be removed meanwhile."""
    with directory_lock((cache or CACHE) / "clouds"):
        yield


def ensure_registered(cloud: Cloud, cache: Path = CACHE) -> Iterator[Change]:
    """Also one whose `destroy` was begun and given up stays again.

    Only root looks in: who can read the directory can hold the lock of all clouds.
    """
    place, text = path_of(cloud, cache), json.dumps({"root": str(cloud.root)}) + "\n"
    yield from ensure_directory(place.parent, mode=0o700)
    if place.exists() and place.read_text() == text:
        return

    def write() -> None:
        with directory_lock(place.parent):
            # The last of the other clouds may just have taken it along.
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_file(place, text)

    yield Change(f"write {place}", write)


def others(cloud: Cloud, cache: Path = CACHE) -> dict[str, Path]:
    """Name and root of the other clouds that are still on this machine."""
    return {name: Path(entry["root"]) for name, entry in _others(cloud, cache).items()}


def successor(cloud: Cloud, cache: Path = CACHE) -> tuple[str, Path] | None:
    """One of the others that stays, and to which things can be handed over."""
    return next(iter(staying(cloud, cache).items()), None)


def staying(cloud: Cloud, cache: Path = CACHE) -> dict[str, Path]:
    """As `others`, without those that are being removed or are not whole."""
    return {
        name: Path(entry["root"])
        for name, entry in _others(cloud, cache).items()
        if not entry.get(_REMOVING) and record_path(Path(entry["root"])).is_file()
    }


def removing(cloud: Cloud, cache: Path = CACHE) -> bool:
    """Whether `hand_over` has been called, or there is no need to: no cloud knows of it."""
    entry = _read(path_of(cloud, cache))
    return entry is None or bool(entry.get(_REMOVING))


def hand_over(cloud: Cloud, cache: Path = CACHE) -> None:
    """The cloud is being removed: nothing is handed to it now, a successor gets what is shared.

    The lock makes the two one: of clouds destroyed at the same moment the one
    that comes second finds the first being removed, and what that one had in its own ledger.
    There is one such lock on the machine, nobody waits for a cloud while holding
    it, and a ledger's own lock, taken inside, is only held to write a file: no
    two can wait for each other.
    """
    with alone(cache):
        place = path_of(cloud, cache)
        if place.exists():
            write_file(place, json.dumps({"root": str(cloud.root), _REMOVING: True}) + "\n")
        if found := successor(cloud, cache):
            Ledger.of(cloud).hand_over(found[1])


def unregister(cloud: Cloud, keep_cache: bool, cache: Path = CACHE) -> dict[str, Path]:
    """Strike it off; `others` that are there at that moment: exactly one cloud is the last.

    That one moves the cache aside, to be removed at leisure (`aside`), unless ``keep_cache``:
    a cloud that comes meanwhile begins a new one.
    """
    with directory_lock(cache / "clouds"):
        path_of(cloud, cache).unlink(missing_ok=True)
        left = others(cloud, cache)
        if not (left or keep_cache) and cache.exists() and not cache.is_mount():
            cache.rename(cache.with_name(f".{cache.name}.going-{os.getpid()}"))
        return left


def aside(cache: Path = CACHE) -> list[Path]:
    """Caches that `unregister` has moved aside; of one with a disk of its own what is in it."""
    inside = cache.iterdir() if cache.is_mount() else ()
    return [*cache.parent.glob(f".{cache.name}.going-*"), *inside]


def _others(cloud: Cloud, cache: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for path in sorted((cache / "clouds").glob("*.json")):
        entry = _read(path)
        if not entry or path.stem == cloud.name:
            continue
        root = Path(entry["root"])
        if root != cloud.root and (root / "etc").is_dir():
            found[path.stem] = entry
    return found


def _read(path: Path) -> dict[str, Any] | None:
    try:
        entry = json.loads(path.read_text())
        return {**entry, "root": str(entry["root"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None
