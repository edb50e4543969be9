"""Where a cloud's volumes are: in the file pool, or in the volume group. Both are stores."""

from __future__ import annotations

from pathlib import Path

from onestack.storage.pool import Pool
from onestack.storage.store import PoolFacts
from onestack.storage.volume_group import VolumeGroup

VolumeStore = Pool | VolumeGroup


def kept(root: Path) -> VolumeStore | None:
    """What the cloud at ``root`` has, by its record; ``None`` before there is any."""
    stores: tuple[VolumeStore, ...] = (VolumeGroup.at(root), Pool.at(root))
    return next((store for store in stores if store.record.exists()), None)


def facts(root: Path) -> PoolFacts | None:
    """Of what the cloud has. Needs root; raises `OnestackError` where it cannot be told."""
    store = kept(root)
    return store.facts() if store else None
