"""How hosts get on: whether they follow their controller, and how long their certificates last.

A host renews its own in the last month, by itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from cryptography import x509

from onestack.cluster.following import Condition
from onestack.components import certificates, hosts
from onestack.components.door import follower
from onestack.model.context import Context
from onestack.model.findings import Finding, refuse, warn

DAY = 86400.0


def findings(ctx: Context) -> Iterator[Finding]:
    if not ctx.joined:
        for member, at in follower.conditions(ctx.cloud):
            if not at.well:
                yield _left_behind(member.name, at)
            where = f"on {member.name}"
            yield from _finding(f"the host {member.name}", member.certificates[-1].ends, where)
        return
    if found := follower.behind(ctx.cloud):
        yield warn(
            "this host is not as its controller wants it",
            found.sentence,
            "mend that; onestack up, here, tries it at once",
        )
    try:
        own = x509.load_pem_x509_certificate(hosts.own(ctx).certificate.read_bytes())
    except certificates.UNFIT:
        return  # there before the first `up`
    yield from _finding("this host", own.not_valid_after_utc.timestamp(), "here")


def _left_behind(name: str, at: Condition) -> Finding:
    cures = {
        "away": f"see whether it runs and reaches this machine: on {name}, onestack status",
        "other": f"give {name} the onestack that is here; then, there: onestack up",
        "unheard": f"on {name}, with the onestack that is here: onestack up",
    }
    cure = cures.get(at.word, f"mend that on {name}; it tries again by itself, or: onestack up")
    return warn(f"the host {name} {at.sentence}", at.problem, cure)


def _finding(whose: str, ends: float, where: str) -> Iterator[Finding]:
    left, what = ends - time.time(), f"the certificate of {whose}"
    if left <= 0:
        yield refuse(
            f"{what} has ended, and the cloud hears it no more",
            "it was not renewed: the host does that in its last month, and was away",
            "on the controller: onestack host remove, and token create; on the host: onestack "
            "leave, and join",
        )
    elif left < certificates.RENEW_DAYS * DAY:
        yield warn(
            f"{what} ends on {time.strftime('%Y-%m-%d', time.localtime(ends))}",
            "once it has ended the host must join anew",
            f"{where}: onestack up, which renews it",
        )
