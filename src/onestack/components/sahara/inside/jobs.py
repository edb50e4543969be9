"""Sahara's one-time work (sahara's environment)."""

from __future__ import annotations

import sys
from typing import Any


def sync(arguments: dict[str, Any]) -> None:
    """Upstream's own migrations of the database ``sahara``."""
    from sahara.db.migration import cli

    config = arguments["config"][0]
    sys.argv[:] = ["sahara-db-manage", "--config-file", config, "upgrade", "head"]
    cli.main()
