"""What amphorae are made from: an image, a flavor, quotas; and the file that tells their IDs."""

from __future__ import annotations

from collections.abc import Iterator

from onestack.cloudapi.compute import compute_of
from onestack.cloudapi.identity import service_project
from onestack.cloudapi.quotas import ensure_unlimited
from onestack.cloudapi.service_images import ensure_service_image, remove_older
from onestack.components.octavia import layout
from onestack.components.octavia.amphora import AMPHORA
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.errors import NotYet
from onestack.model.ini import Ini


def ensure_machines(ctx: Context) -> Iterator[Change]:
    """Balancers that are there go on with their image until they are failed over."""
    compute = compute_of(ctx)
    if layout.FLAVOR.name not in compute.flavors():
        yield Change(
            f"make the flavor {layout.FLAVOR.name}",
            lambda: compute.make_flavor(layout.FLAVOR, public=False),
        )
    yield from ensure_unlimited(ctx)
    yield from ensure_service_image(ctx, AMPHORA, (layout.TAG,))
    yield from remove_older(ctx, AMPHORA)
    flavor = compute.flavors().get(layout.FLAVOR.name)
    if flavor is None:
        raise NotYet(f"the flavor {layout.FLAVOR.name} is still to be made")
    place = layout.management(ctx)
    known = place.known()
    told: Ini = {
        "controller_worker": {
            "amp_flavor_id": flavor,
            "amp_image_owner_id": service_project(ctx),
            "amp_boot_network_list": [known.network],
            "amp_secgroup_list": [known.group],
        }
    }
    yield from place.ensure_ids(told)
