"""Some of a picture's networks and routers, by what people call them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import replace

from onestack.model.errors import BadAnswers
from onestack.network.picture.model import Network, Picture, Router

PREFIXES = ("qrouter-", "qdhcp-", "ovnmeta-", "neutron-")
"""What namespaces and OVN's rows have before the id."""


def choose(picture: Picture, text: str) -> list[Network | Router]:
    """Those whose name or id it is: several may have one name. Raises `BadAnswers`."""
    identity = next((text.removeprefix(p) for p in PREFIXES if text.startswith(p)), text)
    every: list[Network | Router] = [*picture.networks, *picture.routers]
    if found := [each for each in every if each.name == text or each.id == identity]:
        return found
    names = sorted({each.name for each in every} - {""})
    near = difflib.get_close_matches(text, names, 3)
    raise BadAnswers(
        f"there is no network and no router {text!r}",
        f"there are {len(picture.networks)} networks and {len(picture.routers)} routers",
        f"did you mean {' or '.join(near)}?" if near else "onestack net show lists them",
    )


def narrowed(picture: Picture, chosen: Sequence[Network | Router]) -> Picture:
    """These alone, a router with its inner networks, and what is wrong with them."""
    routers = tuple(each for each in chosen if isinstance(each, Router))
    inside = {leg.network for router in routers for leg in router.interfaces}
    wanted = inside | {each.id for each in chosen}
    networks = tuple(each for each in picture.networks if each.id in wanted)
    about = {"", *wanted, *_ports(networks), *_legs(routers)}
    # Legs of other routers are told of with their networks.
    return replace(
        picture,
        networks=networks,
        routers=routers,
        wrong=tuple(each for each in picture.wrong if each.about in about),
    )


def _ports(networks: Iterable[Network]) -> set[str]:
    return {port.id for network in networks for port in network.ports}


def _legs(routers: Iterable[Router]) -> set[str]:
    return {leg.id for router in routers for leg in (*router.gateways, *router.interfaces)}
