"""What is to be removed, told by each thing itself."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

Item = dict[str, Any]
_GIVEN = {
    "security_group_rules": re.compile("default"),
    "ingress_firewall_policy_id": re.compile("default"),
    "firewall_rules": re.compile("default (in|e)gress"),
    "ip_version": re.compile("default (in|e)gress ipv[46]"),
}
"""Names of groups, of the firewall's policies and of its rules, by what only these have."""
PAUSE = 1.0
"""Seconds between two looks at what is to go."""


class Belongs:
    """What is to be removed: `fits` looks at each thing."""

    project = ""

    def fits(self, item: Item, owner: str) -> bool:
        raise NotImplementedError


@dataclass(frozen=True)
class OfProject(Belongs):
    """All that is in the project with this id."""

    project: str

    def fits(self, item: Item, owner: str) -> bool:
        return bool(self.project) and item.get(owner) == self.project


class PutInto(OfProject):
    """What somebody has put into it, and not neutron: `_is_given`."""

    def fits(self, item: Item, owner: str) -> bool:
        return not _is_given(item) and super().fits(item, owner)


@dataclass(frozen=True)
class Named(Belongs):
    """What has such a name, in whatever project; of these ids, where there are any given."""

    pattern: re.Pattern[str]
    only: frozenset[str] | None = None

    def fits(self, item: Item, owner: str) -> bool:
        wanted = self.only is None or item["id"] in self.only
        return wanted and bool(self.pattern.fullmatch(item.get("name") or ""))


@dataclass(frozen=True)
class Noted(Belongs):
    """Nothing; what would fit ``like`` is noted in ``ids``."""

    like: Belongs
    ids: set[str] = field(default_factory=set)

    def fits(self, item: Item, owner: str) -> bool:
        if self.like.fits(item, owner):
            self.ids.add(str(item["id"]))
        return False


def _is_given(item: Item) -> bool:
    """Whether neutron has it in each project that somebody uses, or only looks into."""
    return any(
        part in item and name.fullmatch(item.get("name") or "") for part, name in _GIVEN.items()
    )


def name_of(item: Item) -> str:
    names = ("name", "stack_name", "floating_ip_address", "id")
    return str(next(item[name] for name in names if item.get(name)))


def taken(status: int) -> bool:
    return status < 400 or status == 404
