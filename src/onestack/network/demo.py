"""The demo's public network, as the answers have it: packstack's names and ranges."""

from __future__ import annotations

import ast
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from onestack.answers.values import Answers

PUBLIC = "public"
FIXED_RANGE = "10.0.0.0/24"
DEFAULT_POOL, DEFAULT_POOL_RANGE = "default-pool", "10.213.0.0/16"
"""Of it are the networks that a project gets who asks for any (`--nic auto`)."""
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def wanted(answers: Answers) -> bool:
    """Whether there is to be a public network: for the demo, or for Tempest."""
    return bool(answers["CONFIG_PROVISION_DEMO"] or answers["CONFIG_PROVISION_TEMPEST"])


@dataclass(frozen=True)
class AllocationPool:
    start: str
    end: str


def range_key(answers: Answers) -> str:
    """packstack's order: the demo's own, else Tempest's."""
    which = "DEMO" if answers["CONFIG_PROVISION_DEMO"] else "TEMPEST"
    return f"CONFIG_PROVISION_{which}_FLOATRANGE"


def float_range(answers: Answers) -> Network:
    return ipaddress.ip_network(str(answers[range_key(answers)]), strict=False)


def gateway(answers: Answers) -> str:
    """The public network's: the machine's own address there, if it has one, else the first."""
    network = float_range(answers)
    own = str(answers["CONFIG_ONESTACK_EXTERNAL_ADDRESS"])
    if own and ipaddress.ip_interface(own).ip in network:
        return str(ipaddress.ip_interface(own).ip)
    return str(next(network.hosts()))


def machine_addresses(answers: Answers) -> list[str]:
    """What the machine has on the external bridge, with prefix length."""
    own = str(answers["CONFIG_ONESTACK_EXTERNAL_ADDRESS"])
    found = [own] if own else []
    if wanted(answers) and answers["CONFIG_PROVISION_OVS_BRIDGE"]:
        network = float_range(answers)
        if not own or not ipaddress.ip_interface(own).network.overlaps(network):
            found.append(f"{gateway(answers)}/{network.prefixlen}")
    return found


def pools(text: str) -> Iterator[AllocationPool]:
    """packstack's form, ``["start=A,end=B"]``, or plainly ``A-B,C-D``. Raises `ValueError`."""
    text = text.strip()
    if text.startswith("["):
        parts = ast.literal_eval(text)
        if not isinstance(parts, list):
            raise ValueError(text)
        pairs = [dict(_pair(word) for word in str(part).split(",")) for part in parts]
    else:
        pairs = [
            dict(zip(("start", "end"), part.split("-"), strict=True))
            for part in text.split(",")
            if part.strip()
        ]
    for pair in pairs:
        start, end = (ipaddress.ip_address(pair[end].strip()) for end in ("start", "end"))
        yield AllocationPool(str(start), str(end))


def _pair(word: str) -> tuple[str, str]:
    name, found, value = word.partition("=")
    if not found:
        raise ValueError(word)
    return name.strip(), value


def wrong_range(text: str) -> str | None:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return "write a subnet, such as 172.24.4.0/24"
    return None if network.num_addresses >= 8 else "it must have room for at least 8 addresses"


def wrong_pools(text: str) -> str | None:
    try:
        list(pools(text))
    except (ValueError, SyntaxError, KeyError):
        return 'write ["start=172.24.4.10,end=172.24.4.99"], or 172.24.4.10-172.24.4.99'
    return None


def validate(answers: Answers) -> Iterator[str]:
    if not wanted(answers):
        return
    network, name = float_range(answers), range_key(answers)
    key = "CONFIG_PROVISION_DEMO_ALLOCATION_POOLS"
    own = ipaddress.ip_address(gateway(answers))
    for pool in pools(str(answers[key])):
        start, end = ipaddress.ip_address(pool.start), ipaddress.ip_address(pool.end)
        if start not in network or end not in network or int(start) > int(end):
            yield f"{key} has {start} to {end}, which is no part of {name}={network}"
        elif int(start) <= int(own) <= int(end):
            yield f"{key} has {start} to {end}, where the gateway {own} is"
    if network.overlaps(ipaddress.ip_network(FIXED_RANGE)):
        yield f"{name}={network} overlaps {FIXED_RANGE}, the demo's private network"
