"""The Python of a guest: distributions of the release's lock in ``/opt/venv``, compiled."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from onestack.host.command import CommandFailed, run
from onestack.images.debian_root import inside, prune
from onestack.release.environment import explained, uv_program, uv_variables

PYTHON = "3.11.2"
"""Debian 12's."""
PLATFORM = "x86_64-manylinux_2_28"
PLACE = Path("opt/venv")
PACKAGES = PLACE / "lib/python3.11/site-packages"
LEFT_OUT = (
    "**/tests",
    "**/*.pyi",
    "**/*.pyx",
    "**/*.[ch]",
    "**/locale",
    "*.dist-info/licenses",
    "bin",
)
"""Patterns of what no agent imports, below its packages."""


def fetch(requirements: str, title: str, folder: Path) -> None:
    """What ``requirements`` (of a lock, with hashes) name, into ``folder``.

    For the guest's Python, whatever this machine's is. Raises `OnestackError`.
    """
    lock = folder.with_name(f"{folder.name}.lock")
    lock.write_text(requirements)
    words = ["--quiet", "--require-hashes", "--no-deps", "--target", str(folder)]
    words += ["--python-version", PYTHON, "--python-platform", PLATFORM]
    environment = uv_variables(folder) | {"UV_LINK_MODE": "copy"}
    try:
        run(
            [uv_program(), "pip", "install", *words, "-r", str(lock)], env=environment, timeout=1800
        )
    except CommandFailed as error:
        raise explained(title, error) from error
    lock.unlink()


def install(packages: Path, root: Path) -> None:
    """``packages``, as `fetch` has made them, as a virtual environment of ``root``."""
    place = root / PACKAGES
    place.parent.mkdir(parents=True)
    shutil.copytree(packages, place, symlinks=True)
    programs = root / PLACE / "bin"
    programs.mkdir()
    (programs / "python3").symlink_to("/usr/bin/python3")
    (programs / "python").symlink_to("python3")
    (root / PLACE / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {PYTHON}\n"
    )
    for script in (packages / "bin").iterdir() if (packages / "bin").is_dir() else ():
        text = script.read_bytes()
        if text.startswith(b"#!"):
            own = re.sub(rb"\A#!.*python.*\n", b"#!/opt/venv/bin/python3\n", text)
            (programs / script.name).write_bytes(own)
            (programs / script.name).chmod(0o755)
    prune(place, LEFT_OUT)


def compile_all(root: Path) -> None:
    """Byte code of all Python in ``root``: to compile under emulation takes minutes."""
    trees = ("usr/lib/python3", "usr/lib/python3.11", str(PLACE))
    places = [f"/{name}" for name in trees if (root / name).is_dir()]
    # Where its processes have what they share.
    shared = root / "dev/shm"
    shared.mkdir(parents=True, exist_ok=True)
    words = ["-q", "-j", "0", "--invalidation-mode", "unchecked-hash", *places]
    inside(root, ["python3", "-I", "-m", "compileall", *words], timeout=900)
