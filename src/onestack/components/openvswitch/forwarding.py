"""Packet filters of somebody else that drop what guests send through this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onestack.host.nftables import ClosedChain
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
    there = ctx.cloud.netns
    command = f"{f'ip netns exec {there} ' if there else ''}iptables -I FORWARD"
    for chain in closed:
        if chain.drops(bridge):
            yield (
                "guests do not reach the outside, nor are they reached from it",
                f"the packet filter's chain {chain.name} drops what this machine forwards "
                f"({chain.setter or 'somebody'} has set that)",
                f"{command} -i {bridge} -j ACCEPT; {command} -o {bridge} -j ACCEPT",
            )
