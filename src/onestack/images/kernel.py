"""Kernel modules by name, with those they depend on."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from pathlib import Path

from onestack.model.errors import OnestackError

DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")
"""In a module's ``.modinfo`` section; the names are separated by commas."""


def matching(modules: Path, wanted: Iterable[str]) -> list[str]:
    """The names among ``wanted``, and for each pattern (``nft_*``) all names that it fits.

    Raises `OnestackError` for a pattern that fits none.
    """
    known = sorted(path.stem.replace("-", "_") for path in modules.rglob("*.ko"))
    found: list[str] = []
    for name in wanted:
        if "*" not in name:
            found.append(name)
        elif fitting := fnmatch.filter(known, name):
            found += fitting
        else:
            raise OnestackError(
                f"the kernel {modules.name} has no module like {name}",
                cure="report it: the Debian kernel package has changed",
            )
    return found


def closure(modules: Path, wanted: Iterable[str]) -> dict[str, Path]:
    """Name to file of ``wanted`` and all they need, each after those it needs.

    ``modules`` is a kernel's ``/lib/modules/VERSION``. Raises `OnestackError`
    for a module the kernel does not have.
    """
    files = {path.stem.replace("-", "_"): path for path in modules.rglob("*.ko")}
    found: dict[str, Path] = {}

    def add(name: str, by: str) -> None:
        if name in found:
            return
        if name not in files:
            raise OnestackError(
                f"the kernel {modules.name} has no module {name}",
                f"the guest needs it for {by}",
                "report it: the Debian kernel package has changed",
            )
        match = DEPENDS.search(files[name].read_bytes())
        for needed in (match.group(1).decode() if match else "").split(","):
            if needed:
                add(needed.replace("-", "_"), name)
        found[name] = files[name]

    for name in wanted:
        add(name, "itself")
    return found
