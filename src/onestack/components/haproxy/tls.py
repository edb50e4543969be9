"""The cloud's own certificate authority, and the certificates of its TLS front."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from onestack.components.haproxy import keys
from onestack.components.haproxy.inspect import chain
from onestack.components.haproxy.paths import front_file, tls_directory
from onestack.host.files import ensure_file, write_file
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.declarations import Certificate
from onestack.model.errors import OnestackError

CA_DAYS = 3650
SERVER_DAYS = 825
"""The longest that Apple's clients accept."""
RENEW_DAYS = 30
UNFIT = (
    *(OSError, ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm),
    *(x509.InvalidVersion, x509.ExtensionNotFound, x509.DuplicateExtension),
    x509.UnsupportedGeneralNameType,
)
"""What reading and checking of a certificate raises that is damaged, or none of ours."""
SYSTEM = Path("/etc/ssl/certs/ca-certificates.crt")
"""The authorities that this machine trusts."""
_HASHING = (ed25519.Ed25519PrivateKey,)
"""Keys whose signatures choose no digest."""
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
        if not _belong_together(ca, ca_key):
            title = f"Onestack CA of the cloud {ctx.cloud.name}"
            subject = _name({**keys.subject(ctx.answers), "CN": title})
            yield Change(
                "make the cloud's certificate authority", lambda: make_ca(ca, ca_key, subject)
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
    for declared in ctx.model:
        for front in declared.frontends:
            if front.certificate:
                yield from _ensure_copy(front_file(ctx, front), front.certificate, group)


def _wanted(ctx: Context) -> Wanted:
    addresses = sorted({ctx.public, ctx.internal, "127.0.0.1"})
    return Wanted(
        tuple(sorted({ctx.host.name, "localhost"})),
        tuple(addresses),
        _name({"CN": addresses[0], **keys.subject(ctx.answers)}),
    )


def _name(parts: Mapping[str, str]) -> x509.Name:
    ordered = [part for part in _OIDS if part in parts]
    return x509.Name([x509.NameAttribute(_OIDS[part], parts[part]) for part in ordered])


def ensure_trust(ca: Path, signer: Path, own: Certificate | None) -> Iterator[Change]:
    """``ca.pem``: the signer first, and what clients must trust besides."""

    def text() -> str:
        certificates = [*([next(chain(str(ca)))] if signer == ca else chain(str(signer)))]
        if own:
            certificates += chain(own.ca or str(SYSTEM))
        return "".join(dict.fromkeys(certificates))

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
    certificates = [*chain(given.certificate), *(chain(given.ca) if given.ca else ())]
    text = "".join(dict.fromkeys(certificates)) + Path(given.key).read_text()
    return ensure_file(file, text, mode=0o640, group=group)


def make_ca(certificate: Path, key_file: Path, subject: x509.Name) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
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


def make_server(server: Path, ca_file: Path, ca_key_file: Path, wanted: Wanted, group: str) -> None:
    """Certificate, CA and key in one file, as HAProxy reads it; for ``group`` only."""
    ca = x509.load_pem_x509_certificate(ca_file.read_bytes())
    ca_key = serialization.load_pem_private_key(ca_key_file.read_bytes(), None)
    if not isinstance(ca_key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey, *_HASHING)):
        raise OnestackError(
            f"the authority's key in {ca_key_file} cannot be used",
            "it is neither an RSA key nor one of an elliptic curve",
            "give another authority, or CONFIG_SSL_CACERT_SELFSIGN=y",
        )
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in wanted.names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(each)) for each in wanted.addresses]
    # Its own identifier, where it has one, is how a chain is put together.
    try:
        identifier = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        above = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    except x509.ExtensionNotFound:
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    algorithm = None if isinstance(ca_key, _HASHING) else hashes.SHA256()
    made = (
        _builder(wanted.subject, ca.subject, key.public_key(), SERVER_DAYS)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(above, critical=False)
        .sign(ca_key, algorithm)
    )
    text = _pem(made) + "".join(chain(str(ca_file))) + _key_text(key)
    write_file(server, text, mode=0o640, group=group)


def _belong_together(certificate: Path, key_file: Path) -> bool:
    try:
        ca = x509.load_pem_x509_certificate(certificate.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    except (OSError, ValueError):
        return False
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return ca.public_key().public_bytes(*form) == key.public_key().public_bytes(*form)


def _serves(server: Path, ca_file: Path, wanted: Wanted) -> bool:
    """Whether the certificate is there, of this CA, as wanted, and good for a while yet."""
    try:
        found = x509.load_pem_x509_certificate(server.read_bytes())
        ca = x509.load_pem_x509_certificate(ca_file.read_bytes())
        found.verify_directly_issued_by(ca)
        present = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except UNFIT:
        return False
    now = datetime.datetime.now(datetime.UTC)
    return (
        found.not_valid_after_utc - now > datetime.timedelta(days=RENEW_DAYS)
        and found.subject == wanted.subject
        and set(present.get_values_for_type(x509.DNSName)) == set(wanted.names)
        and {str(a) for a in present.get_values_for_type(x509.IPAddress)} == set(wanted.addresses)
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
