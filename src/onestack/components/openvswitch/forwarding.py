"""Packet filters of somebody else that drop what guests send through this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onestack.host.filters import FIREWALLD, ClosedChain
from onestack.model.context import Context
from onestack.network import demo


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
