"""Neutron's one-time work, in a child of the zygote (services' environment)."""

from __future__ import annotations

import sys
from typing import Any


def sync(arguments: dict[str, Any]) -> None:
    """Upstream's own migrations of the database ``neutron``."""
    _upgrade("neutron", arguments)


def sync_fwaas(arguments: dict[str, Any]) -> None:
    """Those of neutron-fwaas, which has tables of its own in there."""
    _upgrade("neutron-fwaas", arguments)


def _upgrade(project: str, arguments: dict[str, Any]) -> None:
    """Without a project named, upstream migrates all that are installed."""
    from neutron.db.migration import cli

    files = [part for path in arguments["config"] for part in ("--config-file", path)]
    sys.argv[:] = ["neutron-db-manage", *files, "--subproject", project, "upgrade", "heads"]
    cli.main()
