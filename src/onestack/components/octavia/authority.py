"""Who talks with amphorae: two authorities, and the service's own certificate.

Amphorae believe whoever has a certificate by the one, and the service believes what has one
by the other. With a single authority each amphora could command all the others by its own.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

from onestack.host.files import write_file
from onestack.model.change import Change
from onestack.model.context import Context


def directory(ctx: Context) -> Path:
    return ctx.cloud.etc / "octavia" / "certs"


def client_ca(ctx: Context) -> Path:
    """Signs the service's certificate; its key is root's alone."""
    return directory(ctx) / "client_ca.pem"


def client(ctx: Context) -> Path:
    """The service's certificate, with its key."""
    return directory(ctx) / "client.pem"


def server_ca(ctx: Context) -> Path:
    """Signs amphorae's certificates; its key is the service's."""
    return directory(ctx) / "server_ca.pem"


def key_of(certificate: Path) -> Path:
    return certificate.with_suffix(".key")


def ensure_certificates(ctx: Context) -> Iterator[Change]:
    """The service's certificate is made anew when it ends soon; amphorae notice nothing."""
    # Imported late: answers and checks run where only the standard library is.
    from onestack.components import certificates

    group = ctx.cloud.user("octavia")
    for ca, signs, signers in (
        (client_ca(ctx), "Octavia's service", ""),
        (server_ca(ctx), "amphorae", group),
    ):
        if not certificates.belong_together(ca, key_of(ca)):
            subject = certificates.named(f"Authority for {signs} of the cloud {ctx.cloud.name}")
            make = functools.partial(certificates.make_ca, ca, key_of(ca), subject, signers)
            yield Change(f"make the authority for {signs}", make)
    if not certificates.good(client(ctx), client_ca(ctx)):
        yield Change("make the certificate of Octavia's service", lambda: _make(ctx, group))


def _make(ctx: Context, group: str) -> None:
    from onestack.components import certificates

    ca = client_ca(ctx)
    subject = certificates.named("octavia")
    made = certificates.sign(ca, key_of(ca), subject, certificates.CLIENT)
    write_file(client(ctx), made.certificate + made.key, mode=0o640, group=group)
