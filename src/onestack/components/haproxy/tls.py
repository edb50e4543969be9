"""The cloud's own certificate authority, and the certificates of its TLS front."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from onestack.components.base import Certificate, Context
from onestack.components.haproxy.inspect import chain
from onestack.components.haproxy.place import front_file, tls_directory
from onestack.host.change import Change
from onestack.host.files import ensure_file, write_file

CA_DAYS = 3650
SERVER_DAYS = 825
"""The longest that Apple's clients accept."""
RENEW_DAYS = 30


def ensure_tls(ctx: Context, group: str) -> Iterator[Change]:
    """A CA, and a certificate by it for all names and addresses of the cloud's front.

    The certificate is made anew when its names change or it ends within
    ``RENEW_DAYS``; clients need to know only the CA, which stays.
    """
    directory = tls_directory(ctx)
    names = sorted({ctx.host.hostname, "localhost"})
    addresses = sorted({ctx.public, ctx.internal, "127.0.0.1"})
    ca, ca_key = directory / "ca.pem", directory / "ca.key"
    server = directory / "server.pem"
    if not (ca.is_file() and ca_key.is_file()):
        title = f"Onestack CA of the cloud {ctx.cloud.name}"
        yield Change("make the cloud's certificate authority", lambda: make_ca(ca, ca_key, title))
    if not _serves(server, ca, names, addresses):
        yield Change(
            f"make the certificate for {', '.join([*names, *addresses])}",
            lambda: make_server(server, ca, ca_key, names, addresses, group),
        )
    for component in ctx.components:
        for front in component.fronts(ctx):
            if front.certificate:
                yield from _ensure_copy(front_file(ctx, front), front.certificate, group)


def _ensure_copy(file: Path, given: Certificate, group: str) -> Iterator[Change]:
    """The operator's certificate, what lies between it and its authority, and its key."""
    certificates = [*chain(given.certificate), *(chain(given.ca) if given.ca else ())]
    text = "".join(dict.fromkeys(certificates)) + Path(given.key).read_text()
    return ensure_file(file, text, mode=0o640, group=group)


def make_ca(certificate: Path, key_file: Path, title: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])
    made = (
        _builder(subject, subject, key.public_key(), CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    # The key first: a CA certificate whose key is lost would be of no use.
    write_file(key_file, _key_text(key), mode=0o600)
    write_file(certificate, _pem(made), mode=0o644)


def make_server(
    server: Path,
    ca_file: Path,
    ca_key_file: Path,
    names: list[str],
    addresses: list[str],
    group: str,
) -> None:
    """Certificate, CA and key in one file, as HAProxy reads it; for ``group`` only."""
    ca = x509.load_pem_x509_certificate(ca_file.read_bytes())
    ca_key = serialization.load_pem_private_key(ca_key_file.read_bytes(), None)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{ca_key_file} holds no EC key")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, addresses[0])])
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    made = (
        _builder(subject, ca.subject, key.public_key(), SERVER_DAYS)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    write_file(server, _pem(made) + _pem(ca) + _key_text(key), mode=0o640, group=group)


def _serves(server: Path, ca_file: Path, names: list[str], addresses: list[str]) -> bool:
    """Whether the certificate is there, of this CA, for these names, and for a while yet."""
    try:
        found = x509.load_pem_x509_certificate(server.read_bytes())
        ca = x509.load_pem_x509_certificate(ca_file.read_bytes())
        found.verify_directly_issued_by(ca)
        present = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:
        return False
    now = datetime.datetime.now(datetime.UTC)
    return (
        found.not_valid_after_utc - now > datetime.timedelta(days=RENEW_DAYS)
        and set(present.get_values_for_type(x509.DNSName)) == set(names)
        and {str(a) for a in present.get_values_for_type(x509.IPAddress)} == set(addresses)
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # guests' clocks may be a little behind
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _usage(ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_text(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
