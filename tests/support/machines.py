"""Machines whose facts are kept in ``tests/machines``, and what is made of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from onestack.host.facts import MODULES, HostFacts

PLACE = Path(__file__).resolve().parents[1] / "machines"
NAMES = tuple(sorted(path.stem for path in PLACE.glob("*.json")))


def machine(name: str = "debian-12", **changes: Any) -> HostFacts:
    """The facts of a kept machine, but for what is given."""
    kept = HostFacts.from_json((PLACE / f"{name}.json").read_text(encoding="utf-8"))
    return dataclasses.replace(kept, **changes)


def with_datapath(
    kept: HostFacts, *, kernel: bool = True, openvswitch: str = "3.1.0-2+deb12u1"
) -> HostFacts:
    """The machine with or without the kernel's datapath, and this version of Open vSwitch."""
    modules = tuple(m for m in MODULES if m in kept.modules or m == "openvswitch")
    return dataclasses.replace(
        kept,
        modules=modules if kernel else tuple(m for m in modules if m != "openvswitch"),
        packages={**kept.packages, "openvswitch-switch": openvswitch},
    )


def with_device_mapper(kept: HostFacts) -> HostFacts:
    """The machine, with a kernel that has thin pools."""
    modules = tuple(m for m in MODULES if m in kept.modules or m == "dm_thin_pool")
    return dataclasses.replace(kept, modules=modules)
