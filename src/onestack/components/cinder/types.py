"""Types of volumes that a cloud offers beside the default one."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from onestack.cloudapi.block_storage import block_storage_of
from onestack.model.change import Change
from onestack.model.context import Context


@dataclass(frozen=True)
class VolumeType:
    name: str
    description: str
    specs: Mapping[str, str] = field(default_factory=dict)


MULTIATTACH = VolumeType(
    "multiattach",
    "Volumes that several servers have at once; their file system must be made for it",
    {"multiattach": "<is> True"},
)


def ensure_types(ctx: Context, wanted: tuple[VolumeType, ...]) -> Iterator[Change]:
    """Each is there; one of that name stays as it is."""
    storage = block_storage_of(ctx)
    present = storage.types()
    for one in wanted:
        if one.name not in present:
            make = functools.partial(
                storage.make_type, one.name, one.description, one.specs, public=True
            )
            yield Change(f"make the volume type {one.name}", make)
