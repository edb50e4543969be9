"""Nova's one-time work, in a child of the zygote (services' environment)."""

from __future__ import annotations

import os
import sys
from typing import Any


def sync_api(arguments: dict[str, Any]) -> None:
    """Upstream's own migrations of the database ``nova_api``."""
    _manage(arguments["config"], "api_db", "sync")


def sync_main(arguments: dict[str, Any]) -> None:
    """Upstream's own migrations of a cell's database."""
    _manage(arguments["config"], "db", "sync", "--local_cell")


def _manage(config: list[str], *command: str) -> None:
    os.environ["OS_NOVA_DISABLE_EVENTLET_PATCHING"] = "1"
    from nova.cmd import manage

    files = [word for path in config for word in ("--config-file", path)]
    sys.argv[:] = ["nova-manage", *files, *command]
    code = manage.main()
    if code:
        raise SystemExit(code)
