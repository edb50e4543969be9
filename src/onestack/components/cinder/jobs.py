"""Cinder's one-time work, in a child of the warm parent (services' environment)."""

from __future__ import annotations

import os
import sys
from typing import Any


def sync(arguments: dict[str, Any]) -> None:
    """Upstream's own migrations of the database ``cinder``."""
    os.environ["OS_CINDER_DISABLE_EVENTLET_PATCHING"] = "1"
    from cinder import monkey_patch

    monkey_patch.patch()
    from cinder.cmd import manage

    sys.argv[:] = ["cinder-manage", "--config-file", arguments["config"][0], "db", "sync"]
    manage.main()
