"""A host's own side of the door: HAProxy again, at the places where services are on a controller.

Whatever runs on the host finds the cloud's services where it would on a machine that has all: its
files know neither the controller's address nor the host's certificate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from onestack.cluster.protocol import PASSAGE
from onestack.components.door.front import HEAD
from onestack.model.context import in_url


@dataclass(frozen=True)
class Passage:
    controller: str
    """Where the door is."""
    port: int
    own: Path
    """The host's certificate, with its key."""
    ca: Path
    services: Mapping[str, str]
    """Capability to ``ADDRESS:PORT``, where it is found on this host."""

    @property
    def text(self) -> str:
        """haproxy.cfg."""
        door = f"{in_url(self.controller)}:{self.port}"
        # The name that is asked for is the one that the certificate must have.
        trust = f"ssl crt {self.own} ca-file {self.ca} verify required"
        return HEAD + "".join(
            f"\nlisten {name}\n    bind {place}\n"
            f"    server controller {door} {trust} sni str({name}{PASSAGE})\n"
            for name, place in self.services.items()
        )
