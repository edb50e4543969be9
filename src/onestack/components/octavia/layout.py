"""Where amphorae are and what they are called, for all who have to do with them."""

from __future__ import annotations

from onestack.components.octavia import keys
from onestack.components.octavia.amphora import AMPHORA
from onestack.model.context import Context
from onestack.model.declarations import Flavor, Port
from onestack.network.management import Management

HEARTBEATS = 5555
"""UDP port of the service, at which amphorae say that they are well."""
AGENT = 9443
"""TCP port of an amphora's agent."""
BEATS = Port("udp", HEARTBEATS)
TAG = "amphora"
FLAVOR = Flavor("octavia-amphora", 1, 1024, AMPHORA.min_disk_gib)


def boot_seconds(ctx: Context) -> int:
    """How long an amphora is waited for: one whose processor is emulated takes minutes."""
    return 300 if ctx.facts.kvm else 900


def change_seconds(ctx: Context) -> int:
    """How long a change to one may take, when much else runs; of KVM upstream's own figure."""
    return 120 if ctx.facts.kvm else 600


def silent_seconds(ctx: Context) -> int:
    """After how long without a heartbeat it is replaced."""
    return 60 if ctx.facts.kvm else 180


def grace_seconds(ctx: Context) -> int:
    """How long after the service's start none is replaced: guests boot with the cloud."""
    return 120 if ctx.facts.kvm else 600


def management(ctx: Context) -> Management:
    return Management(
        ctx,
        service="octavia",
        subnet=str(ctx.answers[keys.SUBNET]),
        reached=(BEATS,),
        answered=(Port("tcp", AGENT),),
    )
