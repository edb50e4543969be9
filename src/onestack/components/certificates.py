"""Authorities of the cloud's own, and the certificates that they sign."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from onestack.host.files import write_file
from onestack.model.errors import OnestackError

CA_DAYS = 3650
LEAF_DAYS = 825
"""The longest that Apple's clients accept."""
RENEW_DAYS = 30
SERVER = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
UNFIT = (
    *(OSError, ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm),
    *(x509.InvalidVersion, x509.ExtensionNotFound, x509.DuplicateExtension),
    x509.UnsupportedGeneralNameType,
)
"""What reading and checking of a certificate raises that is damaged, or none of ours."""
_HASHING = (ed25519.Ed25519PrivateKey,)
"""Keys whose signatures choose no digest."""


@dataclass(frozen=True)
class Signed:
    """A certificate and its key, as PEM."""

    certificate: str
    key: str


def named(text: str) -> x509.Name:
    """A subject with this common name alone."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def make_ca(certificate: Path, key_file: Path, subject: x509.Name, group: str = "") -> None:
    """An authority; with ``group`` its members may sign, without only root."""
    key = ec.generate_private_key(ec.SECP256R1())
    made = (
        _builder(subject, subject, key.public_key(), CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    # The key first: a CA certificate whose key is lost would be of no use.
    mode = 0o640 if group else 0o600
    write_file(key_file, _key_text(key), mode=mode, group=group or "root")
    write_file(certificate, pem(made), mode=0o644)


def sign(
    ca_file: Path,
    ca_key_file: Path,
    subject: x509.Name,
    purpose: x509.ObjectIdentifier | None,
    alternatives: Sequence[x509.GeneralName] = (),
) -> Signed:
    """A new key and a certificate for it by that authority; ``purpose`` as `certify` has it."""
    key = ec.generate_private_key(ec.SECP256R1())
    made = certify(ca_file, ca_key_file, key.public_key(), subject, purpose, alternatives)
    return Signed(pem(made), _key_text(key))


def certify(
    ca_file: Path,
    ca_key_file: Path,
    key: ec.EllipticCurvePublicKey,
    subject: x509.Name,
    purpose: x509.ObjectIdentifier | None,
    alternatives: Sequence[x509.GeneralName] = (),
    days: int | None = None,
) -> x509.Certificate:
    """A certificate for somebody's key by that authority, good for `LEAF_DAYS` or ``days``.

    Without a ``purpose`` it is for both, servers and clients, as GnuTLS's users (libvirt 9, QEMU
    7) want it: they refuse one that may not be used for what only keys of RSA are.
    Raises `OnestackError`.
    """
    ca, ca_key = _signer(ca_file, ca_key_file)
    # Its own identifier, where it has one, is how a chain is put together.
    try:
        identifier = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        above = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    except x509.ExtensionNotFound:
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    builder = _builder(subject, ca.subject, key, LEAF_DAYS if days is None else days)
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    algorithm = None if isinstance(ca_key, _HASHING) else hashes.SHA256()
    return (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False, encipher=purpose is None), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([purpose] if purpose else [SERVER, CLIENT]), critical=False
        )
        .add_extension(above, critical=False)
        .sign(ca_key, algorithm)
    )


def revocations(ca_file: Path, ca_key_file: Path, serials: Sequence[int]) -> str:
    """The list (PEM) of an authority's certificates that are good no more.

    It is good for as long as the authority: it is written anew for another list, not by time.
    """
    ca, ca_key = _signer(ca_file, ca_key_file)
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.subject)
        .last_update(now - datetime.timedelta(hours=1))
        .next_update(ca.not_valid_after_utc)
    )
    for serial in serials:
        one = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
        builder = builder.add_revoked_certificate(one.build())
    made = builder.sign(ca_key, None if isinstance(ca_key, _HASHING) else hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


def _signer(
    ca_file: Path, ca_key_file: Path
) -> tuple[
    x509.Certificate,
    ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey,
]:
    ca = x509.load_pem_x509_certificate(ca_file.read_bytes())
    ca_key = serialization.load_pem_private_key(ca_key_file.read_bytes(), None)
    if not isinstance(ca_key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey, *_HASHING)):
        raise OnestackError(
            f"the authority's key in {ca_key_file} cannot be used",
            "it is neither an RSA key nor one of an elliptic curve",
            "give another authority, or CONFIG_SSL_CACERT_SELFSIGN=y",
        )
    return ca, ca_key


def new_key() -> str:
    """One (PEM) of the kind that all of ours have."""
    return _key_text(ec.generate_private_key(ec.SECP256R1()))


def request(key_file: Path) -> str:
    """A request (PEM) to have this key certified; of what is to be said of it, it says nothing."""
    key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{key_file} is no key of ours")
    made = x509.CertificateSigningRequestBuilder().subject_name(named("host"))
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def belong_together(certificate: Path, key_file: Path) -> bool:
    try:
        ca = x509.load_pem_x509_certificate(certificate.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    except (OSError, ValueError):
        return False
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return ca.public_key().public_bytes(*form) == key.public_key().public_bytes(*form)


def good(certificate: Path, ca_file: Path) -> x509.Certificate | None:
    """The one in that file, if it is by this authority and lasts for a while yet."""
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        found.verify_directly_issued_by(x509.load_pem_x509_certificate(ca_file.read_bytes()))
    except UNFIT:
        return None
    left = found.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    return found if left > datetime.timedelta(days=RENEW_DAYS) else None


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


def _usage(ca: bool, encipher: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=encipher,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_text(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
