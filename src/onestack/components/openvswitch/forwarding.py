"""Packet filters of somebody else that drop what guests send through this machine."""

from __future__ import annotations

from collections.abc import Iterator

from onestack.host import netns, nftables
from onestack.model.context import Context
from onestack.network import demo


def dropped(ctx: Context, bridge: str) -> Iterator[tuple[str, str, str]]:
    """What is dropped, by whom, and what to type; nothing where a router outside does that work."""
    if not demo.machine_addresses(ctx.answers):
        return
    there = ctx.cloud.netns
    if there and not netns.exists(there):
        return
    with netns.inside(there):
        rules = nftables.ruleset()
    command = f"{f'ip netns exec {there} ' if there else ''}iptables -I FORWARD"
    for chain in nftables.closed_chains(rules, "forward", bridge):
        yield (
            "guests do not reach the outside, nor are they reached from it",
            f"the packet filter's chain {chain} drops what this machine forwards "
            f"({_whose(str(rules))})",
            f"{command} -i {bridge} -j ACCEPT; {command} -o {bridge} -j ACCEPT",
        )


def _whose(rules: str) -> str:
    """Who commonly sets such a policy, by the names of its own chains."""
    for sign, who in (("DOCKER", "Docker sets that"), ("ufw-", "ufw sets that")):
        if sign in rules:
            return who
    return "somebody has set that"
