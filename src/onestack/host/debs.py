"""Debian packages' contents without installing them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from onestack.host import packages
from onestack.host.command import run
from onestack.host.locks import Tell, file_lock, silent
from onestack.kernel.files import sync_directory
from onestack.model.errors import OnestackError


def fetch(names: Iterable[str], folder: Path, tell: Tell = silent) -> None:
    """The ``.deb`` files of ``names`` in ``folder``, all of them or none.

    Raises `OnestackError` when apt cannot fetch one.
    """
    with _made(folder, tell) as work:
        if work:
            _download(list(names), work, tell)


def unpack(names: Iterable[str], folder: Path, tell: Tell = silent) -> None:
    """Fetch ``names`` and unpack them into ``folder``, whole or not at all.

    Raises `OnestackError` when apt cannot fetch one.
    """
    with _made(folder, tell) as work:
        if work:
            debs = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
            try:
                _download(list(names), debs, tell)
                extract(debs, work)
            finally:
                shutil.rmtree(debs, ignore_errors=True)


def extract(debs: Path, folder: Path) -> None:
    """Unpack all ``.deb`` files that lie in ``debs`` into ``folder``."""
    for deb in sorted(debs.glob("*.deb")):
        run(["dpkg-deb", "-x", str(deb), str(folder)], timeout=120)


def depended(name: str) -> list[str]:
    """What the package ``name`` depends on, by apt's lists; nothing where they do not know it."""
    text = run(["apt-cache", "depends", "--important", name]).out
    lines = (line.split() for line in text.splitlines())
    return [words[1] for words in lines if words[:1] == ["Depends:"]]


@contextmanager
def _made(folder: Path, tell: Tell) -> Iterator[Path | None]:
    """A place to fill that becomes ``folder`` in the end; ``None`` if that is there by now."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(folder.parent / f".{folder.name}.lock", "another cloud fetches the same", tell):
        if folder.exists():
            yield None
            return
        for left in folder.parent.glob(f".{folder.name}-*"):
            shutil.rmtree(left)  # by a run that was killed
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            yield work
            work.chmod(0o755)
            run(["sync", "-f", str(work)], timeout=120)
            work.rename(folder)
            sync_directory(folder.parent)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _download(names: list[str], place: Path, tell: Tell) -> None:
    # apt's own sandbox user must be able to write here, and to come here
    place.chmod(0o777)
    argv = ["apt-get", *packages.FETCHING, "download", *names]
    done = run(argv, cwd=place, timeout=600, check=False)
    if not done.ok and (packages.unknown(done) or packages.outdated(done)):
        packages.update(tell)
        done = run(argv, cwd=place, timeout=600, check=False)
    if not done.ok:
        raise packages.explained(done)
    if not any(place.glob("*.deb")):
        raise OnestackError(
            f"apt fetched nothing for {', '.join(names)}",
            cure="run apt-get update, then the same command again",
        )
