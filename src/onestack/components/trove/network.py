"""What is known only when others have answered: ids, and the certificate that guests trust."""

from __future__ import annotations

from collections.abc import Iterator

from onestack.components.trove import config, datastores
from onestack.host.files import ensure_file
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.errors import NotYet


def ensure_ids(ctx: Context) -> Iterator[Change]:
    """Options with neutron's ids of the guests' network. Raises `NotYet`."""
    network = config.management(ctx)
    known = network.known()
    yield from network.ensure_ids(
        {
            "DEFAULT": {
                "management_networks": [known.network],
                "management_security_groups": [known.group],
            }
        }
    )


def ensure_trust(ctx: Context) -> Iterator[Change]:
    """User data of the guests: the authority by which they know the bus and the object store."""
    if not ctx.authority.is_file():
        raise NotYet("the cloud's authority is not there", cure="run onestack up again")
    text, group = config.cloudinit(ctx.authority.read_text()), ctx.cloud.user("trove")
    for datastore in datastores.DATASTORES:
        place = config.cloudinit_file(ctx, datastore.manager)
        yield from ensure_file(place, text, mode=0o640, group=group)
