"""How long certificates of hosts last: a host renews its own at each `up` of its last month."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509

from onestack.cluster.membership import Membership
from onestack.components import certificates, hosts
from onestack.model.context import Context
from onestack.model.findings import Finding, refuse, warn

DAY = 86400.0


def findings(ctx: Context, place: Path) -> Iterator[Finding]:
    """``place`` is where a controller has the list of hosts."""
    if not ctx.joined:
        for member in Membership(place).document().members:
            where = f"on {member.name}"
            yield from _finding(f"the host {member.name}", member.certificates[-1].ends, where)
        return
    try:
        own = x509.load_pem_x509_certificate(hosts.own(ctx).certificate.read_bytes())
    except certificates.UNFIT:
        return  # there before the first `up`
    yield from _finding("this host", own.not_valid_after_utc.timestamp(), "here")


def _finding(whose: str, ends: float, where: str) -> Iterator[Finding]:
    left, what = ends - time.time(), f"the certificate of {whose}"
    if left <= 0:
        yield refuse(
            f"{what} has ended, and the cloud hears it no more",
            "it was not renewed: `up` does that, in its last month",
            "on the controller: onestack host remove, and token create; on the host: onestack "
            "leave, and join",
        )
    elif left < certificates.RENEW_DAYS * DAY:
        yield warn(
            f"{what} ends on {time.strftime('%Y-%m-%d', time.localtime(ends))}",
            "once it has ended the host must join anew",
            f"{where}: onestack up, which renews it",
        )
