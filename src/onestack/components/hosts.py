"""Where the files are that a cloud's hosts know one another by, on controllers and on the others.

For rooms whose daemons speak TLS of the hosts' own, as OVN's do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onestack.cluster import protocol
from onestack.cluster.protocol import GUESTS, LIBVIRT, VOLUMES_PORT, holder
from onestack.model.context import Context
from onestack.model.host import Network

ROOM = "door"
"""The component that makes these files."""
JOIN = "CONFIG_ONESTACK_JOIN"
"""Whether there is a door."""
MOVE = "CONFIG_ONESTACK_MOVE"
"""Whether servers may move from host to host."""
HEARD = f"CN={holder(LIBVIRT, '*')}"
"""Whom a libvirtd hears, by what stands in the certificate: others' libvirtds, and nobody else."""
STANDING = "standing.json"
"""In `joined_folder`."""
AUTHORITY = "hosts-authority"
"""The capability of having made them."""
DOOR = "door"
"""The capability of the door: where it is ready, who was removed has nothing open any more."""

VOLUMES = "volumes"
"""The capability, and the user, of serving volumes to servers on other hosts."""

HERE = frozenset(
    {
        *("CONFIG_CONTROLLER_HOST", "CONFIG_ONESTACK_EXTERNAL_ADDRESS"),
        *(f"CONFIG_NEUTRON_{a}_TUNNEL_IF" for a in ("OVS", "OVN")),
        *(f"CONFIG_NEUTRON_{a}_TUNNEL_SUBNETS" for a in ("OVS", "OVN")),
        *(f"CONFIG_NEUTRON_{a}_BRIDGE_IFACES" for a in ("OVS", "OVN")),
        *("CONFIG_NOVA_LIBVIRT_VIRT_TYPE", "CONFIG_NOVA_PCI_PASSTHROUGH_WHITELIST"),
    }
)
"""Answers about the one machine on which they were given."""


@dataclass(frozen=True)
class Tls:
    """PEM files: what others are known by, and what the reader shows; for members of ``group``."""

    ca: Path
    certificate: Path
    key: Path
    group: str

    @property
    def of_ovs(self) -> tuple[str, ...]:
        """As all programs of Open vSwitch and OVN take them."""
        return (
            f"--private-key={self.key}",
            f"--certificate={self.certificate}",
            f"--ca-cert={self.ca}",
        )


def staying(ctx: Context) -> frozenset[str]:
    """Names of the cloud's hosts; a newcomer's is not one yet."""
    return frozenset({ctx.host.name, *(one.name for one in ctx.members if one.admitted)})


def directory(ctx: Context) -> Path:
    return ctx.cloud.etc / ROOM


def ca(ctx: Context) -> Path:
    """The hosts' authority."""
    return directory(ctx) / "ca.pem"


def own(ctx: Context) -> Tls:
    """What a host that has joined shows."""
    place = directory(ctx)
    return Tls(ca(ctx), place / "host.pem", place / "host.key", ctx.cloud.user(ROOM))


def southbound(ctx: Context) -> Tls:
    """What OVN's southbound database shows to hosts."""
    place = directory(ctx)
    group = ctx.cloud.user("ovn")
    return Tls(ca(ctx), place / "southbound.pem", place / "southbound.key", group)


def reached_at(ctx: Context) -> str:
    """Where the cloud finds what is this host's own: the controller's is on loopback."""
    return ctx.host.addresses[Network.GUESTS] if ctx.joined else ctx.internal


def moving(ctx: Context) -> bool:
    """Whether servers may move to another host of the cloud."""
    return LIBVIRT in purposes(ctx)


def purposes(ctx: Context) -> tuple[str, ...]:
    """What the cloud's hosts show certificates to each other for; nothing where none may join."""
    if not (ctx.offers(AUTHORITY) and ctx.offers("hypervisor")):
        return ()
    return (GUESTS, LIBVIRT) if ctx.answers[MOVE] else (GUESTS,)


def wanted(ctx: Context) -> tuple[str, ...]:
    """What hosts that join are to have certificates for, to show to each other: the controller's
    word."""
    return (*purposes(ctx), *((protocol.VOLUMES,) if ctx.offers(VOLUMES) else ()))


def served(ctx: Context) -> bool:
    """Whether this host's servers have volumes that the controller serves."""
    return ctx.joined is not None and protocol.VOLUMES in ctx.joined.purposes


def lacking(ctx: Context) -> Path:
    """JSON, by a joined host's compute service: servers that stop again and again, to the volumes
    that they do not get (ids)."""
    return ctx.cloud.data / "nova" / "lacking.json"


def pki(ctx: Context) -> Path:
    """What is /etc/pki for libvirtd and its guests."""
    return directory(ctx) / "pki"


def carriers(ctx: Context) -> Path:
    """What the compute service shows to another host's libvirtd, for files of a server that is off
    and goes there; as libvirt's clients look for it (``pkipath``). For members of the group that
    gets at libvirtd's socket."""
    return directory(ctx) / "carriers"


def console(ctx: Context) -> Tls:
    """What the proxy of consoles shows to QEMU on each host, and knows it by."""
    place = directory(ctx)
    certificate, key = place / "console.pem", place / "console.key"
    return Tls(place / "peers-ca.pem", certificate, key, ctx.cloud.user("nova"))


def volumes(ctx: Context) -> Path:
    """What the controller shows to who has a volume of its, as QEMU looks for it."""
    return directory(ctx) / VOLUMES


def volumes_port(number: int) -> int:
    """Where the host with that number finds its volumes, at the controller."""
    return VOLUMES_PORT + number


def read_once(ctx: Context) -> tuple[str, ...]:
    """Files of it that libvirtd reads when it starts, and not again."""
    found = [pki(ctx) / "CA" / name for name in ("cacert.pem", "cacrl.pem")]
    return tuple(map(str, (*found, pki(ctx) / "libvirt" / "servercert.pem")))


def edition(etc: Path) -> Path:
    """Says which onestack the host was brought up by. It may change while all processes stay."""
    return etc / ROOM / "edition"


def applied(etc: Path) -> Path:
    """On a host that has joined: the revision of what it was brought up with, to the end."""
    return etc / ROOM / "applied"


def standing(etc: Path) -> Path:
    """On a host that has joined: what its controller said of it last, and where that is."""
    return joined_folder(etc) / STANDING


def joined_folder(etc: Path) -> Path:
    """What a host that has joined keeps for itself: root's alone."""
    return etc / "joined"
