"""Which databases there are, and what each is made of: image, flavors, rows in trove's tables."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from onestack.components.trove import config
from onestack.components.trove.guest import RECIPE
from onestack.database.upstream_tables import trove as tables
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.declarations import Flavor, Job
from onestack.model.errors import NotYet


@dataclass(frozen=True)
class Datastore:
    """``version`` is what Debian 12 has, and the tag of the container's image in the guest."""

    name: str
    version: str
    manager: str
    port: int


MARIADB = Datastore("mariadb", "10.11", "mariadb", 3306)
POSTGRESQL = Datastore("postgresql", "15", "postgresql", 5432)
DATASTORES = (MARIADB, POSTGRESQL)


FLAVORS = (Flavor("db.small", 1, 2048, 5), Flavor("db.medium", 2, 4096, 5))
"""To choose from. The disk is of the guest's system, data is on a volume. Without swap and
ephemeral disk: the agent finds its volume as the second one."""


def ensure_image(ctx: Context) -> Iterator[Change]:
    """The image of today's recipe, private: nobody else boots it, or puts one in its place."""
    from onestack.cloudapi.service_images import ensure_service_image

    yield from ensure_service_image(ctx, RECIPE)


def ensure_flavors(ctx: Context) -> Iterator[Change]:
    """Two sizes to choose from; one of that name stays as it is."""
    from onestack.cloudapi.compute import compute_of

    compute = compute_of(ctx)
    present = compute.flavors()
    for flavor in FLAVORS:
        if flavor.name not in present:
            # The database service asks for a flavor's id.
            make = functools.partial(compute.make_flavor, flavor, identity=flavor.name)
            yield Change(f"make the flavor {flavor.name}", make)


def ensure_datastores(ctx: Context) -> Iterator[Change]:
    """Each is registered, active, with its one version and the image of today's recipe."""
    from onestack.cloudapi.service_images import remove_older, service_image
    from onestack.database.server import server_of

    image = service_image(ctx, RECIPE)
    if image is None:
        raise NotYet("the image of databases is not there", cure="run onestack up again")
    server = server_of(ctx)
    wanted = {(d.name, d.version, d.manager, image) for d in DATASTORES}
    if not wanted <= tables.registered(server):
        arguments = {
            "config": [str(path) for path in config.files(ctx)],
            "image": image,
            "datastores": [asdict(datastore) for datastore in DATASTORES],
        }
        run = "onestack.components.trove.inside.jobs:datastores"
        names = ", ".join(f"{d.name} {d.version}" for d in DATASTORES)
        yield Change(
            f"register {names}",
            lambda: ctx.run_job(Job("trove-datastores", "trove", run, arguments)),
        )
    # Guests that are there were made from it; new ones are not any more.
    yield from remove_older(ctx, RECIPE)
