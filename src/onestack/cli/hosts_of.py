"""What verbs about other hosts have in common: the controller's list of them, and its door."""

from __future__ import annotations

from dataclasses import dataclass

from onestack.cli.options import need_cloud
from onestack.cli.session import own_name
from onestack.cluster.membership import Membership
from onestack.components import hosts
from onestack.components.door import authority
from onestack.deploy.joining import Places
from onestack.model.cloud import Cloud
from onestack.model.errors import OnestackError


@dataclass(frozen=True)
class Doorkeeper:
    """``address`` is the door's, ``digest`` that of the hosts' authority."""

    hosts: Membership
    address: str
    digest: str
    controller: str

    @classmethod
    def of(cls, cloud: Cloud) -> Doorkeeper:
        """Raises `OnestackError` where there is no cloud, or no door of its own."""
        need_cloud(cloud)
        if kept := Places.of(cloud).kept():
            raise OnestackError(
                "this machine is a host of the cloud, and not its controller",
                f"it is {kept.standing.name}; the controller is {kept.standing.projection.address}",
                "type it on the controller",
            )
        own = own_name(cloud)
        place = cloud.etc / hosts.ROOM
        try:
            digest = authority.digest(place / "ca.pem")
            address = cloud.address_file.read_text().strip()
        except (OSError, ValueError):
            raise OnestackError(
                f"the cloud {cloud.name!r} has no door",
                "other machines join by it; it is off by default",
                f"onestack up --set {hosts.JOIN}=y",
            ) from None
        return cls(Membership(cloud.data / hosts.ROOM, (own,)), address, digest, own)
