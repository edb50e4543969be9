"""Aodh's one-time work, in a child of the zygote (services' environment)."""

from __future__ import annotations

import sys
from typing import Any


def sync(arguments: dict[str, Any]) -> None:
    """Upstream's own migrations of the database ``aodh``."""
    from aodh.cmd import storage

    sys.argv[:] = ["aodh-dbsync", "--config-file", arguments["config"][0]]
    storage.dbsync()
