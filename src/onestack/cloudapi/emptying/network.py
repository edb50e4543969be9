"""What neutron has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keystoneauth1.exceptions import NotFound
from keystoneauth1.session import Session

from onestack.cloudapi.emptying.belonging import Belongs, Item, name_of, taken
from onestack.cloudapi.neutron import GIVEN
from onestack.cloudapi.session import admin_session
from onestack.host.locks import Tell
from onestack.model.errors import OnestackError

if TYPE_CHECKING:
    from onestack.model.context import Context

KINDS = (
    *("fwaas/firewall_groups", "fwaas/firewall_policies", "fwaas/firewall_rules"),
    *(
        "metering/metering-labels",
        "trunks",
        "floatingips",
        "routers",
        "ports",
        "networks",
        "security-groups",
    ),
    *("address-groups", "subnetpools", "address-scopes", "qos/policies"),
)
"""In the order in which they let go of one another."""
_ALWAYS = ("ports", "networks")
"""What neutron has without any extension."""


def remove(ctx: Context, path: str, belongs: Belongs, tell: Tell) -> None:
    session, url = admin_session(ctx), f"{ctx.url('network')}/v2.0"
    asked = {"project_id": belongs.project} if belongs.project and path not in GIVEN else {}
    listed = path.rpartition("/")[2].replace("-", "_")
    try:
        there: list[Item] = session.get(f"{url}/{path}", params=asked).json()[listed]
    except NotFound:
        if path in _ALWAYS:
            raise
        return  # of an extension that is not there
    wrong = []
    for item in there:
        # What neutron made for itself goes with its network, or with its router.
        owned = path == "ports" and item["device_owner"].startswith("network:")
        if owned or not belongs.fits(item, "project_id"):
            continue
        tell(f"removing the {listed.removesuffix('s').replace('_', ' ')} {name_of(item)}")
        if path == "routers":
            _unplug(session, url, item)
        answer = session.delete(f"{url}/{path}/{item['id']}", raise_exc=False)
        if not taken(answer.status_code):
            wrong.append(f"{name_of(item)}: {answer.text[:200]}")
    if wrong:
        raise OnestackError(f"{len(wrong)} are still there", "; ".join(wrong[:3]))


def _unplug(session: Session, url: str, router: Item) -> None:
    if router.get("routes"):
        place = f"{url}/routers/{router['id']}"
        session.put(place, json={"router": {"routes": []}}, raise_exc=False)
    ports = session.get(f"{url}/ports", params={"device_id": router["id"]}).json()["ports"]
    for port in ports:
        if port["device_owner"].startswith("network:router_interface"):
            session.put(
                f"{url}/routers/{router['id']}/remove_router_interface",
                json={"port_id": port["id"]},
                raise_exc=False,
            )
