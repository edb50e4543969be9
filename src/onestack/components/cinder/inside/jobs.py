"""Cinder's one-time work, in a child of the zygote (services' environment)."""

from __future__ import annotations

import os
import sys
from typing import Any


def sync(arguments: dict[str, Any]) -> None:
    """Upstream's own migrations of the database ``cinder``."""
    _unpatched()
    from cinder.cmd import manage

    sys.argv[:] = ["cinder-manage", "--config-file", arguments["config"][0], "db", "sync"]
    manage.main()


def forget_backups(arguments: dict[str, Any]) -> None:
    """Delete those of one driver from the database; count quotas anew.

    With ``service`` the service for backups goes too. What was being backed up or restored ends as
    that service would have ended it, had it started once more.
    """
    _unpatched()
    from cinder import context, objects
    from cinder.cmd import manage
    from oslo_config import cfg

    objects.register_all()
    cfg.CONF(["--config-file", arguments["config"]], project="cinder")
    from onestack.components.cinder.inside import forgotten

    # One that was not begun has none, and may await another driver's.
    drivers = (arguments["driver"], *((None,) if arguments["service"] else ()))
    admin = context.get_admin_context()
    for backup in objects.BackupList.get_all(admin):
        if backup.service in drivers:
            forgotten.forget(backup)
    if arguments["service"]:
        for service in objects.ServiceList.get_all(admin, {"binary": "cinder-backup"}):
            service.destroy()
    manage.QuotaCommands().sync(None)


def _unpatched() -> None:
    os.environ["OS_CINDER_DISABLE_EVENTLET_PATCHING"] = "1"
    from cinder import monkey_patch

    monkey_patch.patch()
