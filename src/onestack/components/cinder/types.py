"""Types of volumes that a cloud offers beside the default one."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from onestack.cloudapi.block_storage import BlockStorage, Item, block_storage_of
from onestack.model.change import Change
from onestack.model.context import Context


@dataclass(frozen=True)
class VolumeType:
    name: str
    description: str
    specs: Mapping[str, str] = field(default_factory=dict)
    encryption: Mapping[str, Any] = field(default_factory=dict)


MULTIATTACH = VolumeType(
    "multiattach",
    "Volumes that several servers have at once; their file system must be made for it",
    {"multiattach": "<is> True"},
)
LUKS = VolumeType(
    "luks",
    "Volumes that are encrypted on the disk, each with a key of its own",
    encryption={
        "provider": "luks",
        "cipher": "aes-xts-plain64",
        "key_size": 256,
        "control_location": "front-end",
    },
)
GROUPS = ("default", "Volumes whose snapshots are taken together, one after another")
"""The type of groups: its name and what it is for."""


def ensure_types(ctx: Context, wanted: tuple[VolumeType, ...]) -> Iterator[Change]:
    """Each is there; one of that name stays as it is, once it is whole."""
    storage = block_storage_of(ctx)
    present = storage.types()
    for one in wanted:
        there = present.get(one.name)
        if there is None or _half_made(storage, one, there):
            make = functools.partial(_make, storage, one, there)
            yield Change(f"make the volume type {one.name}", make)
    name, description = GROUPS
    if name not in storage.group_types():
        yield Change(
            f"make the type of volume groups {name}",
            lambda: storage.make_group_type(name, description),
        )


def _half_made(storage: BlockStorage, one: VolumeType, there: Item) -> bool:
    """Ours, which nobody else could use yet."""
    return bool(
        one.encryption and not there["is_public"] and there.get("description") == one.description
    )


def _make(storage: BlockStorage, one: VolumeType, there: Item | None) -> None:
    """A type whose volumes are to be encrypted is nobody's before they would be."""
    if not one.encryption:
        storage.make_type(one.name, one.description, one.specs, public=True)
        return
    identity = (
        str(there["id"])
        if there
        else storage.make_type(one.name, one.description, one.specs, public=False)
    )
    if not storage.encryption(identity):
        storage.encrypt(identity, one.encryption)
    storage.offer_type(identity)
