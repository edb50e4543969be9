"""What makes balancers: Octavia's providers, each a feature. Today there is OVN's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

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


class Provider(Feature):
    """What the API is told of one, and needs for it."""

    description: str = ""
    needs: tuple[str, ...] = ()

    def groups(self, ctx: Context) -> tuple[str, ...]:
        """Of which octavia-api must be a member."""
        return ()


class OvnProvider(Provider):
    """Connections are balanced by OVN's flows: no machine is made for a balancer."""

    name = "ovn"
    title = "Load balancing in OVN's flows"
    description = title
    needs = ("network", "northbound", "southbound")
    known_errors = (
        KnownError(
            "OVS database connection to OVN_",
            "OVN's databases do not answer",
            "see `onestack status ovn`",
        ),
    )

    def on(self, ctx: Context) -> bool:
        return ctx.once(Bridges).agent == "ovn"

    def groups(self, ctx: Context) -> tuple[str, ...]:
        return (ctx.at("northbound").group,)

    def options(self, ctx: Context) -> Mapping[Path, Ini]:
        ovn = {
            "ovn_nb_connection": ctx.at("northbound").target,
            "ovn_sb_connection": ctx.at("southbound").target,
        }
        return {config_file(ctx): {"ovn": {**ovn}}}

    def tempest(self, ctx: Context, found: TempestResources) -> Ini:
        """OVN balances connections, and looks into none."""
        return {
            "load_balancer": {
                "provider": "ovn",
                "enabled_provider_drivers": "ovn:OVN provider driver.",
            },
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


PROVIDERS: tuple[Provider, ...] = (OvnProvider(),)


def providers(ctx: Context) -> list[Provider]:
    """Those that are on, the default one first."""
    return [provider for provider in PROVIDERS if provider.on(ctx)]
