"""Glance's one-time work, in a child of the zygote (services' environment)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def sync(arguments: dict[str, Any]) -> None:
    """Upstream's own migrations of the database ``glance``, and its metadata definitions.

    Those describe properties of images, flavors and volumes; forms of the
    dashboard offer them, and fail where there are none.
    """
    from glance.cmd import manage

    sys.argv[:] = ["glance-manage", "--config-file", arguments["config"][0], "db", "sync"]
    manage.main()

    from glance.db.sqlalchemy import api, metadata

    metadata.db_load_metadefs(api.get_engine(), str(Path(sys.prefix, "etc", "glance", "metadefs")))
