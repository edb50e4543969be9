"""Service guests: machines that a service starts for itself, each image made from a recipe.

The root file system is unpacked from Debian 12's packages, whatever Debian this machine is;
agents come from the release's lock. The image is built once per recipe and kept in the
cache. Everybody's part (first boot, units, networks) is in ``service/`` beside this file.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from onestack.host import debs
from onestack.host.command import run
from onestack.host.files import remove_tree
from onestack.host.full_disk import full_disk_told
from onestack.host.locks import Tell, file_lock, silent
from onestack.images import agents, debian_root, sources
from onestack.images.boot import boot_config, make_initrd
from onestack.images.builder import check_machine
from onestack.images.content import contents, files_below
from onestack.images.disk import MIB, write_disk
from onestack.images.sources import Archive
from onestack.kernel.files import sync_directory
from onestack.model.change import Change
from onestack.release.lock import closure, parse
from onestack.release.release import release

HERE = Path(__file__).parent
COMMON = (
    *("service_guest.py", "debian_root.py", "agents.py", "sources.py", "boot.py", "cpio.py"),
    *("disk.py", "kernel.py", "initrd", "service"),
)
"""Of this folder, what an image depends on."""
UNITS = (
    *("guest-config.service", "systemd-networkd.service", "systemd-networkd-wait-online.service"),
    *("acpid.service", "acpid.socket"),
)
"""Started at boot in every guest."""
FAILED = "the image of a service's machine cannot be made"
OWNER = Path("usr/lib/guest/owner")
"""In which ``service/usr/lib/guest/configure`` finds `Recipe.owner`."""
KEPT = r"-[0-9a-f]{12}\.(qcow2|parts)"
"""How what is kept of a recipe is named, after the recipe's name."""


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
    unpacked: tuple[str, ...] = ()
    """Of what other guests do without (`debian_root.NOT_UNPACKED`), what this one has."""
    distributions: tuple[str, ...] = ()
    """Of the services' lock; with all that they need they go to ``/opt/venv``."""
    left_out: tuple[str, ...] = ()
    """Of what those need, what the guest never imports; and what only that needs."""
    sources: tuple[str, ...] = ()
    """Distributions whose source archive ``finish`` finds unpacked in ``usr/src/NAME``."""
    archives: tuple[Archive, ...] = ()
    """Others, which no lock has; ``finish`` finds each unpacked in ``usr/src/NAME-VERSION``."""
    owner: str = ""
    """Who logs in where the guest is a user's own: that one gets the keys that nova was given, and
    a script in the user data is run, by root, once."""
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
        """What it is made of, into ``cache``: whole or not at all. Raises `OnestackError`.

        Packages that have come are kept: what broke off goes on from there.
        """
        with self._alone(cache, tell), full_disk_told(FAILED, cache):
            self._fetch(cache, tell)

    def _fetch(self, cache: Path, tell: Tell) -> None:
        if self.fetched(cache):
            return
        parts = self._parts(cache)
        with scratch(cache, f".{self.name}-parts-") as work:
            made = work / "parts"
            made.mkdir()
            debian_root.fetch(self.packages, made, cache / "packages", work, tell)
            if self.distributions:
                tell(f"fetching the Python packages of {self.title}")
                agents.fetch(self.requirements, self.title, made / "python")
            pinned = {one.name: one for one in parse(release().services.lock.read_text())}
            for name in self.sources:
                sources.fetch(pinned[name], made / "sources", work)
            for archive in self.archives:
                tell(f"fetching {archive.name} {archive.version}")
                sources.fetch_archive(archive, made / "sources", work)
            run(["sync", "-f", str(made)], timeout=300)
            made.rename(parts)
            sync_directory(cache)

    def ensure_fetched(self, cache: Path, tell: Tell = silent) -> Iterator[Change]:
        if not self.fetched(cache):
            yield Change(f"fetch what {self.title} is made of", lambda: self.fetch(cache, tell))

    def build(self, cache: Path, tell: Tell = silent) -> Path:
        """The image in ``cache``, built if it is not there. Raises `OnestackError`."""
        image = self.image(cache)
        if image.exists():
            return image
        check_machine(self.title)
        with self._alone(cache, tell), full_disk_told(FAILED, cache):
            # Whoever held the lock may have built it.
            if not image.exists():
                self._fetch(cache, tell)
                tell(f"building {self.title}")
                with scratch(cache, f".{self.name}-image-") as made:
                    with scratch(cache, f".{self.name}-build-") as work:
                        self._build(self._parts(cache), work, made / image.name)
                    # What was only on the way is gone, and need not reach the disk.
                    run(["sync", made / image.name], timeout=300)
                    (made / image.name).rename(image)
                    sync_directory(cache)
                for older in cache.glob(f"{self.name}-*"):
                    if older != image and re.fullmatch(KEPT, older.name[len(self.name) :]):
                        remove_tree(older)
        return image

    def _build(self, parts: Path, work: Path, image: Path) -> None:
        """``image`` of what `fetch` has brought to ``parts``."""
        root, tools = work / "root", work / "tools"
        debian_root.unpack(parts / "root", root, self.unpacked)
        tools.mkdir()
        debs.extract(parts / "tools", tools)
        kernel = next((tools / "boot").glob("vmlinuz-*"))
        modules = tools / "lib/modules" / kernel.name.removeprefix("vmlinuz-")
        debian_root.copy_tree(HERE / "service", root)
        debian_root.copy_tree(self.tree, root)
        debian_root.settle(root)
        debian_root.add_modules(root, modules, (*debian_root.MODULES, *self.modules))
        if self.distributions:
            agents.install(parts / "python", root)
        if self.sources or self.archives:
            shutil.copytree(parts / "sources", root / "usr/src", dirs_exist_ok=True)
        debian_root.prune(root, (*debian_root.LEFT_OUT, *self.pruned))
        agents.compile_all(root)
        if self.owner:
            (root / OWNER).write_text(f"{self.owner}\n")
        debian_root.enable(root, (*UNITS, *self.units))
        if self.finish:
            self.finish(root)
        debian_root.prune(root, ("usr/src/*", "dev/*", "var/cache/*"))
        boot = {"vmlinuz": kernel.read_bytes(), "initrd": make_initrd(tools, modules)}
        disk, scratch_files = work / "disk.raw", work / "scratch"
        scratch_files.mkdir()
        config = boot_config("net.ifnames=0")
        write_disk(disk, tools, boot, config, root, scratch_files, self.root_mib * MIB)
        # A fifth of zlib's time, and half of it again for whoever reads the image.
        convert = ["qemu-img", "convert", "-c", "-o", "compression_type=zstd", "-m", "8", "-W"]
        run([*convert, "-f", "raw", "-O", "qcow2", disk, image], timeout=600)
        image.chmod(0o644)

    @contextmanager
    def _alone(self, cache: Path, tell: Tell) -> Iterator[None]:
        cache.mkdir(parents=True, exist_ok=True)
        # One for all recipes: they share the folder of packages.
        with file_lock(cache / ".service-guests.lock", "another image is being built", tell):
            yield

    def _parts(self, cache: Path) -> Path:
        return cache / f"{self.name}-{self.digest}.parts"


@contextmanager
def scratch(cache: Path, prefix: str) -> Iterator[Path]:
    """A folder that is gone afterwards; what a run that was killed has left goes first."""
    for left in cache.glob(f"{prefix}*"):
        remove_tree(left)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=cache) as name:
        place = Path(name)
        # apt fetches as a user of its own.
        place.chmod(0o755)
        yield place
