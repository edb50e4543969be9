"""The copy of onestack that services run: readable by all, named by its content.

It holds what the services' side imports, and no module more: whatever else changes in the
program changes no name, so that no process is started anew for it. The rooms of
``components`` are in it by their ``inside`` only; without their declarations they are
namespace packages there, and a service does not import all rooms by importing its own.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import onestack
from onestack.host.command import run
from onestack.host.files import remove_tree
from onestack.host.locks import Tell, file_lock, silent
from onestack.model.change import Change

SOURCE = Path(onestack.__file__).resolve().parent
VERSION = "0.1.0"
DISTRIBUTION = f"onestack-{VERSION}.dist-info"
ENTRY_POINTS = "release/entry_points.txt"
FOLDERS = ("cluster", "host", "kernel", "model", "runtime", "storage", "supervise")
FILES = (
    "__init__.py",
    ENTRY_POINTS,
    # sizes, as storage tells them to people
    "answers/__init__.py",
    "answers/facter.py",
    "answers/values.py",
    # what hosts are known by
    "components/certificates.py",
    # read before the object store's processes start, to mount what they keep objects on
    "components/swift/devices.py",
)
LEFT_OUT = frozenset(
    {
        *(f"cluster/{name}.py" for name in ("members", "placement")),
        *(f"host/{name}.py" for name in ("archive", "clouds", "debs", "full_disk")),
        *(f"host/{name}.py" for name in ("locks", "packages")),
        *(f"host/{name}.py" for name in ("roots", "shaping", "sysctl", "telling", "users")),
        *(f"model/{name}.py" for name in ("component", "context", "declarations", "declared")),
        *(f"model/{name}.py" for name in ("findings", "host", "ini", "secret")),
        "storage/volumes.py",
        "supervise/client.py",
    }
)
"""Modules of those folders that only the program imports."""
_SKIPPED = {"__pycache__"}


def contents(source: Path = SOURCE) -> list[Path]:
    """The files that are copied, in a fixed order, relative to ``source``."""
    found = []
    for folder, folders, files in os.walk(source):
        folders[:] = sorted(f for f in folders if f not in _SKIPPED)
        found += [
            Path(folder, name).relative_to(source)
            for name in sorted(files)
            if not name.endswith((".pyc", ".onestack-new", "~")) and not name.startswith(".")
        ]
    return [name for name in found if _served(name)]


def _served(name: Path) -> bool:
    room, *folders = name.parts[:-1] or ("",)
    inside = room == "components" and folders[1:2] == ["inside"]
    if str(name) in LEFT_OUT:
        return False
    return room in FOLDERS or inside or str(name) in FILES


def content_hash(source: Path = SOURCE) -> str:
    """Twelve digits that change with any name, content or execute bit."""
    digest = hashlib.sha256()
    for name in contents(source):
        path = source / name
        raw = path.read_bytes()
        executable = os.access(path, os.X_OK)
        digest.update(f"{name} {executable} {len(raw)}\n".encode())
        digest.update(raw)
    return digest.hexdigest()[:12]


@functools.cache
def edition(source: Path = SOURCE) -> str:
    """Twelve digits that change with anything of onestack's own code: hosts compare it."""
    digest = hashlib.sha256()
    for folder, folders, files in os.walk(source):
        folders[:] = sorted(f for f in folders if f not in _SKIPPED)
        for name in sorted(files):
            if name.endswith((".pyc", "~")) or name.startswith("."):
                continue
            path = Path(folder, name)
            # those in images' trees lead to what is in an image
            raw = os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
            digest.update(f"{path.relative_to(source)} {len(raw)}\n".encode())
            digest.update(raw)
    return digest.hexdigest()[:12]


def ensure_program(
    place: Path, python: Path, *, source: Path = SOURCE, tell: Tell = silent
) -> Iterator[Change]:
    """``place``/onestack as a copy of ``source``, byte-compiled by ``python``."""
    if not place.is_dir():
        yield Change(
            f"copy onestack to {place}", lambda: install(place, python, source=source, tell=tell)
        )


def install(place: Path, python: Path, *, source: Path = SOURCE, tell: Tell = silent) -> None:
    """Make the copy beside ``place`` and rename it: whole, or not there."""
    with file_lock(place.parent / ".lock", "another cloud copies onestack", tell):
        work = place.parent / f".{place.name}.new"
        remove_tree(work)
        if place.is_dir():
            return
        package = work / "onestack"
        for name in contents(source):
            target = package / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target)
            target.chmod(0o755 if os.access(source / name, os.X_OK) else 0o644)
        information = work / DISTRIBUTION
        information.mkdir()
        (information / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: onestack\nVersion: {VERSION}\n"
        )
        shutil.copyfile(source / ENTRY_POINTS, information / "entry_points.txt")
        for folder, _, _ in os.walk(work):
            os.chmod(folder, 0o755)
        # A run of plain python3 in the copy must not find stale byte code, nor write any.
        run([python, "-m", "compileall", "-q", str(package)], timeout=600)
        run(["sync", "-f", str(work)], timeout=300)
        work.rename(place)
