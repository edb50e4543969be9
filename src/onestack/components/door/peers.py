"""What hosts show to each other, where a guest moves or its console is looked at.

By an authority of its own: none of these certificates is let in at the door, and none of the
door's hosts' at libvirtd or QEMU. Each purpose has a key of its own: what guests run as reads
QEMU's, and with that nobody is heard by a libvirtd, which looks at the subject. The files lie as
libvirt and QEMU look for them below /etc/pki, and this place is theirs instead of it.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from onestack.cluster.protocol import LIBVIRT, VOLUMES, holder
from onestack.components import hosts
from onestack.components.door import authority
from onestack.host.files import (
    ensure_directory,
    ensure_file,
    ensure_owner,
    remove_tree,
    write_file,
)
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.errors import OnestackError
from onestack.model.host import Network

if TYPE_CHECKING:
    from cryptography import x509

# Everything of cryptography's is imported late: answers and checks run without it.

CONTROLLER = "controller"
"""In the place of a host's identity."""
NBD = "libvirt-nbd"
"""Where libvirt looks for what QEMU shows to who serves volumes."""
CONSOLE = "console"
"""What the controller's proxy of consoles shows to QEMU."""


def ca(ctx: Context) -> Path:
    return hosts.directory(ctx) / "peers-ca.pem"


def ca_key(ctx: Context) -> Path:
    """The door's, which signs for hosts."""
    return ca(ctx).with_suffix(".key")


def revoked(ctx: Context) -> Path:
    return hosts.directory(ctx) / "peers-revoked.pem"


def kept(etc: Path, purpose: str) -> tuple[Path, Path]:
    """Certificate and key as a host that has joined keeps them."""
    folder = hosts.joined_folder(etc)
    return folder / f"{purpose}.pem", folder / f"{purpose}.key"


def ensure_authority(ctx: Context, signers: str, gone: Sequence[str]) -> Iterator[Change]:
    """On the controller; ``gone`` are serial numbers of certificates that are good no more."""
    files = ca(ctx), ca_key(ctx)
    what = "make the authority for what the cloud's hosts show to each other"
    name = f"Authority between hosts of the cloud {ctx.cloud.name}"
    yield from authority.ensure_ca(files, what, name, signers)
    told = "write down which certificates between hosts are good no more"
    yield from authority.ensure_revoked(files, revoked(ctx), gone, told, mode=0o644)


def ensure_own(ctx: Context) -> Iterator[Change]:
    """The controller's own, by the authority on it."""
    from onestack.components import certificates

    for purpose in (*hosts.purposes(ctx), CONSOLE, *_serving(ctx)):
        files = certificate, key = _own(ctx, purpose)
        made = certificates.good(certificate, ca(ctx))
        right = (
            made and certificates.belong_together(*files) and _is_for(made, _address(ctx, purpose))
        )
        if not right:
            yield Change(
                f"make the certificate that this host shows to others ({purpose})",
                functools.partial(_make, ctx, purpose),
            )
        elif purpose == CONSOLE:
            yield from ensure_owner(key, "root", hosts.console(ctx).group, 0o640)


def _serving(ctx: Context) -> tuple[str, ...]:
    return (VOLUMES,) if ctx.offers(hosts.VOLUMES) else ()


def _own(ctx: Context, purpose: str) -> tuple[Path, Path]:
    if purpose == CONSOLE:
        tls = hosts.console(ctx)
        return tls.certificate, tls.key
    place = hosts.directory(ctx)
    return place / f"peer-{purpose}.pem", place / f"peer-{purpose}.key"


def _address(ctx: Context, purpose: str) -> str:
    """Where others know this host by what it shows."""
    return ctx.public if purpose == VOLUMES else ctx.host.addresses[Network.GUESTS]


def _is_for(certificate: x509.Certificate, address: str) -> bool:
    from cryptography import x509

    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return ipaddress.ip_address(address) in names.get_values_for_type(x509.IPAddress)


def _make(ctx: Context, purpose: str) -> None:
    from cryptography import x509

    from onestack.components import certificates

    certificate, key = _own(ctx, purpose)
    made = certificates.sign(
        ca(ctx),
        ca_key(ctx),
        certificates.named(holder(purpose, CONTROLLER)),
        None,
        [x509.IPAddress(ipaddress.ip_address(_address(ctx, purpose)))],
    )
    if purpose == CONSOLE:
        write_file(key, made.key, mode=0o640, group=hosts.console(ctx).group)
    else:
        write_file(key, made.key, mode=0o600)
    write_file(certificate, made.certificate, mode=0o644)


