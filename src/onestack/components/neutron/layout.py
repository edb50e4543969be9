"""What neutron's files have in common: its places and its user."""

from __future__ import annotations

from pathlib import Path

from onestack.model.context import Context

PORT = 9696
DNS_DOMAIN = "openstack.internal"
"""What follows guests' names, as they ask for one another and as DHCP tells them."""


class Layout:
    """Where neutron's things lie in one cloud: ``ctx.once(Layout)``."""

    def __init__(self, ctx: Context) -> None:
        cloud = ctx.cloud
        self.user = cloud.user("neutron")
        self.etc = cloud.etc / "neutron"
        self.state = cloud.data / "neutron"
        self.temporary = cloud.run / "neutron" / "api"
        """Of neutron-api alone, made anew at each of its starts."""
        self.namespaces = cloud.data / "neutron-namespaces"
        """A file for each network namespace that ever had a process of ours in it."""
        self.neutron_conf = self.etc / "neutron.conf"
        self.ml2 = self.etc / "ml2.ini"
        self.server = (self.neutron_conf, self.ml2)
        """Configuration files of the API and the workers."""

    def agent_file(self, name: str) -> Path:
        """The file of the agent ``name`` (``l3``, ``dhcp``, …) alone."""
        return self.etc / f"{name}_agent.ini"

    def agent_files(self, name: str) -> tuple[Path, ...]:
        return self.neutron_conf, self.agent_file(name)
