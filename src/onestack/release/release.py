"""One OpenStack release: its lock files, and where its environments are."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from onestack.host.locks import Tell, silent
from onestack.model.change import Change
from onestack.model.cloud import CACHE
from onestack.release import environment, program

HERE = Path(__file__).resolve().parent
CURRENT = "2026.2"
DIST_PACKAGES = Path("/usr/lib/python3/dist-packages")


@dataclass(frozen=True)
class Release:
    """``services`` and ``clients`` are environments, ``program`` the copy of onestack.

    ``services_hash`` is that of the services' lock: it stands for their code.
    What only some clouds want is in further environments (`further`), each
    from a lock file of its own.
    """

    name: str
    services: Path
    clients: Path
    program: Path
    services_hash: str
    python: Path = environment.PYTHON

    def further(self, title: str) -> Path:
        """The environment made from ``title``.lock, named by that file's content."""
        lock = self.further_lock(title).read_bytes()
        digest = hashlib.sha256(lock).hexdigest()[:12]
        return self.services.parent.parent / f"{self.name}-{title}-{digest}"

    def further_lock(self, title: str) -> Path:
        return HERE / self.name / f"{title}.lock"

    @property
    def services_lock(self) -> Path:
        return HERE / self.name / "services.lock"

    @property
    def clients_lock(self) -> Path:
        return HERE / self.name / "clients.lock"

    @property
    def services_python(self) -> Path:
        return self.services / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        """Where upstream's packages lie, or will lie, in the services' environment."""
        return self.packages_in(self.services)

    def packages_in(self, place: Path) -> Path:
        """The folder of packages of the environment ``place``."""
        return place / "lib" / f"python{environment.version_of(self.python)}" / "site-packages"

    @property
    def installed(self) -> bool:
        """Whether both environments are whole."""
        return environment.complete(
            self.services, self.services_lock, self.python
        ) and environment.complete(self.clients, self.clients_lock, self.python)

    def installed_further(self, title: str) -> bool:
        place, lock = self.further(title), self.further_lock(title)
        return environment.complete(place, lock, self.python)

    def ensure_services(self, tell: Tell = silent) -> Iterator[Change]:
        yield from environment.ensure_environment(
            self.services, self.services_lock, f"OpenStack {self.name}", tell=tell
        )

    def ensure_clients(self, tell: Tell = silent) -> Iterator[Change]:
        yield from environment.ensure_environment(
            self.clients, self.clients_lock, f"the clients of {self.name}", tell=tell
        )

    def ensure_further(self, title: str, tell: Tell = silent) -> Iterator[Change]:
        yield from environment.ensure_environment(
            self.further(title),
            self.further_lock(title),
            f"the {title} of {self.name}",
            tell=tell,
        )

    def ensure_program(self, tell: Tell = silent) -> Iterator[Change]:
        yield from program.ensure_program(self.program, self.python, tell=tell)

    def ensure_borrowed(self) -> Iterator[Change]:
        """Modules of Debian packages (`distribution.txt`) linked into the services' environment.

        Those whose package is not installed are left out.
        """
        for path in borrowed():
            link = self.site_packages / path.name
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
    services = (HERE / name / "services.lock").read_bytes()
    clients = (HERE / name / "clients.lock").read_bytes()
    place = cache / "release" / f"{name}-{hashlib.sha256(services + clients).hexdigest()[:12]}"
    return Release(
        name=name,
        services=place / "services",
        clients=place / "clients",
        program=cache / "program" / program.content_hash(),
        services_hash=hashlib.sha256(services).hexdigest()[:12],
    )
