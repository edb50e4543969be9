"""What others would lose with the key manager."""

from __future__ import annotations

from onestack.cloudapi.session import admin_session
from onestack.model.context import Context
from onestack.model.errors import OnestackError

REFERENCES = {
    "listeners": (
        "default_tls_container_ref",
        "sni_container_refs",
        "client_ca_tls_container_ref",
        "client_crl_container_ref",
    ),
    "pools": ("tls_container_ref", "ca_tls_container_ref", "crl_container_ref"),
}
"""Where a part of a balancer names what is kept here (octavia.api.v2.types)."""


def refuse_if_used(ctx: Context) -> None:
    """Raises `OnestackError` where load balancers have certificates from here.

    Octavia fetches all of them anew at each change of a balancer, and takes a listener away
    whose certificate does not come.
    """
    if not ctx.offers("load-balancer"):
        return
    session, used = admin_session(ctx), 0
    for kind, names in REFERENCES.items():
        fields = "&".join(f"fields={name}" for name in names)
        answer = session.get(f"{ctx.url('load-balancer')}/v2/lbaas/{kind}?{fields}").json()
        used += sum(any(each.get(name) for name in names) for each in answer[kind])
    if used:
        raise OnestackError(
            "the key manager is not removed",
            f"{used} listeners and pools of load balancers have certificates from there, and "
            "would stop at the next change of their balancer",
            "switch it on again, delete these (openstack loadbalancer listener list), then run "
            "up --purge without it",
        )
