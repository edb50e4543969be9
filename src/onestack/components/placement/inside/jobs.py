"""Placement's one-time work, in a child of the zygote (services' environment)."""

from __future__ import annotations

import sys
from typing import Any


def sync(arguments: dict[str, Any]) -> None:
    """Upstream's own migrations of the database ``placement``."""
    from placement.cmd import manage

    sys.argv[:] = ["placement-manage", "--config-file", arguments["config"][0], "db", "sync"]
    manage.main()
