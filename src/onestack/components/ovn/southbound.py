"""What the southbound database shows to hosts elsewhere: a server's certificate of its own."""

from __future__ import annotations

from collections.abc import Iterator

from cryptography import x509

from onestack.components import certificates, hosts
from onestack.host.files import write_file
from onestack.model.change import Change
from onestack.model.context import Context

NAME = "southbound.onestack.internal"


def ensure_certificate(ctx: Context) -> Iterator[Change]:
    """Made anew with another authority, and before it ends."""
    tls = hosts.southbound(ctx)
    if not certificates.good(tls.certificate, tls.ca) or not certificates.belong_together(
        tls.certificate, tls.key
    ):
        yield Change("make the certificate of OVN's southbound database", lambda: _make(ctx))


def _make(ctx: Context) -> None:
    tls = hosts.southbound(ctx)
    made = certificates.sign(
        tls.ca,
        tls.ca.with_suffix(".key"),
        certificates.named(NAME),
        certificates.SERVER,
        [x509.DNSName(NAME)],
    )
    write_file(tls.key, made.key, mode=0o640, group=tls.group)
    write_file(tls.certificate, made.certificate, mode=0o640, group=tls.group)
