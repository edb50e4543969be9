"""Neutron's one-time work, in a child of the warm parent (services' environment)."""

from __future__ import annotations

import sys
from typing import Any


def sync(arguments: dict[str, Any]) -> None:
    """Upstream's own migrations of the database ``neutron``."""
    from neutron.db.migration import cli

    files = [part for path in arguments["config"] for part in ("--config-file", path)]
    sys.argv[:] = ["neutron-db-manage", *files, "upgrade", "heads"]
    cli.main()
