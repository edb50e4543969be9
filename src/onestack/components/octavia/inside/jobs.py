"""Octavia's one-time work, in a child of the zygote (services' environment)."""

from __future__ import annotations

import sys
from typing import Any


def sync(arguments: dict[str, Any]) -> None:
    """Upstream's own migrations of the database ``octavia``."""
    sys.argv[:] = ["octavia-db-manage", "--config-file", arguments["config"][0], "upgrade", "head"]
    from octavia.db.migration import cli

    cli.main()
