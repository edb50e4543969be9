"""An authority and certificates by it, good and bad, as an operator may bring them."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Made:
    """All PEM files; ``key`` is that of ``certificate`` and ``expired``."""

    ca: Path
    certificate: Path
    key: Path
    expired: Path
    other_ca: Path
    other_key: Path
    locked_key: Path


def authority(folder: Path) -> Made:
    ca_key, other_ca_key, key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(4))
    ca = _certificate("an authority", ca_key, "an authority", ca_key, ca=True)
    other_ca = _certificate("another", other_ca_key, "another", other_ca_key, ca=True)
    good = _certificate("cloud.example", key, "an authority", ca_key)
    expired = _certificate("cloud.example", key, "an authority", ca_key, until=-1)
    secret = serialization.BestAvailableEncryption(b"secret")
    return Made(
        ca=_file(folder / "ca.pem", ca),
        certificate=_file(folder / "certificate.pem", good),
        key=_file(folder / "key.pem", key),
        expired=_file(folder / "expired.pem", expired),
        other_ca=_file(folder / "other-ca.pem", other_ca),
        other_key=_file(folder / "other-key.pem", other),
        locked_key=_file(folder / "locked.pem", key, secret),
    )


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    ca: bool = False,
    until: int = 10,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [
        x509.DNSName("cloud.example"),
        x509.DNSName("*.many.example"),
        x509.IPAddress(ipaddress.ip_address("198.51.100.7")),
    ]
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=20))
        .not_valid_after(now + datetime.timedelta(days=until))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _file(
    path: Path,
    what: x509.Certificate | ec.EllipticCurvePrivateKey,
    secret: serialization.KeySerializationEncryption | None = None,
) -> Path:
    if isinstance(what, x509.Certificate):
        raw = what.public_bytes(serialization.Encoding.PEM)
    else:
        raw = what.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            secret or serialization.NoEncryption(),
        )
    path.write_bytes(raw)
    return path