def ensure_shown(ctx: Context) -> Iterator[Change]:
    """The files as libvirt and QEMU look for them, of what there is by now."""
    pki, qemu = hosts.pki(ctx), ctx.cloud.user("qemu")
    if ctx.joined:
        mine = hosts.joined_folder(ctx.cloud.etc)
        trusted, listed = mine / "peers-ca.pem", mine / "peers-revoked.pem"
    else:
        trusted, listed = ca(ctx), revoked(ctx)
    yield from ensure_directory(pki)
    yield from ensure_directory(pki / "qemu", mode=0o750, group=qemu)
    for name in ("CA", "libvirt"):
        yield from ensure_directory(pki / name)
    yield from ensure_directory(pki / "libvirt" / "private", mode=0o700)
    purposes = hosts.purposes(ctx)
    if hosts.served(ctx):
        yield from ensure_directory(pki / NBD, mode=0o750, group=qemu)
        # A purpose of its own: what a guest's QEMU shows for its volumes, it shows as long as it
        # runs (`issuing.issued_for`).
        purposes += (VOLUMES,)
    own = {p: kept(ctx.cloud.etc, p) if ctx.joined else _own(ctx, p) for p in purposes}
    pairs = [file for pair in own.values() for file in pair]
    if not all(path.exists() for path in (trusted, listed, *pairs)):
        if ctx.joined:
            yield Change("have the controller sign what this host shows to others", _unsigned)
        return  # a dry run has not made them
    known = {pki / "CA" / "cacert.pem": trusted, pki / "CA" / "cacrl.pem": listed}
    for place in (pki / "qemu", *((pki / NBD,) if VOLUMES in own else ())):
        known |= {place / "ca-cert.pem": trusted, place / "ca-crl.pem": listed}
    for path, source in known.items():
        yield from ensure_file(path, source.read_bytes())
    for purpose, (certificate, key) in own.items():
        for end in ("client",) if purpose == VOLUMES else ("server", "client"):
            shown, secret = _places(pki, purpose, end)
            private = {"mode": 0o600} if purpose == LIBVIRT else {"mode": 0o640, "group": qemu}
            # Who reads the two in between finds that they do not fit, and says so.
            yield from ensure_file(secret, key.read_bytes(), **private)
            yield from ensure_file(shown, certificate.read_bytes())


def ensure_carriers(ctx: Context) -> Iterator[Change]:
    """What the compute service shows to another host's libvirtd: what this host's libvirtd does.

    It commands that one as it is, and by it the others: a key of its own would open nothing less.
    So who may read it is who gets at that one's socket; nova's other services do not. Where
    servers do not move, or do no more, there is none.
    """
    place, pki = hosts.carriers(ctx), hosts.pki(ctx)
    if LIBVIRT not in hosts.purposes(ctx):
        if place.exists():
            yield Change(f"remove {place}", functools.partial(remove_tree, place))
        return
    group = ctx.at("hypervisor").group
    certificate, key = _places(pki, LIBVIRT, "client")
    files = {
        "cacert.pem": pki / "CA" / "cacert.pem",
        "cacrl.pem": pki / "CA" / "cacrl.pem",
        "clientkey.pem": key,
        "clientcert.pem": certificate,
    }
    yield from ensure_directory(place, mode=0o750, group=group)
    if not all(source.exists() for source in files.values()):
        return  # a dry run has not made them
    for name, source in files.items():
        yield from ensure_file(place / name, source.read_bytes(), mode=0o640, group=group)


def ensure_volumes(ctx: Context) -> Iterator[Change]:
    """What who serves volumes shows to other hosts, and knows them by."""
    place, group = hosts.volumes(ctx), ctx.cloud.user(hosts.VOLUMES)
    files = certificate, key = _own(ctx, VOLUMES)
    yield from ensure_directory(place, mode=0o750, group=group)
    if not all(path.exists() for path in (ca(ctx), revoked(ctx), *files)):
        return  # a dry run has not made them
    for name, source in {
        "ca-cert.pem": ca(ctx),
        "ca-crl.pem": revoked(ctx),
        "server-key.pem": key,
        "server-cert.pem": certificate,
    }.items():
        yield from ensure_file(place / name, source.read_bytes(), mode=0o640, group=group)


def _unsigned() -> None:
    raise OnestackError(
        "this host has nothing yet that it could show to others",
        "the controller signs it when this host is brought up, and was not reached, or has an "
        "older onestack",
        "onestack up on the controller, then here again",
    )


def _places(pki: Path, purpose: str, end: str) -> tuple[Path, Path]:
    """Certificate and key of a server or a client."""
    if purpose == LIBVIRT:
        place = pki / "libvirt"
        return place / f"{end}cert.pem", place / "private" / f"{end}key.pem"
    place = pki / (NBD if purpose == VOLUMES else "qemu")
    return place / f"{end}-cert.pem", place / f"{end}-key.pem"
