"""The dashboard's scripts, styles, fonts and pictures: collected and compressed once.

The result depends only on the release, on the panels and on how it is made; it
lies in the shared cache under a name made of these.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from onestack.components.horizon.settings import LOOKS, text
from onestack.host.command import run
from onestack.host.files import remove_tree
from onestack.host.locks import file_lock
from onestack.model.change import Change
from onestack.model.cloud import CACHE
from onestack.release.environment import Environment, readable

MAKER = Path(__file__).with_name("inside") / "collect.py"


@dataclass(frozen=True)
class Assets:
    """Those of ``environment`` with ``panels``."""

    environment: Environment
    panels: tuple[str, ...]
    cache: Path = CACHE

    @property
    def place(self) -> Path:
        digest = hashlib.sha256(json.dumps([LOOKS, self.panels]).encode())
        for file in (self.environment.lock, MAKER):
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        return self.cache / "dashboard" / digest.hexdigest()[:12]

    @property
    def static(self) -> Path:
        return self.place / "static"

    def ensure(self) -> Iterator[Change]:
        if not self.place.is_dir():
            yield Change("collect and compress the dashboard's assets", self.make)

    def make(self) -> None:
        """Make them beside their place and rename: whole, or not there."""
        with file_lock(self.place.parent / ".lock", "another cloud makes the dashboard's assets"):
            work = self.place.with_name(f".{self.place.name}.new")
            remove_tree(work)
            if self.place.is_dir():
                return
            local = work / "local"
            local.mkdir(parents=True)
            (local / "__init__.py").touch()
            settings = LOOKS | {
                "STATIC_ROOT": str(work / "static"),
                "SECRET_KEY": "not used",
                "ALLOWED_HOSTS": ["localhost"],
            }
            (local / "local_settings.py").write_text(text(settings, self.panels))
            run(
                [self.environment.python, "-P", MAKER],
                env={
                    "PYTHONPATH": str(work),
                    "DJANGO_SETTINGS_MODULE": "openstack_dashboard.settings",
                    "PYTHONDONTWRITEBYTECODE": "1",
                },
                timeout=600,
            )
            remove_tree(local)
            readable(work)
            run(["sync", "-f", str(work)], timeout=300)
            os.rename(work, self.place)
