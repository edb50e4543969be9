"""What other hosts may open of this one's volumes: a folder for each, a file for each volume.

``FOLDER/IDENTITY/VOLUME.json``. These files are all that is known of it: who serves a host
(`onestack.storage.nbd`) reads its folder when it starts, and is told of what comes and goes
after that. So what is there after a kill at any point is what is served.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onestack.kernel.files import sync_directory, write

NODE_LETTERS = 31
"""As long as a node's name may be in QEMU."""
_IDENTITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Export:
    host: str
    """The host's name."""
    volume: str
    """Its id."""
    name: str
    """By which it is asked for: 120 random bits."""
    path: str
    """The file."""

    @property
    def node(self) -> str:
        """What QEMU calls it inside."""
        return f"v{self.name}"[:NODE_LETTERS]

    @property
    def device(self) -> dict[str, Any]:
        """QEMU's block device for it.

        It takes no lock: while a server moves two hosts have its volume, and cinder knows better
        who may have it. What a guest trims goes back to the pool.
        """
        return {
            "driver": "file",
            "node-name": self.node,
            "filename": self.path,
            "locking": "off",
            "discard": "unmap",
        }

    @property
    def served(self) -> dict[str, Any]:
        """QEMU's export of that."""
        return {
            "type": "nbd",
            "id": self.node,
            "node-name": self.node,
            "name": self.name,
            "writable": True,
        }


@dataclass(frozen=True)
class Exports:
    """``group`` may read them."""

    folder: Path

    def of_host(self, identity: str) -> list[Export]:
        """What the host with that identity may open. Raises `OSError` and `ValueError`."""
        return [_read(path) for path in sorted(self._home(identity).glob("*.json"))]

    def of_volume(self, volume: str) -> list[tuple[str, Export]]:
        """Identities of hosts that may open it."""
        return [(i, _read(path)) for i, path in self._files() if path.stem == volume]

    def granted(self, identity: str, host: str, volume: str, path: Path) -> Export:
        """That the host may open the volume; the same each time, until it is taken back.

        `older` counts from here on.
        """
        home = self._home(identity)
        place = home / f"{volume}.json"
        if place.exists() and (known := _read(place)).path == str(path):
            os.utime(place)
            return known
        made = Export(host, volume, secrets.token_hex(15), str(path))
        self.put(identity, made)
        return made

    def put(self, identity: str, export: Export) -> None:
        """As it was before it was taken back."""
        home = self._home(identity)
        home.mkdir(mode=0o750, exist_ok=True)
        write(home / f"{export.volume}.json", json.dumps(asdict(export)) + "\n", 0o640)
        sync_directory(home)

    def forget(self, identity: str, volume: str) -> None:
        """That the host may open the volume."""
        home = self._home(identity)
        try:
            os.unlink(home / f"{volume}.json")
        except FileNotFoundError:
            return
        sync_directory(home)

    def older(self, seconds: float) -> list[tuple[str, Export]]:
        """What nobody was granted for so long, with the identities of the hosts."""
        then = time.time() - seconds
        return [(i, _read(path)) for i, path in self._files() if path.stat().st_mtime < then]

    def forget_others(
        self, identities: Collection[str], right: Callable[[Export], bool]
    ) -> list[Export]:
        """All that is no host's of these, or not ``right``; what that was."""
        gone = []
        for identity, path in list(self._files()):
            known = _read(path)
            if identity not in identities or not right(known):
                gone.append(known)
                self.forget(identity, known.volume)
        for home in self._homes():
            if home.name not in identities:
                shutil.rmtree(home)
        return gone

    def _home(self, identity: str) -> Path:
        if not _IDENTITY.fullmatch(identity):
            raise ValueError(f"{identity!r} is no identity")
        return self.folder / identity

    def _homes(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [path for path in self.folder.iterdir() if path.is_dir()]

    def _files(self) -> Iterator[tuple[str, Path]]:
        for home in self._homes():
            for path in home.glob("*.json"):
                yield home.name, path


def _read(path: Path) -> Export:
    return Export(**json.loads(path.read_text()))
