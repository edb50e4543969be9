"""Whose certificate one is, and certificates for hosts.

What a host's certificate says is decided here, and nothing of it by whoever asks: of a request
only the key counts. A host is known by its identity, which stands in a name of a kind of its own
(a URI); its certificate is for clients only, and the door's for servers only, so that none of the
hosts' can be taken for the door's, whatever the host calls itself.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import time
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from onestack.cluster.membership import Issued, Member, NotAMember
from onestack.cluster.protocol import HOST, VOLUMES, Refusal, holder
from onestack.components import certificates

DAYS = 90
"""A host's certificate is good for so long, and renewed when a third of that is left."""


def requested(text: str) -> tuple[ec.EllipticCurvePublicKey, str]:
    """The key that a signing request (PEM) is for, and its SHA-256. Raises `Refusal`."""
    try:
        request = x509.load_pem_x509_csr(text.encode("ascii"))
        key = request.public_key()
        signed = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, InvalidSignature):
        raise _unfit("it cannot be read") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise _unfit("its key is not one of the curve P-256")
    if not signed:
        raise _unfit("who sent it does not have its key")
    return key, digest(key)


def digest(key: ec.EllipticCurvePublicKey) -> str:
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(*form)).hexdigest()


def _unfit(why: str) -> Refusal:
    return Refusal("the request for a certificate is not fit", why, "onestack join makes one", 2)


def issued(ca: Path, ca_key: Path, key: ec.EllipticCurvePublicKey, member: Member) -> Issued:
    """A certificate for the host. Its subject is what OVN knows a chassis by.

    Raises `OnestackError` and `OSError`.
    """
    made = certificates.certify(
        ca,
        ca_key,
        key,
        certificates.named(member.identity),
        certificates.CLIENT,
        [x509.UniformResourceIdentifier(f"{HOST}{member.identity}")],
        DAYS,
    )
    ends = made.not_valid_after_utc.timestamp()
    return Issued(certificates.pem(made), serial(made), ends)


def issued_for(
    purpose: str, ca: Path, ca_key: Path, key: ec.EllipticCurvePublicKey, member: Member
) -> Issued:
    """A certificate for what the host shows to others, which know it by its address.

    By another authority than the host's own: neither passes for the other anywhere. Raises
    `OnestackError` and `OSError`.

    For volumes it is good for as long as that authority: QEMU reads it when a guest gets one, and
    shows that same one whenever it connects again, for as long as the guest runs. A host that is
    removed loses who hears it.
    """
    made = certificates.certify(
        ca,
        ca_key,
        key,
        certificates.named(holder(purpose, member.identity)),
        None,
        [x509.IPAddress(ipaddress.ip_address(member.address))],
        _left(ca) if purpose == VOLUMES else DAYS,
    )
    ends = made.not_valid_after_utc.timestamp()
    return Issued(certificates.pem(made), serial(made), ends, purpose, digest(key))


def _left(ca: Path) -> int:
    """Days for which an authority is good."""
    ends = x509.load_pem_x509_certificate(ca.read_bytes()).not_valid_after_utc
    return (ends - datetime.datetime.now(datetime.UTC)).days


def lasts(ends: float) -> bool:
    """Whether a certificate that ends then (seconds since 1970) is good for a while yet."""
    return ends - time.time() > certificates.RENEW_DAYS * 86400


def serial(certificate: x509.Certificate) -> str:
    return f"{certificate.serial_number:x}"


def shown(ca: Path, der: bytes) -> tuple[str, str]:
    """Identity and serial number of the host that showed this certificate.

    The front has verified it already. Raises `NotAMember`.
    """
    try:
        found = x509.load_der_x509_certificate(der)
        found.verify_directly_issued_by(x509.load_pem_x509_certificate(ca.read_bytes()))
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uses = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except certificates.UNFIT:
        raise NotAMember("the certificate is none of this cloud's hosts") from None
    now = datetime.datetime.now(datetime.UTC)
    if not found.not_valid_before_utc <= now <= found.not_valid_after_utc:
        raise ended()
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if list(uses) != [certificates.CLIENT] or len(uris) != 1 or not uris[0].startswith(HOST):
        raise NotAMember("the certificate is not one of a host's")
    return uris[0].removeprefix(HOST), serial(found)


def ended() -> NotAMember:
    return NotAMember(
        "the host's certificate has ended",
        f"it is good for {DAYS} days, and was not renewed: the host was away for long, or one "
        "of the two clocks is wrong",
        "if the clocks are right, on the controller: onestack host remove, and token create; "
        "then here: onestack leave, and join",
    )
