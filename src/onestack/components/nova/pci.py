"""PCI devices for guests: which may be given away, and the names that flavors have for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from onestack.answers.values import Answers
from onestack.model.ini import Ini, MultiOpt

FILTERS = (
    "ComputeFilter",
    "ComputeCapabilitiesFilter",
    "ImagePropertiesFilter",
    "ServerGroupAntiAffinityFilter",
    "ServerGroupAffinityFilter",
    "PciPassthroughFilter",
)
"""Upstream's own, and the one that counts devices."""


def wrong_alias(text: str) -> str | None:
    return _wrong(text, ("name",))


def wrong_devices(text: str) -> str | None:
    return _wrong(text, ())


def _wrong(text: str, needed: tuple[str, ...]) -> str | None:
    try:
        found = entries(text)
    except ValueError as error:
        return f"write a JSON list of objects ({error})"
    for entry in found:
        if missing := [name for name in needed if name not in entry]:
            return f"{json.dumps(entry)} has no {missing[0]!r}"
        if not entry:
            return "an empty object would mean every device of the machine"
    return None


def entries(text: str) -> list[Mapping[str, Any]]:
    """The objects of a list, or the one there is. Raises `ValueError`."""
    found = json.loads(text or "[]")
    if isinstance(found, dict):
        found = [found]
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ValueError("it is another kind of JSON")
    return found


def sections(answers: Answers) -> Ini:
    aliases, devices = (
        MultiOpt(
            json.dumps(entry, sort_keys=True)
            for entry in entries(str(answers[f"CONFIG_NOVA_PCI_{name}"]))
        )
        for name in ("ALIAS", "PASSTHROUGH_WHITELIST")
    )
    if not devices:
        return {}
    return {
        "pci": {"device_spec": devices, **({"alias": aliases} if aliases else {})},
        "filter_scheduler": {"enabled_filters": FILTERS},
    }
