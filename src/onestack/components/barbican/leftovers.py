"""What others would lose with the key manager."""

from __future__ import annotations

from onestack.cloudapi.session import admin_session
from onestack.model.context import Context
from onestack.model.errors import OnestackError


def refuse_if_used(ctx: Context) -> None:
    """Raises `OnestackError` where load balancers have certificates from here.

    Octavia fetches all of them anew at each change of a balancer, and takes a listener away
    whose certificate does not come.
    """
    if not ctx.offers("load-balancer"):
        return
    session, place = admin_session(ctx), f"{ctx.url('load-balancer')}/v2/lbaas"
    listeners = session.get(f"{place}/listeners?fields=default_tls_container_ref").json()
    pools = session.get(f"{place}/pools?fields=tls_enabled").json()
    used = sum(bool(each["default_tls_container_ref"]) for each in listeners["listeners"])
    used += sum(bool(each["tls_enabled"]) for each in pools["pools"])
    if used:
        raise OnestackError(
            "the key manager is not removed",
            f"{used} listeners and pools of load balancers have certificates from there, and "
            "would stop at the next change of their balancer",
            "switch it on again, delete these (openstack loadbalancer listener list), then run "
            "up --purge without it",
        )
