"""Heat's one-time work, in a child of the zygote (services' environment)."""

from __future__ import annotations

import sys
from typing import Any


def sync(arguments: dict[str, Any]) -> None:
    """Upstream's own migrations of the database ``heat``."""
    from heat.cmd import manage

    sys.argv[:] = ["heat-manage", "--config-file", arguments["config"][0], "db_sync"]
    manage.main()
