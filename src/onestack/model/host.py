"""A host of the cloud: its name, its addresses, and what it is there for."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onestack.host.facts import HostFacts
    from onestack.model.cloud import Cloud


class Role(enum.StrEnum):
    """What a host does for the cloud."""

    CONTROLLER = "controller"  # databases, bus, APIs
    COMPUTE = "compute"  # guests
    GATEWAY = "gateway"  # the way from guests' networks to the outside
    STORAGE = "storage"  # volumes and objects


EVERY_ROLE = frozenset(Role)


class Network(enum.StrEnum):
    """What an address of a host is for."""

    PUBLIC = "public"  # users come here
    INTERNAL = "internal"  # the cloud's own services
    GUESTS = "guests"  # guests come here


@dataclass(frozen=True)
class Host:
    """``name`` is written down once, when the cloud is made: the kernel is not asked again."""

    name: str
    addresses: Mapping[Network, str]
    facts: HostFacts
    roles: frozenset[Role] = field(default=EVERY_ROLE)

    @classmethod
    def alone(cls, cloud: Cloud, facts: HostFacts, name: str = "") -> Host:
        """The one host of a cloud: it has every role."""
        addresses = {
            Network.PUBLIC: facts.public_address,
            Network.INTERNAL: cloud.loopback,
            Network.GUESTS: facts.public_address,
        }
        return cls(name or facts.hostname, addresses, facts)
