"""Service guests: machines that a service starts for itself, each image made from a recipe.

The root file system is unpacked from Debian 12's packages, whatever Debian this machine is;
agents come from the release's lock. The image is built once per recipe and kept in the
cache. Everybody's part (first boot, units, networks) is in ``service/`` beside this file.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from onestack.host.locks import Tell, silent
from onestack.images.content import contents, files_below
from onestack.model.change import Change
from onestack.model.errors import OnestackError
from onestack.release.lock import closure
from onestack.release.release import release

HERE = Path(__file__).parent
COMMON = ("service_guest.py", "boot.py", "cpio.py", "disk.py", "kernel.py", "initrd")
"""Of this folder, what an image depends on."""


@dataclass(frozen=True)
class Recipe:
    """What makes one kind of guest different from the others.

    No maintainer script of a package runs: users come from ``usr/lib/sysusers.d`` of the
    packages and of ``tree``, services are started as ``units`` says.
    """

    name: str
    title: str
    packages: tuple[str, ...]
    """Debian 12's names; what they depend on comes along."""
    tree: Path
    """Files of its own, copied over the root."""
    distributions: tuple[str, ...] = ()
    """Of the services' lock; with all that they need they go to ``/opt/venv``."""
    left_out: tuple[str, ...] = ()
    """Of what those need, what the guest never imports; and what only that needs."""
    sources: tuple[str, ...] = ()
    """Distributions whose source archive ``finish`` finds unpacked in ``usr/src/NAME``."""
    units: tuple[str, ...] = ()
    """Started at boot, each as its ``[Install]`` says."""
    modules: tuple[str, ...] = ()
    """Of the kernel, by name or pattern; those of every guest need not be named."""
    pruned: tuple[str, ...] = ()
    """Patterns of paths below the root that the packages have and the guest does without."""
    finish: Callable[[Path], None] | None = None
    """A function of a module that changes the root, given to it, before it is written."""
    root_mib: int = 1000
    """The root file system's size; what is empty takes no place in the image."""
    min_disk_gib: int = 2
    min_ram_mib: int = 512

    @property
    def digest(self) -> str:
        """Twelve digits that change with anything but Debian's updates."""
        own = files_below(self.tree)
        found = [
            *contents(HERE, COMMON),
            *contents(self.tree, (str(path.relative_to(self.tree)) for path in own)),
            self.requirements.encode(),
        ]
        if self.finish:
            found.append(Path(inspect.getfile(self.finish)).read_bytes())
        plain = {k: v for k, v in vars(self).items() if k not in ("title", "tree", "finish")}
        found.append(repr(plain).encode())
        return hashlib.sha256(b"\0".join(found)).hexdigest()[:12]

    @property
    def requirements(self) -> str:
        """The part of the services' lock that goes into it."""
        return closure(release().services.lock.read_text(), self.distributions, self.left_out)

    def image(self, cache: Path) -> Path:
        """Where the qcow2 is in ``cache``, once it is built."""
        return cache / f"{self.name}-{self.digest}.qcow2"

    def fetched(self, cache: Path) -> bool:
        """Whether `build` needs nothing from elsewhere."""
        return self.image(cache).exists() or self._parts(cache).is_dir()

    def fetch(self, cache: Path, tell: Tell = silent) -> None:
        """Packages and distributions, into ``cache``. Raises `OnestackError`."""
        raise OnestackError(f"{self.title} cannot be fetched yet")

    def ensure_fetched(self, cache: Path, tell: Tell = silent) -> Iterator[Change]:
        if not self.fetched(cache):
            yield Change(f"fetch what {self.title} is made of", lambda: self.fetch(cache, tell))

    def build(self, cache: Path, tell: Tell = silent) -> Path:
        """The image in ``cache``, built if it is not there. Raises `OnestackError`."""
        raise OnestackError(f"{self.title} cannot be built yet")

    def _parts(self, cache: Path) -> Path:
        return cache / f"{self.name}-{self.digest}.parts"
