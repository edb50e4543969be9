"""Servers that a drain has sent on while they were off: written down before nova is asked.

Nova keeps such a server on both hosts until somebody confirms that it may be forgotten on the old
one. Whose move it was nova does not say, and what a user has begun a drain must not confirm.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from onestack.kernel.files import write
from onestack.model.errors import OnestackError


@dataclass(frozen=True)
class Begun:
    """Of one host. ``path`` is root's: JSON, by server's id: the newest migration before (uuid;
    empty: none was)."""

    path: Path

    def servers(self) -> dict[str, str]:
        """Server's id to the migration that was its newest before it was sent."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            return {str(one): str(before) for one, before in found.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, AttributeError) as error:
            raise OnestackError(
                f"{self.path} does not say which servers a drain has sent on",
                f"it is damaged: {error}",
                "openstack server list --all-projects --status VERIFY_RESIZE shows those that wait "
                "to be confirmed; confirm them, remove the file, and run the same command again",
            ) from None

    def add(self, server: str, before: str) -> None:
        """Raises `OnestackError` where it cannot be written."""
        self._write(self.servers() | {server: before})

    def drop(self, server: str) -> None:
        """One that is not there is no mistake. Raises as `add`."""
        found = self.servers()
        if found.pop(server, None) is not None:
            self._write(found)

    def _write(self, found: dict[str, str]) -> None:
        try:
            if found:
                write(self.path, json.dumps(found, indent=1) + "\n", 0o600)
            else:
                self.path.unlink(missing_ok=True)
        except OSError as error:
            raise OnestackError(
                f"{self.path} cannot be written",
                f"{error.strerror}; without it nobody would confirm what a killed drain has moved",
                "make room, then run the same command again",
            ) from None
