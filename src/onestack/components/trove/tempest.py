"""What Tempest's tests of trove have to know."""

from __future__ import annotations

from onestack.components.trove.datastores import DATASTORES, FLAVORS
from onestack.components.trove.guest import RECIPE
from onestack.model.declarations import TempestResources
from onestack.model.ini import Ini


def sections(found: TempestResources) -> Ini:
    small, medium = (flavor.name for flavor in FLAVORS)
    return {
        "database": {
            "enabled_datastores": [datastore.name for datastore in DATASTORES],
            "default_datastore_versions": ",".join(f"{d.name}:{d.version}" for d in DATASTORES),
            "flavor_id": small,
            "resize_flavor_id": medium,
            # Each class of tests makes a network of its own, with a router.
            "shared_network": "",
            "volume_type": "__DEFAULT__",
            "backup_wait_timeout": 1800,
            # The same again: the system's disk is made anew, the volume stays.
            "rebuild_image_id": found.guest_images.get(RECIPE.name, ""),
            # An account is deleted by a ResellerAdmin alone, which no user of a test's is.
            "remove_swift_account": False,
        }
    }
