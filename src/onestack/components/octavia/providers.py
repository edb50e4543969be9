"""What makes balancers: Octavia's providers, each a feature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onestack.components.octavia import keys
from onestack.model.change import Change
from onestack.model.component import Feature
from onestack.model.context import Context
from onestack.model.declarations import KnownError, TempestResources
from onestack.model.ini import Ini
from onestack.network.bridges import Bridges

LISTENERS = ("status", "stats", "get")
"""The driver agent's sockets, by which a provider's driver reaches the database."""


def config_file(ctx: Context) -> Path:
    return ctx.cloud.etc / "octavia" / "octavia.conf"


def chosen(ctx: Context) -> tuple[str, ...]:
    """The names of those that are on, the default one first."""
    return keys.chosen(ctx.answers, ctx.once(Bridges).agent)


class Provider(Feature):
    """What the service's process is told of one, and needs for it."""

    description: str = ""
    needs: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    """Upstream's, that run in the process for it."""

    def on(self, ctx: Context) -> bool:
        return self.name in chosen(ctx)

    def groups(self, ctx: Context) -> tuple[str, ...]:
        """Of which the process must be a member."""
        return ()

    def arguments(self, ctx: Context) -> Mapping[str, Any]:
        """What the process is told besides."""
        return {}

    def config(self, ctx: Context) -> tuple[Path, ...]:
        """Further files that it reads, after `config_file`."""
        return ()

    def watched(self, ctx: Context) -> tuple[Path, ...]:
        """Others that it has read once it runs."""
        return ()

    def tested(self, ctx: Context) -> Ini:
        """Options of tempest.conf where it is the default one."""
        return {}

    def tempest(self, ctx: Context, found: TempestResources) -> Ini:
        return self.tested(ctx) if chosen(ctx)[0] == self.name else {}


class OvnProvider(Provider):
    """Connections are balanced by OVN's flows: no machine is made for a balancer."""

    name = keys.OVN
    title = "Load balancing in OVN's flows"
    description = title
    needs = ("network", "northbound", "southbound")
    known_errors = (
        KnownError(
            "does not support a requested option",
            "OVN's balancers were asked for what they cannot do, which was refused: no harm",
            "the provider amphora can do more",
        ),
        KnownError(
            "OVS database connection to OVN_",
            "OVN's databases do not answer",
            "see `onestack status ovn`",
        ),
    )

    def groups(self, ctx: Context) -> tuple[str, ...]:
        return (ctx.at("northbound").group,)

    def options(self, ctx: Context) -> Mapping[Path, Ini]:
        ovn = {
            "ovn_nb_connection": ctx.at("northbound").target,
            "ovn_sb_connection": ctx.at("southbound").target,
        }
        return {config_file(ctx): {"ovn": {**ovn}}}

    def tested(self, ctx: Context) -> Ini:
        """OVN balances connections, and looks into none."""
        return {
            "loadbalancer-feature-enabled": {
                "not_implemented_is_error": False,
                "terminated_tls_enabled": False,
                "l7_protocol_enabled": False,
                "pool_algorithms_enabled": False,
                "prometheus_listener_enabled": False,
            },
        }

    def purge(self, ctx: Context) -> Iterator[Change]:
        # Imported late: answers and checks run where only the standard library is.
        from onestack.components.octavia import leftovers

        if ctx.offers("northbound"):
            yield from leftovers.remove_balancers(ctx)
        if ctx.offers("network"):
            yield from leftovers.remove_ports(ctx)
