"""The hosts' authority: what the cloud's hosts are known by, and its door.

It is not the one of the public front, which the operator may have given and which signs for
others too: whatever is by this one is the door's or a host's.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

from onestack.host.files import ensure_owner, write_file
from onestack.model.change import Change
from onestack.model.context import Context

# Everything of cryptography's is imported late: answers and checks run without it.


def directory(ctx: Context) -> Path:
    return ctx.cloud.etc / "door"


def ca(ctx: Context) -> Path:
    """Its key beside it is the door's, which signs for hosts."""
    return directory(ctx) / "ca.pem"


def ca_key(ctx: Context) -> Path:
    return directory(ctx) / "ca.key"


def server(ctx: Context) -> Path:
    """The door's certificate, with its key: the front's."""
    return directory(ctx) / "server.pem"


def ensure_certificates(ctx: Context, signers: str, front: str) -> Iterator[Change]:
    """The authority, for ``signers`` to use, and the door's certificate for ``front``'s group."""
    from onestack.components import certificates

    made, key = ca(ctx), ca_key(ctx)
    if not certificates.belong_together(made, key):
        subject = certificates.named(f"Authority for hosts of the cloud {ctx.cloud.name}")
        yield Change(
            "make the authority for the cloud's hosts",
            functools.partial(certificates.make_ca, made, key, subject, signers),
        )
    else:
        yield from ensure_owner(key, "root", signers, 0o640)
    if not certificates.good(server(ctx), made):
        yield Change("make the certificate of the cloud's door", lambda: _make(ctx, front))
    else:
        yield from ensure_owner(server(ctx), "root", front, 0o640)


def _make(ctx: Context, group: str) -> None:
    from cryptography import x509

    from onestack.cluster.protocol import SERVER
    from onestack.components import certificates

    made = certificates.sign(
        ca(ctx),
        ca_key(ctx),
        certificates.named(f"Door of the cloud {ctx.cloud.name}"),
        certificates.SERVER,
        [x509.DNSName(SERVER)],
    )
    write_file(server(ctx), made.certificate + made.key, mode=0o640, group=group)


def digest(certificate: Path) -> str:
    """SHA-256 of the authority (DER), as tokens have it. Raises `OSError` and `ValueError`."""
    import hashlib
    import ssl

    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest()
