"""FWaaS's driver in the layer 3 agent: rules in routers' namespaces (services' environment).

Upstream's driver has one chain that drops what no rule allowed, for all groups of
a router, and makes it anew with each change for the ports of that change
alone. Then the other groups let everything through, and so do the group's
other ports. And what one group allows passes the groups of other ports
unasked. Here each group has all it needs in chains of its own, which end in
DROP, and what it allows returns to where the next group is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from neutron.agent.linux import iptables_manager, utils
from neutron_fwaas.services.firewall.service_drivers.agents.drivers.linux import (
    iptables_fwaas_v2 as upstream,
)
from neutron_lib import constants
from neutron_lib.api.definitions import constants as actions
from neutron_lib.exceptions import firewall_v2 as exceptions
from oslo_log import log as logging

LOG = logging.getLogger(__name__)

DIRECTIONS = (constants.INGRESS_DIRECTION, constants.EGRESS_DIRECTION)
TARGETS = {
    actions.FWAAS_ALLOW: {4: "RETURN", 6: "RETURN"},
    actions.FWAAS_DENY: {4: "DROP", 6: "DROP"},
    actions.FWAAS_REJECT: {
        4: "REJECT --reject-with icmp-port-unreachable",
        6: "REJECT --reject-with icmp6-port-unreachable",
    },
}
Applied = Iterable[tuple[Any, Iterable[str]]]
"""As upstream's agent gives it: routers with the ids of their ports."""


@dataclass(frozen=True)
class Guard:
    """What a group does in one router."""

    devices: frozenset[str]
    chains: dict[tuple[int, str], list[str]]
    """IP version and direction to the rules."""


class Driver(upstream.IptablesFwaasDriver):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self._guards: MutableMapping[Any, dict[str, Guard]] = WeakKeyDictionary()

    def create_firewall_group(
        self, agent_mode: str, apply_list: Applied, firewall: dict[str, Any]
    ) -> None:
        self.update_firewall_group(agent_mode, apply_list, firewall)

    def update_firewall_group(
        self, agent_mode: str, apply_list: Applied, firewall: dict[str, Any]
    ) -> None:
        for manager, devices in self._places(agent_mode, apply_list):
            self._set(manager, firewall, self._guarded(manager, firewall) | devices)

    def delete_firewall_group(
        self, agent_mode: str, apply_list: Applied, firewall: dict[str, Any]
    ) -> None:
        """The group leaves these ports; it may have others."""
        for manager, devices in self._places(agent_mode, apply_list):
            self._set(manager, firewall, self._guarded(manager, firewall) - devices)

    def _places(self, agent_mode: str, applied: Applied) -> Iterator[tuple[Any, frozenset[str]]]:
        """A router's tables, and the devices in question."""
        for router, ports in applied:
            for place in self._get_ipt_mgrs_with_if_prefix(agent_mode, router):
                yield (
                    place["ipt"],
                    frozenset(self._get_intf_name(place["if_prefix"], port) for port in ports),
                )

    def _guarded(self, manager: Any, firewall: dict[str, Any]) -> frozenset[str]:
        guard = self._guards.get(manager, {}).get(firewall["id"])
        return guard.devices if guard else frozenset()

    def _set(self, manager: Any, firewall: dict[str, Any], devices: frozenset[str]) -> None:
        """Raises upstream's exception, by which the agent calls the group faulty."""
        guards = self._guards.setdefault(manager, {})
        guard = Guard(devices, self._chains(firewall) if devices else {})
        if guards.get(firewall["id"], Guard(frozenset(), {})) == guard:
            return
        try:
            for version, table in ((4, manager.ipv4["filter"]), (6, manager.ipv6["filter"])):
                for direction in DIRECTIONS:
                    self._write(table, version, direction, firewall["id"], guard)
            manager.defer_apply_off()
            forget_connections(manager.namespace)
        except (LookupError, RuntimeError):
            LOG.exception("The firewall group %s cannot be applied", firewall["id"])
            raise exceptions.FirewallInternalDriverError(driver="iptables") from None
        guards[firewall["id"]] = guard

    def _write(self, table: Any, version: int, direction: str, group: str, guard: Guard) -> None:
        name = self._get_chain_name(group, f"ipv{version}", direction)
        table.remove_chain(name)  # with what leads to it
        if not guard.devices:
            return
        table.add_chain(name)
        for rule in guard.chains[version, direction]:
            table.add_rule(name, rule)
        target = f"{iptables_manager.binary_name}-{iptables_manager.get_chain_name(name)}"
        for device in sorted(guard.devices):
            table.add_rule("FORWARD", f"{upstream.IPTABLES_DIR[direction]} {device} -j {target}")

    def _chains(self, firewall: dict[str, Any]) -> dict[tuple[int, str], list[str]]:
        return {
            (version, direction): list(
                self._rules(firewall[f"{direction}_rule_list"], version)
                if firewall["admin_state_up"]
                else ["-j DROP"]
            )
            for version in (4, 6)
            for direction in DIRECTIONS
        }

    def _rules(self, rules: Iterable[dict[str, Any]], version: int) -> Iterator[str]:
        yield "-m state --state INVALID -j DROP"
        yield "-m state --state RELATED,ESTABLISHED -j RETURN"
        for rule in rules:
            if rule["enabled"] and rule["ip_version"] == version:
                match = self._convert_fwaas_to_iptables_rule(rule)
                yield f"{match} -j {TARGETS[rule['action']][version]}".lstrip()
        yield "-j DROP"

    def _action_arg(self, action: str) -> list[str]:
        """Upstream's conversion gives the match alone: its chains for actions are not used."""
        return []


def forget_connections(namespace: str) -> None:
    """Have the rules asked again, also about what goes on already.

    Connections that are still allowed are taken up again by their next packet.
    """
    for family in ("ipv4", "ipv6"):
        utils.execute(
            ["ip", "netns", "exec", namespace, "conntrack", "-D", "-f", family],
            run_as_root=True,
            privsep_exec=True,
            extra_ok_codes=[1],  # there was none
        )
