"""Metering: the traffic of routers counted by labels, in their namespaces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from onestack.components.neutron.features.mechanism import GATEWAY, agent, agent_config
from onestack.components.neutron.features.openvswitch import BUS, SWITCH_OPTIONS, interface
from onestack.components.neutron.layout import Layout
from onestack.model.component import Feature
from onestack.model.context import Context
from onestack.model.declarations import ConfigFile
from onestack.model.ini import Ini
from onestack.model.process import Process
from onestack.network.bridges import Bridges

INSTALL = "CONFIG_NEUTRON_METERING_AGENT_INSTALL"


class Metering(Feature):
    name = "metering"
    title = "Counting of routers' traffic"

    def on(self, ctx: Context) -> bool:
        return bool(ctx.answers[INSTALL]) and ctx.once(Bridges).agent == "openvswitch"

    def options(self, ctx: Context) -> Mapping[Path, Ini]:
        return {ctx.once(Layout).neutron_conf: {"DEFAULT": {"service_plugins": ("metering",)}}}

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        sections: Ini = {
            "DEFAULT": {"driver": "iptables", "interface_driver": "openvswitch"},
            "ovs": interface(ctx),
        }
        names = ("neutron.metering.agent", SWITCH_OPTIONS)
        yield agent_config(ctx, "metering", sections, *names, roles=GATEWAY)

    def processes(self, ctx: Context) -> Iterable[Process]:
        # Which routers are this host's, neutron knows by the agent that has them.
        needs = ("neutron-l3-agent", "external-bridge", *BUS)
        yield agent(ctx, "metering", needs, roles=GATEWAY)
