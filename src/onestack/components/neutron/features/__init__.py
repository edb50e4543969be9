"""What neutron has with some answers: ML2's mechanisms, firewall groups, metering."""

from __future__ import annotations

from onestack.components.neutron.features.fwaas import (
    AgentFirewalls,
    Firewalls,
    OvnFirewalls,
)
from onestack.components.neutron.features.mechanism import Mechanism
from onestack.components.neutron.features.metering import Metering
from onestack.components.neutron.features.openvswitch import OpenVswitch
from onestack.components.neutron.features.ovn import OvnMechanism
from onestack.model.component import Feature
from onestack.model.context import Context

MECHANISMS: tuple[Mechanism, ...] = (OvnMechanism(), OpenVswitch())
FEATURES: tuple[Feature, ...] = (
    # A mechanism's zygote works out all models: those of firewall groups are there by then.
    *(Firewalls(), OvnFirewalls(), AgentFirewalls()),
    *MECHANISMS,
    Metering(),
)


def mechanism_of(ctx: Context) -> Mechanism:
    """The one that is on."""
    return next(each for each in MECHANISMS if each.on(ctx))
