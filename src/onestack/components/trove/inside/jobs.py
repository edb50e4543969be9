"""Trove's one-time work, in a child of the zygote (services' environment)."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

from onestack.components.trove.inside import threads


def sync(arguments: dict[str, Any]) -> None:
    """Upstream's own migrations of the database ``trove``."""
    files = [word for path in arguments["config"] for word in ("--config-file", path)]
    sys.argv[:] = ["trove-manage", *files, "db_sync"]
    threads.begin()
    from trove.cmd import manage

    manage.main()


def datastores(arguments: dict[str, Any]) -> None:
    """Register each kind of database, with one version and the image that it is booted from.

    By the image's id: by tags, an image of anybody's with the same tags would be booted, and
    told what a guest is told.
    """
    from onestack.components.trove.inside.run import configure

    configure(arguments["config"])
    import trove
    from trove.common import exception
    from trove.configuration import models as configuration
    from trove.datastore import models

    templates = Path(trove.__file__).parent / "templates"
    for wanted in arguments["datastores"]:
        name, version, manager = wanted["name"], wanted["version"], wanted["manager"]
        update = functools.partial(
            models.update_datastore_version, name, version, manager, arguments["image"], "", ""
        )
        try:
            datastore = models.Datastore.load(name)
        except exception.DatastoreNotFound:
            models.update_datastore(name, None)
            datastore = models.Datastore.load(name)
        try:
            models.DatastoreVersion.load(datastore, version, version=version)
        except exception.DatastoreVersionNotFound:
            update(0, version=version)
        # It can be chosen when all of it is there.
        configuration.load_datastore_configuration_parameters(
            name,
            version,
            str(templates / manager / "validation-rules.json"),
            version_number=version,
        )
        update(1, version=version)
        if not datastore.default_version_id:
            models.update_datastore(name, version)
