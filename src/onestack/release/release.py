"""One OpenStack release: its lock files, and where its environments are."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from onestack.host.locks import Tell, silent
from onestack.model.change import Change
from onestack.model.cloud import CACHE
from onestack.model.process import SERVICES
from onestack.release import environment, program
from onestack.release.environment import Environment

HERE = Path(__file__).resolve().parent
CURRENT = "2026.2"
DIST_PACKAGES = Path("/usr/lib/python3/dist-packages")
CLIENTS = "clients"


@dataclass(frozen=True)
class Release:
    """``cache`` is where its environments are made, ``program`` the copy of onestack.

    Each environment is made from a lock file of its own. Services and clients are what
    every cloud has and lie together; what only some want (a dashboard, say) each has a
    place named by its lock's content: other clouds may run from the one of an older lock.
    """

    name: str
    cache: Path
    program: Path
    python: Path = environment.PYTHON

    def environment(self, name: str) -> Environment:
        """The one made from ``NAME.lock``. Raises `KeyError` where the release has none."""
        lock = HERE / self.name / f"{name}.lock"
        if not lock.is_file():
            raise KeyError(f"OpenStack {self.name} has no environment {name!r}: there is no {lock}")
        if name in (SERVICES, CLIENTS):
            place = self.cache / f"{self.name}-{self.digest}" / name
        else:
            digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
            place = self.cache / f"{self.name}-{name}-{digest}"
        title = f"OpenStack {self.name}" if name == SERVICES else f"the {name} of {self.name}"
        return Environment(name, place, lock, title, self.python)

    @cached_property
    def digest(self) -> str:
        """Twelve digits that stand for the code of services and clients."""
        locks = (HERE / self.name / f"{name}.lock" for name in (SERVICES, CLIENTS))
        return hashlib.sha256(b"".join(lock.read_bytes() for lock in locks)).hexdigest()[:12]

    @cached_property
    def services(self) -> Environment:
        return self.environment(SERVICES)

    @cached_property
    def clients(self) -> Environment:
        return self.environment(CLIENTS)

    def ensure_program(self, tell: Tell = silent) -> Iterator[Change]:
        yield from program.ensure_program(self.program, self.python, tell=tell)

    def ensure_borrowed(self) -> Iterator[Change]:
        """Modules of Debian packages (`distribution.txt`) linked into the services' environment.

        Those whose package is not installed are left out.
        """
        for path in borrowed():
            link = self.services.site_packages / path.name
            if not (link.is_symlink() and os.readlink(link) == str(path)):
                yield Change(
                    f"let the services use {path.name} of the distribution",
                    lambda link=link, path=path: _link(link, path),  # type: ignore[misc]
                )


def _link(link: Path, target: Path) -> None:
    temporary = link.with_name(f".{link.name}.onestack-new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.rename(link)


def borrowed(declared: str | None = None, source: Path = DIST_PACKAGES) -> list[Path]:
    """The files that `distribution.txt` names, as far as they are installed."""
    if declared is None:
        declared = (HERE / "distribution.txt").read_text()
    lines = (line.partition("#")[0].split() for line in declared.splitlines())
    return sorted(
        {path for words in lines for pattern in words[1:] for path in source.glob(pattern)}
    )


def release(name: str = CURRENT, cache: Path = CACHE) -> Release:
    """The release ``name`` and its places under ``cache``."""
    return Release(name, cache / "release", cache / "program" / program.content_hash())
