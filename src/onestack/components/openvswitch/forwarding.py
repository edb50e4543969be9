"""Packet filters of somebody else that drop what guests send through this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from onestack.host.filters import FIREWALLD, ClosedChain, shut_ports
from onestack.model.context import Context
from onestack.network import demo
from onestack.network.bridges import Bridges

BEFORE_GUESTS = "qbr*"
"""The bridges between guests and the switch, each named by its port's id (iptables_hybrid)."""


def dropped(
    ctx: Context, bridge: str, closed: Iterable[ClosedChain]
) -> Iterator[tuple[str, str, str]]:
    """What is dropped, by whom, and what to type; nothing where a router outside does that work.

    ``closed`` are the chains for what is forwarded.
    """
    if not demo.machine_addresses(ctx.answers):
        return
    for chain in closed:
        if chain.drops(bridge):
            yield (
                "guests do not reach the outside, nor are they reached from it",
                f"the packet filter's chain {chain.name} drops what this machine forwards "
                f"({chain.who} has set that)",
                opening(chain, bridge, ctx.cloud.netns),
            )


def unreached(
    ctx: Context, bridge: str, closed: Iterable[ClosedChain]
) -> Iterator[tuple[str, str, str]]:
    """As `dropped`, where guests themselves get out: firewalld within one zone, a home router."""
    if not demo.machine_addresses(ctx.answers):
        return
    for chain in closed:
        if chain.arriving.drops(bridge) and not chain.leaving.drops(bridge):
            alone = chain.opening({"out": bridge})
            own = opening(chain, bridge) if chain.setter == FIREWALLD else alone
            yield (
                "other machines do not reach guests' floating IPs",
                f"the packet filter's chain {chain.name} drops what this machine is to forward "
                f"to {bridge} ({chain.who} has set that); guests themselves may get out",
                f"if they are to be reached: {inside(own, ctx.cloud.netns)}",
            )


def unserved(ctx: Context, bridge: str, rules: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Ports of the cloud that guests do not reach through the machine's leg on ``bridge``."""
    if not demo.machine_addresses(ctx.answers):
        return
    fronts = [front for declared in ctx.model for front in declared.frontends]
    wanted = sorted({front.port for front in fronts if not front.address})
    for chain, shut in shut_ports(rules, bridge, wanted):
        ports = ",".join(map(str, shut))
        yield (
            "guests do not reach the cloud's own services",
            f"the packet filter's chain {chain.name} drops what comes by {bridge} to the ports "
            f"{ports} ({chain.who} has set that); stacks with wait conditions, and databases, "
            "need them",
            inside(chain.opening({"in": bridge, "dport": ports}), ctx.cloud.netns),
        )


def cut_off(
    ctx: Context, closed: Iterable[ClosedChain], older: bool | None = None
) -> Iterator[tuple[str, str, str]]:
    """Guests that have no network at all, for the bridge before each is asked of the filter too.

    neutron accepts what it wants of that in its own chains, at the head of iptables' FORWARD, and
    no other chain knows of it. ``older``: whether iptables is here that of the older filter;
    ``None``: nobody knows yet.
    """
    if ctx.offers("chassis") or ctx.once(Bridges).datapath != "netdev":
        return
    for chain in closed:
        neutrons = (chain.family, chain.table, chain.chain) == ("ip", "filter", "FORWARD")
        if neutrons and older in (None, chain.older):
            continue
        if chain.within.drops(BEFORE_GUESTS):
            yield (
                "guests are cut off from every network",
                f"the packet filter's chain {chain.name} drops what passes the bridges before "
                f"them ({chain.who} has set that, and br_netfilter shows it to it)",
                _opening_bridges(chain, ctx.cloud.netns),
            )


def _opening_bridges(chain: ClosedChain, namespace: str | None) -> str:
    if chain.setter != FIREWALLD:
        return inside(chain.opening({"in": BEFORE_GUESTS}), namespace)
    words, zone = "firewall-cmd --permanent", BEFORE_GUESTS.removesuffix("*")
    added = f"{words} --zone={zone}"
    # what stays in one zone passes
    return (
        f"{words} --new-zone={zone}; {added} --add-interface={zone}+; {added} --add-forward; "
        "firewall-cmd --reload"
    )


def opening(chain: ClosedChain, bridge: str, namespace: str | None = None) -> str:
    """Commands after which ``chain`` lets through what comes from ``bridge``, and what goes there.

    Where firewalld or ufw has made it, in its own words: those last.
    """
    if chain.setter == FIREWALLD:
        # a zone alone lets nothing through: policies say what may go between zones
        words = "firewall-cmd --permanent"
        return "; ".join(
            (
                f"{words} --new-zone={bridge}",
                f"{words} --zone={bridge} --add-interface={bridge}",
                *_policy(f"{bridge}-o", bridge, "ANY"),
                *_policy(f"{bridge}-i", "ANY", bridge),
                "firewall-cmd --reload",
            )
        )
    return inside(chain.opening({"in": bridge}, {"out": bridge}), namespace)


def bridging(chain: ClosedChain, bridge: str, namespace: str | None = None) -> str:
    """Commands after which ``chain`` lets through what only passes the machine's ``bridge``."""
    if chain.setter == FIREWALLD:
        # what stays in one zone passes
        zone = "$(firewall-cmd --get-default-zone)"
        add = f"firewall-cmd --permanent --zone={zone}"
        return f"{add} --add-interface={bridge}; {add} --add-forward; firewall-cmd --reload"
    return inside(chain.opening({"in": bridge, "out": bridge}), namespace)


def inside(commands: str, namespace: str | None) -> str:
    """``commands`` to be typed on the machine for a filter of that network namespace."""
    if not namespace:
        return commands
    return "; ".join(f"ip netns exec {namespace} {each}" for each in commands.split("; "))


def _policy(name: str, ingress: str, egress: str) -> Iterator[str]:
    words = "firewall-cmd --permanent"
    yield f"{words} --new-policy={name}"
    for option in (f"add-ingress-zone={ingress}", f"add-egress-zone={egress}", "set-target=ACCEPT"):
        yield f"{words} --policy={name} --{option}"
