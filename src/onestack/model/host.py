"""A host of the cloud: its name, its addresses, and what it is there for."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from onestack.model.account import Account

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
PASSAGE = "passage"
"""The capability by which a host that has joined reaches what others have."""


class Network(enum.StrEnum):
    """What an address of a host is for."""

    PUBLIC = "public"  # users come here
    INTERNAL = "internal"  # the cloud's own services
    GUESTS = "guests"  # guests come here


@dataclass(frozen=True)
class Member:
    """A host that has joined, as its controller has it: what it is given there follows from it."""

    name: str
    identity: str
    """Another one each time that the machine joins; OVN's name of its chassis."""
    roles: frozenset[Role]
    accounts: Mapping[str, Account] = field(default_factory=dict, repr=False)
    """Capability to its account there."""
    admitted: bool = True
    """Whether it may have begun: what has a newcomer's name already is of a host before it."""
    number: int = 0
    """Another one each time that a machine joins, from 1 on."""


@dataclass(frozen=True)
class Joined:
    """What a host knows whose cloud has its controller elsewhere."""

    controller: str
    """The address of the controller's door."""
    identity: str
    accounts: Mapping[str, Account] = field(repr=False)
    """Capability to this host's account there."""
    number: int = 0
    """As `Member.number`."""
    purposes: tuple[str, ...] = ()
    """What it is to have certificates for, to show to other hosts."""


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

    @classmethod
    def of_others(
        cls, cloud: Cloud, facts: HostFacts, name: str, address: str, roles: frozenset[Role]
    ) -> Host:
        """One that has joined: the cloud's public address is not its own."""
        addresses = {
            Network.PUBLIC: address,
            Network.INTERNAL: cloud.loopback,
            Network.GUESTS: address,
        }
        return cls(name, addresses, facts, roles)
