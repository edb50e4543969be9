"""``python rings.py WANTED DIRECTORY``: the three rings, by swift's own library (services' env).

``WANTED`` is JSON: ``replicas``, ``ip``, ``ports`` (ring to port), ``devices``
(name, zone, weight) and ``emptied``. The builders, kept in ``DIRECTORY/builders``,
remember where each partition lies, so that a change of the answers moves as
few as it can. A device that is no longer wanted stays, without weight, if it is
to be ``emptied``: what lies on it has to be found until it has been moved. One that
is not there any more leaves the rings. The same builders and wishes give the same
rings. Copies lie in different zones, of which there are at least as many.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from swift.common.ring import RingBuilder

PART_POWER = 10
"""1024 partitions: it can never change, and is ample for the disks of one machine."""

OVERLOAD = 1000.0
"""How much more than its share by weight a disk may get; swift gives no more than is needed."""


def build(wanted: dict[str, Any], directory: Path) -> None:
    builders = directory / "builders"
    builders.mkdir(mode=0o755, exist_ok=True)
    for name, port in wanted["ports"].items():
        kept = builders / f"{name}.builder"
        # All is on one machine and at hand while it moves: no partition must wait an hour.
        builder = (
            RingBuilder.load(str(kept))
            if kept.exists()
            else RingBuilder(PART_POWER, wanted["replicas"], 0)
        )
        arrange(builder, wanted, port)
        _save(builder.save, kept)
        _save(builder.get_ring().save, directory / f"{name}.ring.gz")


def arrange(builder: Any, wanted: dict[str, Any], port: int) -> None:
    builder.set_replicas(wanted["replicas"])
    # With none, swift would sooner put two copies into one zone than go beyond a weight.
    builder.set_overload(OVERLOAD)
    known = {device["device"]: device for device in builder.devs if device}
    place = {"ip": wanted["ip"], "port": port}
    place |= {f"replication_{key}": value for key, value in place.items()}
    for device in known.values():
        device.update(place)
    names = [device["name"] for device in wanted["devices"]]
    for device in wanted["devices"]:
        if old := known.get(device["name"]):
            builder.set_dev_zone(old["id"], device["zone"])
            builder.set_dev_weight(old["id"], device["weight"])
        else:
            builder.add_dev(
                {
                    **place,
                    "region": 1,
                    "zone": device["zone"],
                    "device": device["name"],
                    "weight": device["weight"],
                    "meta": "",
                }
            )
    for name, device in known.items():
        if name not in names:
            if wanted["emptied"]:
                builder.set_dev_weight(device["id"], 0.0)
            else:
                builder.remove_dev(device["id"])
    # A pass moves one copy of a partition at most.
    while builder.rebalance(seed=1)[0]:
        pass
    builder.validate()


def _save(save: Any, path: Path) -> None:
    work = path.with_name(f".{path.name}.new")
    save(str(work))
    work.chmod(0o644)
    with work.open("rb") as file:
        os.fsync(file.fileno())
    work.rename(path)


if __name__ == "__main__":
    build(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
