"""What ML2's mechanisms, ovn and openvswitch, have in common: one of the two is on."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onestack.components.neutron.layout import PORT, Layout
from onestack.model.component import Feature
from onestack.model.context import Context
from onestack.model.declarations import ConfigFile, ini_file
from onestack.model.host import Role
from onestack.model.ini import Ini, Value
from onestack.model.process import AgentProbe, NotifyProbe, Probe, Process
from onestack.network.bridges import Bridges
from onestack.network.distribution import environment

GATEWAY = (Role.GATEWAY,)
EVERYWHERE = (Role.COMPUTE, Role.GATEWAY)


class Mechanism(Feature):
    """``name`` is the one of its ML2 driver. What else the API and the workers are told.

    ``provides`` has ``integration``: ports of the integration bridge are bound to this host.
    """

    router: str
    """The service plugin of routers."""
    agents_by_bus: bool
    """Whether agents are told by the bus, and ask the workers by it."""
    project_types: tuple[str, ...]
    """Those that projects get where the answers name none."""
    server_needs: tuple[str, ...] = ()

    def on(self, ctx: Context) -> bool:
        return ctx.once(Bridges).agent == self.name

    def server_groups(self, ctx: Context) -> tuple[str, ...]:
        return ()

    def server_environment(self, ctx: Context) -> Mapping[str, str]:
        return external_network(ctx)


def external_network(ctx: Context) -> dict[str, str]:
    """For what gives external networks of type local their way out, see `inside.external`."""
    bridges = ctx.once(Bridges)
    return {"ONESTACK_EXTERNAL_NETWORK": bridges.external_network} if bridges.external else {}


def agent_config(
    ctx: Context, name: str, sections: Ini, *namespaces: str, roles: tuple[Role, ...] = EVERYWHERE
) -> ConfigFile:
    """The file of the agent ``name``, readable by root and neutron."""
    layout = ctx.once(Layout)
    return ini_file(
        layout.agent_file(name),
        layout.user,
        sections,
        *namespaces,
        "neutron.base.agent",
        roles=frozenset(roles),
    )


def agent(
    ctx: Context,
    name: str,
    needs: tuple[str, ...],
    *,
    groups: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
    arguments: Mapping[str, Any] | None = None,
    watched: tuple[Path, ...] = (),
    fresh: bool = True,
    stop_signal: str = "TERM",
    roles: tuple[Role, ...] = EVERYWHERE,
) -> Process:
    """The process of the agent ``name``, upstream's ``neutron-NAME-agent``.

    It is started anew for other contents of what it has ``watched``, too.
    """
    layout = ctx.once(Layout)
    files = tuple(map(str, layout.agent_files(name)))
    return Process(
        name=f"neutron-{name}-agent",
        component="neutron",
        user=layout.user,
        run=f"onestack.components.neutron.inside.run:{name}_agent",
        arguments={"config": list(files), **(arguments or {})},
        env={**environment(ctx), **(env or {})},
        groups=(ctx.at("switch").group, *groups),
        files=(*files, *map(str, watched)),
        needs=needs,
        probe=_probe(ctx, name, fresh),
        stop_signal=stop_signal,
        stop_seconds=5.0,
        roles=roles,
    )


def _probe(ctx: Context, name: str, fresh: bool) -> Probe:
    if ctx.joined:
        return NotifyProbe()  # it may not look at the list of agents
    place = f"http://{ctx.internal}:{PORT}/v2.0/agents"
    return AgentProbe(place, (f"neutron-{name}-agent",), fresh=fresh)


def metadata(ctx: Context) -> dict[str, Value]:
    """Options of ``DEFAULT`` for what passes guests' questions on to nova."""
    nova = ctx.at("metadata")
    return {
        "nova_metadata_host": nova.host,
        "nova_metadata_port": nova.port,
        "metadata_proxy_shared_secret": ctx.secrets["neutron_metadata"],
        # Threads: a guest whose request takes long holds up no other.
        "metadata_workers": 4,
    }


def time_servers(ctx: Context) -> tuple[str, ...]:
    """Those of CONFIG_NTP_SERVERS that DHCP can name: IPv4 addresses."""
    return tuple(s for s in ctx.answers["CONFIG_NTP_SERVERS"] if _is_address(s))


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
