"""The load balancers' API, as far as it is needed here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onestack.cloudapi.session import admin_session

if TYPE_CHECKING:
    from onestack.model.context import Context

Item = dict[str, Any]


def balancers(ctx: Context, *fields: str) -> list[Item]:
    """Everybody's, with these fields."""
    url = f"{ctx.url('load-balancer')}/v2/lbaas/loadbalancers"
    answer = admin_session(ctx).get(url, params={"fields": list(fields)})
    found: list[Item] = answer.json()["loadbalancers"]
    return found
