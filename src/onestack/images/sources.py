"""The source archive of a distribution: what upstream puts into no wheel, or has no wheel of."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from onestack.host.command import CommandFailed, run
from onestack.images.agents import PYTHON
from onestack.images.fetch import download
from onestack.model.errors import OnestackError
from onestack.release.environment import explained, uv_program, uv_variables
from onestack.release.lock import Pinned


@dataclass(frozen=True)
class Archive:
    """One that is no part of a lock, because nothing of it is Python that anybody imports.

    ``digest`` is its SHA-256; ``kept`` are patterns of what is unpacked of it.
    """

    name: str
    version: str
    digest: str
    kept: tuple[str, ...]

    @property
    def folder(self) -> str:
        """Two versions of one name lie beside each other."""
        return f"{self.name}-{self.version}"


def fetch(pinned: Pinned, folder: Path, work: Path) -> None:
    """Unpack what the lock names by one of its hashes into ``folder``/NAME.

    Where it is, the index says, by uv. Raises `OnestackError`.
    """
    _fetch(pinned.name, pinned.version, pinned.hashes, folder / pinned.name, work)


def fetch_archive(archive: Archive, folder: Path, work: Path) -> None:
    """Unpack what is kept of it into ``folder``/NAME-VERSION. Raises `OnestackError`."""
    place = folder / archive.folder
    patterns = [f"*/{pattern}" for pattern in archive.kept]
    _fetch(archive.name, archive.version, {archive.digest}, place, work, patterns)


def _fetch(
    name: str,
    version: str,
    known: Collection[str],
    place: Path,
    work: Path,
    patterns: Sequence[str] = (),
) -> None:
    archive = work / f"{name}-{version}.tar.gz"
    url, digest = _place(name, version, work)
    if digest not in known:
        raise OnestackError(
            f"the source of {name} {version} is not taken",
            "the index names an archive that the release was not made with",
            "check which index is configured: pip config list, and the UV_* variables",
        )
    download(url, archive, digest)
    place.mkdir(parents=True)
    where = ("--strip-components=1", "-C", place, "-f", archive)
    chosen = ("--wildcards", *patterns) if patterns else ()
    run(["tar", "-x", "-z", "--no-same-owner", *where, *chosen], timeout=600)
    archive.unlink()


def _place(name: str, version: str, work: Path) -> tuple[str, str]:
    """URL and SHA-256 of the archive."""
    wanted = work / "source.in"
    wanted.write_text(f"{name}=={version}\n")
    # What it needs is nothing to us; to find it out, uv would fetch it and run its setup.py.
    described = f'name = "{name}"\nversion = "{version}"\nrequires-dist = []\n'
    (work / "uv.toml").write_text(f"[[dependency-metadata]]\n{described}")
    words = ["--quiet", "--no-deps", "--no-header", "--format", "pylock.toml"]
    words += ["--python-version", PYTHON]
    try:
        said = run(
            [uv_program(), "pip", "compile", *words, wanted],
            env=uv_variables(work),
            cwd=work,
            timeout=120,
        )
    except CommandFailed as error:
        raise explained(f"the source of {name}", error) from error
    (package,) = tomllib.loads(said.out)["packages"]
    source = package.get("sdist") or package.get("archive") or {}
    url = str(source.get("url") or source.get("path") or "")
    if not url:
        raise OnestackError(
            f"the source of {name} {version} cannot be had",
            "the configured index has no source archive of it",
            "check which index is configured: pip config list, and the UV_* variables",
        )
    if not urlsplit(url).scheme:
        url = (wanted.parent / url).resolve().as_uri()
    return url, str(source["hashes"]["sha256"])
