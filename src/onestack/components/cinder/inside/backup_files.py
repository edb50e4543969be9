"""Backups of volumes in files of this machine (services' environment)."""

from __future__ import annotations

import os
import re
from typing import Any

from cinder import exception
from cinder.backup.drivers import posix

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


class FilesBackupDriver(posix.PosixBackupDriver):  # type: ignore[misc]
    """Upstream's, which would take the container that a user names for any path on the machine."""

    def update_container_name(self, backup: Any, container: str | None) -> str:
        """A folder of the project's; one of the backup's own where none is named.

        Raises `InvalidInput` for what is no plain name.
        """
        if container is None:
            return str(super().update_container_name(backup, container))
        if not _NAME.fullmatch(container):
            reason = f"{container!r} is no name of a container: letters, digits and _.- alone"
            raise exception.InvalidInput(reason=reason)
        return os.path.join(str(backup["project_id"]), container)
