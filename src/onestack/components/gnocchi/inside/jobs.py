"""Gnocchi's one-time work, in a child of the zygote (services' environment)."""

from __future__ import annotations

import sys
from typing import Any


def sync(arguments: dict[str, Any]) -> None:
    """Upstream's own migrations of the index, and its archive policies."""
    from gnocchi.cli import manage

    sys.argv[:] = [
        "gnocchi-upgrade",
        *("--config-file", arguments["config"][0]),
        # directories: the service makes them when it starts
        *("--skip-storage", "--skip-incoming"),
    ]
    manage.upgrade()
