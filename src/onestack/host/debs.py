"""Debian packages' contents without installing them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from onestack.errors import OnestackError
from onestack.host.command import run


def unpack(packages: Iterable[str], destination: Path) -> None:
    """Fetch ``packages`` by apt and unpack them into ``destination``, whole or not at all.

    Raises `OnestackError` when apt cannot fetch one.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
    try:
        # apt's own sandbox user must be able to write here.
        work.chmod(0o755)
        downloads, tree = work / "debs", work / "tree"
        downloads.mkdir(mode=0o777)
        downloads.chmod(0o777)
        tree.mkdir()
        run(["apt-get", "download", "-q", *packages], cwd=downloads, timeout=300)
        found = sorted(downloads.glob("*.deb"))
        if not found:
            raise OnestackError(
                f"apt fetched nothing for {', '.join(packages)}",
                cure="run apt-get update, then the same command again",
            )
        for deb in found:
            run(["dpkg-deb", "-x", str(deb), str(tree)], timeout=120)
        if destination.exists():
            shutil.rmtree(destination)
        tree.rename(destination)
    finally:
        shutil.rmtree(work, ignore_errors=True)
