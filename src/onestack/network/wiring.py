"""Bridges, physical networks and NICs, as the answers have them for the agent that is chosen.

packstack has each such key twice, for openvswitch and for ovn, and with ovn it
put the one in the place of the other without a word. Here the agent's own
counts; where that says nothing, its twin's does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from onestack.answers.values import Answers

TWINS = ("BRIDGE_MAPPINGS", "BRIDGE_IFACES", "EXTERNAL_PHYSNET", "TUNNEL_IF")
_SHORT = {"ovn": "OVN", "openvswitch": "OVS"}


def key(agent: str, name: str) -> str:
    return f"CONFIG_NEUTRON_{_SHORT[agent]}_{name}"


@dataclass(frozen=True)
class Wiring:
    answers: Answers
    agent: str
    """``ovn`` or ``openvswitch``."""

    @property
    def _other(self) -> str:
        return "ovn" if self.agent == "openvswitch" else "openvswitch"

    def source(self, name: str) -> str:
        """The key whose value counts for ``name`` (one of `TWINS`)."""
        own, twin = key(self.agent, name), key(self._other, name)
        return twin if not self._says(own) and self._says(twin) and self.answers[twin] else own

    def _says(self, name: str) -> bool:
        return self.answers.text(name) != self.answers.key(name).default

    def borrowed(self) -> Iterator[str]:
        """What is taken from a twin, each as a sentence."""
        for name in TWINS:
            own, found = key(self.agent, name), self.source(name)
            if found != own:
                yield (
                    f"{found}={self.answers.text(found)} is used as {own}: {self.agent} carries "
                    "the networks"
                )

    def unread(self) -> Iterator[str]:
        """Twins that say something else than the agent's own, each as a sentence."""
        for name in TWINS:
            own, twin = key(self.agent, name), key(self._other, name)
            if not (self._says(own) and self._says(twin) and self.answers[twin]):
                continue
            if self.answers[own] != self.answers[twin]:
                yield (
                    f"{twin}={self.answers.text(twin)} counts for nothing beside "
                    f"{own}={self.answers.text(own)}: {self.agent} carries the networks"
                )

    @property
    def mapping_pairs(self) -> list[tuple[str, str]]:
        """Physical network and bridge, as they stand there."""
        return list(_pairs(self.answers[self.source("BRIDGE_MAPPINGS")]))

    @property
    def interface_pairs(self) -> list[tuple[str, str]]:
        """Bridge and NIC, as far as a network can use the bridge."""
        return [(bridge, nic) for bridge, nic in self._cards if bridge in self._of_use]

    @property
    def _cards(self) -> list[tuple[str, str]]:
        return list(_pairs(self.answers[self.source("BRIDGE_IFACES")]))

    def is_bridge(self, name: str) -> bool:
        """Whether it is one of those that the answers name."""
        return name in self._of_use

    @property
    def _outside(self) -> str:
        return self.external_bridge or "br-ex"

    @property
    def _of_use(self) -> set[str]:
        return {self._outside, *(bridge for _, bridge in self.mapping_pairs)}

    @property
    def physical_network(self) -> str:
        """The one of the public network."""
        return str(self.answers[self.source("EXTERNAL_PHYSNET")])

    @property
    def _is_unmapped(self) -> bool:
        """Whether there is an external bridge, and the answers map nothing to it."""
        named = self.external_bridge
        return bool(named) and named not in (bridge for _, bridge in self.mapping_pairs)

    @property
    def external_network(self) -> str:
        """The physical network of the external bridge, which answers need not map.

        Without one it is that of the public network. One that is not mapped has a name that
        no other bridge has: two of one name would be one, and one of them without a way.
        """
        bridge, mapped = self.external_bridge, dict(self.mapping_pairs)
        if not self._is_unmapped:
            found = (network for network, to in mapped.items() if bridge and to == bridge)
            return next(found, self.physical_network)
        name = self.physical_network or bridge
        while name in mapped:
            name = f"{name}-{bridge}"
        return name

    @property
    def tunnel_device(self) -> str:
        """A NIC, or the subnet of its address; nothing for one that is in a bridge."""
        return "" if self._tunnels_in_bridge else self._tunnel_end

    @property
    def _tunnel_end(self) -> str:
        return str(self.answers[self.source("TUNNEL_IF")])

    @property
    def _tunnels_in_bridge(self) -> bool:
        return self._tunnel_end in [nic for _, nic in self.interface_pairs]

    @property
    def external_bridge(self) -> str:
        """Where routers' outside legs are plugged; nothing for provider networks only."""
        named = str(self.answers["CONFIG_NEUTRON_L3_EXT_BRIDGE"])
        return "" if named in ("", "provider") else named

    @property
    def bridges(self) -> list[str]:
        """All that must be there besides the external one."""
        found = [bridge for _, bridge in self.mapping_pairs]
        found += [bridge for bridge, _ in self.interface_pairs]
        return [b for b in dict.fromkeys(found) if b != self._outside]

    def remarks(self) -> Iterator[str]:
        """What counts for nothing, or for less than it seems, each as a sentence."""
        yield from self.unread()
        source, cards = self.source("BRIDGE_MAPPINGS"), self.source("BRIDGE_IFACES")
        wired = [bridge for bridge, _ in self._cards]
        for network, bridge in self.mapping_pairs if self._says(source) else ():
            if bridge != self._outside and bridge not in wired:
                yield (
                    f"{source} maps {network} to {bridge}, into which {cards} puts no NIC: its "
                    "networks reach the guests of this machine, and nothing outside"
                )
        outside = dict(self.mapping_pairs).get(self.physical_network)
        if outside and self._is_unmapped:
            yield (
                f"CONFIG_NEUTRON_L3_EXT_BRIDGE is {self.external_bridge}, and {source} maps "
                f"{self.physical_network} to {outside}: external networks of type local lead to "
                f"{self.external_bridge}, the physical network {self.external_network}; flat and "
                f"VLAN ones of {self.physical_network} to {outside}, also where an older program "
                f"had them on {self.external_bridge}"
            )
        if self._tunnels_in_bridge:
            yield (
                f"{self.source('TUNNEL_IF')}={self._tunnel_end} counts for nothing: {cards} puts "
                "that NIC into a bridge; tunnels on one machine end at no NIC"
            )
        for bridge, nic in self._cards:
            if bridge not in self._of_use:
                yield (
                    f"{cards} puts {nic} into {bridge}, which {source} maps no physical network "
                    f"to: {nic} is left alone"
                )

    def validate(self) -> Iterator[str]:
        mappings, interfaces = self.mapping_pairs, self.interface_pairs
        source, cards = self.source("BRIDGE_MAPPINGS"), self.source("BRIDGE_IFACES")
        for network in _twice(network for network, _ in mappings):
            yield f"{source} maps the physical network {network} twice"
        for bridge in _twice(bridge for _, bridge in mappings):
            yield f"{source} maps two physical networks to the bridge {bridge}"
        for nic in _twice(nic for _, nic in interfaces):
            yield f"{cards} puts the NIC {nic} into two bridges"
        yield from self._subnets()

    def _subnets(self) -> Iterator[str]:
        for name in ("TUNNEL_IF", "BRIDGE_IFACES"):
            text = self.answers.text(self.source(name))
            if "/" in text and not self.answers["CONFIG_USE_SUBNETS"]:
                yield (
                    f"{self.source(name)}={text} names a subnet, which is read only with "
                    "CONFIG_USE_SUBNETS=y; name the NIC, or set that"
                )


def _twice(names: Iterable[str]) -> list[str]:
    seen = list(names)
    return [name for name in dict.fromkeys(seen) if seen.count(name) > 1]


def _pairs(texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    for text in texts:
        left, _, right = text.partition(":")
        yield left, right
