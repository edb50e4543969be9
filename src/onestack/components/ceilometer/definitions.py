"""What is measured, how often, and where it goes: Ceilometer's YAML files.

JSON is YAML: what is ours is written as that.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from onestack.components import telemetry
from onestack.model.context import Context

SELDOM = 300
"""Seconds between two looks at what other services count: each is a listing of all there is."""

GUESTS = (
    "power.state",
    "vcpus",
    "cpu",
    "memory",
    "memory.usage",
    "memory.resident",
    "disk.root.size",
    "disk.ephemeral.size",
    "disk.device.read.bytes",
    "disk.device.read.requests",
    "disk.device.write.bytes",
    "disk.device.write.requests",
    "disk.device.allocation",
    "disk.device.capacity",
    "disk.device.usage",
    "network.incoming.bytes",
    "network.incoming.packets",
    "network.incoming.packets.drop",
    "network.incoming.packets.error",
    "network.outgoing.bytes",
    "network.outgoing.packets",
    "network.outgoing.packets.drop",
    "network.outgoing.packets.error",
)
LEFT_OUT = ("volume.provider.pool.*",)
"""Told by cinder, and not kept: upstream's client of the store does not escape the ``#`` in the
names of pools, and would fail each time."""


def files(ctx: Context, resources: Path) -> dict[str, str]:
    """Name to content. ``resources`` is where the last of them is put."""
    interval = int(ctx.answers[telemetry.INTERVAL])
    store = f"gnocchi://?resources_definition_file={resources}"
    # Only what has alarms reads that queue.
    alarms = ["notifier://?topic=alarm.all"] if ctx.offers("alarming") else []
    made: dict[str, Any] = {
        "polling.yaml": {"sources": _sources(ctx, interval)},
        "pipeline.yaml": _pipeline("meters", [store], LEFT_OUT),
        "event_pipeline.yaml": _pipeline("events", [store, *alarms]),
    }
    upstream = ctx.release.services.read(f"ceilometer/publisher/data/{resources.name}")
    return {
        **{name: json.dumps(content, indent=1) + "\n" for name, content in made.items()},
        resources.name: kinds(upstream, interval),
    }


def _sources(ctx: Context, interval: int) -> list[dict[str, Any]]:
    asked = [meter for room in ctx.components for meter in room.meters]
    measured = list(GUESTS) if ctx.offers("hypervisor") else []
    sources = [
        {"name": "guests", "interval": interval, "meters": measured},
        {"name": "services", "interval": max(SELDOM, interval), "meters": asked},
    ]
    return [source for source in sources if source["meters"]]


def _pipeline(what: str, publishers: list[str], left_out: tuple[str, ...] = ()) -> dict[str, Any]:
    names = ["*", *(f"!{name}" for name in left_out)]
    return {
        "sources": [{"name": "all", what: names, "sinks": ["store"]}],
        "sinks": [{"name": "store", "publishers": publishers}],
    }


def kinds(text: str, interval: int) -> str:
    """Upstream's kinds of resources, with archive policies as fine as what is measured.

    Upstream's keep one point for five minutes; an alarm could not see anything sooner.
    A policy cannot be made finer later, so its name says what it holds.

    A server's resource ends with its deletion, not with the beginning of that: nova tells more of
    it afterwards, and the store takes a resource that has new measures for one that lives.
    """
    plain, rate = f"every-{interval}s", f"every-{interval}s-rate"
    kept = [{"granularity": f"{interval} seconds", "timespan": "2 days"}]
    if interval < SELDOM:
        kept.append({"granularity": f"{SELDOM} seconds", "timespan": "60 days"})

    def policy(name: str, *methods: str) -> dict[str, Any]:
        made = {"name": name, "back_window": 0, "definition": kept}
        return made | {"aggregation_methods": list(methods)}

    head = {
        "archive_policy_default": plain,
        "archive_policies": [policy(plain, "mean"), policy(rate, "mean", "rate:mean")],
    }
    _, resources = text.split("\nresources:\n", 1)
    changes = {
        "ceilometer-low-rate": rate,
        "event_delete: compute.instance.delete.start": "event_delete: compute.instance.delete.end",
    }
    for old, new in changes.items():
        resources = resources.replace(old, new)
    lines = (f"{key}: {json.dumps(value)}" for key, value in head.items())
    return "\n".join((*lines, "resources:", resources))
