"""The cloud's own certificate authority, and the certificates of its TLS front."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from onestack.components import certificates
from onestack.components.haproxy import keys
from onestack.components.haproxy.inspect import chain
from onestack.components.haproxy.paths import (
    ADDRESS_PREFIX,
    address_file,
    front_file,
    tls_directory,
)
from onestack.host.files import ensure_file, ensure_no_file, write_file
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.declarations import Certificate

SYSTEM = Path("/etc/ssl/certs/ca-certificates.crt")
"""The authorities that this machine trusts."""
_OIDS = {
    "C": NameOID.COUNTRY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "L": NameOID.LOCALITY_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "CN": NameOID.COMMON_NAME,
    "MAIL": NameOID.EMAIL_ADDRESS,
}


@dataclass(frozen=True)
class Wanted:
    """What the cloud's own certificate is to say."""

    names: tuple[str, ...]
    addresses: tuple[str, ...]
    subject: x509.Name


def ensure_tls(ctx: Context, group: str) -> Iterator[Change]:
    """A CA, and a certificate by it for all names and addresses of the cloud's front.

    The certificate is made anew when its names change or it ends within
    ``RENEW_DAYS``; clients need to know only ``ca.pem``, which stays. What the
    operator gave takes the place of either.
    """
    directory = tls_directory(ctx)
    ca, ca_key = directory / "ca.pem", directory / "ca.key"
    given = keys.authority(ctx.answers)
    own = keys.own(ctx.answers)
    if given:
        signer, signer_key = Path(given.certificate), Path(given.key)
    else:
        signer, signer_key = ca, ca_key
        if not certificates.belong_together(ca, ca_key):
            title = f"Onestack CA of the cloud {ctx.cloud.name}"
            subject = _name({**keys.subject(ctx.answers), "CN": title})
            yield Change(
                "make the cloud's certificate authority",
                lambda: certificates.make_ca(ca, ca_key, subject),
            )
    yield from ensure_trust(ca, signer, own)
    server = directory / "server.pem"
    if own:
        yield from _ensure_copy(server, own, group)
    else:
        wanted = _wanted(ctx)
        if not _serves(server, signer, wanted):
            yield Change(
                f"make the certificate for {', '.join([*wanted.names, *wanted.addresses])}",
                lambda: make_server(server, signer, signer_key, wanted, group),
            )
    fronts = [front for declared in ctx.model for front in declared.frontends]
    elsewhere = {f.address for f in fronts if f.address and not f.plain}
    files = {address_file(ctx, address): address for address in sorted(elsewhere)}
    for former in set(directory.glob(f"{ADDRESS_PREFIX}*.pem")).difference(files):
        yield from ensure_no_file(former)
    for file, address in files.items():
        wanted = _wanted_at(address)
        if not _serves(file, signer, wanted):
            yield Change(
                f"make the certificate for {address}",
                functools.partial(make_server, file, signer, signer_key, wanted, group),
            )
    for front in fronts:
        if front.certificate:
            yield from _ensure_copy(front_file(ctx, front), front.certificate, group)


def _wanted(ctx: Context) -> Wanted:
    addresses = sorted({ctx.public, ctx.internal, "127.0.0.1"})
    return Wanted(
        tuple(sorted({ctx.host.name, "localhost"})),
        tuple(addresses),
        _name({"CN": addresses[0], **keys.subject(ctx.answers)}),
    )


def _wanted_at(address: str) -> Wanted:
    """For what only the cloud's own guests ask."""
    return Wanted((), (address,), _name({"CN": address}))


def _name(parts: Mapping[str, str]) -> x509.Name:
    ordered = [part for part in _OIDS if part in parts]
    return x509.Name([x509.NameAttribute(_OIDS[part], parts[part]) for part in ordered])


def ensure_trust(ca: Path, signer: Path, own: Certificate | None) -> Iterator[Change]:
    """``ca.pem``: the signer first, and what clients must trust besides."""

    def text() -> str:
        trusted = [*([next(chain(str(ca)))] if signer == ca else chain(str(signer)))]
        if own:
            trusted += chain(own.ca or str(SYSTEM))
        return "".join(dict.fromkeys(trusted))

    def write() -> None:
        write_file(ca, text(), mode=0o644)

    try:
        present = ca.read_text() == text()
    except (OSError, StopIteration):
        # The cloud's own is made in this run; alone, it is as wanted.
        present = signer == ca and not own
    if not present:
        yield Change("write down which authorities clients are to trust", write)


def _ensure_copy(file: Path, given: Certificate, group: str) -> Iterator[Change]:
    """The operator's certificate, what lies between it and its authority, and its key."""
    chained = [*chain(given.certificate), *(chain(given.ca) if given.ca else ())]
    text = "".join(dict.fromkeys(chained)) + Path(given.key).read_text()
    return ensure_file(file, text, mode=0o640, group=group)


def make_server(server: Path, ca_file: Path, ca_key_file: Path, wanted: Wanted, group: str) -> None:
    """Certificate, CA and key in one file, as HAProxy reads it; for ``group`` only."""
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in wanted.names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(each)) for each in wanted.addresses]
    made = certificates.sign(
        ca_file, ca_key_file, wanted.subject, certificates.SERVER, alternatives
    )
    text = made.certificate + "".join(chain(str(ca_file))) + made.key
    write_file(server, text, mode=0o640, group=group)


def _serves(server: Path, ca_file: Path, wanted: Wanted) -> bool:
    """Whether the certificate is there, of this CA, as wanted, and good for a while yet."""
    found = certificates.good(server, ca_file)
    if found is None:
        return False
    try:
        present = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except certificates.UNFIT:
        return False
    return (
        found.subject == wanted.subject
        and set(present.get_values_for_type(x509.DNSName)) == set(wanted.names)
        and {str(a) for a in present.get_values_for_type(x509.IPAddress)} == set(wanted.addresses)
    )
