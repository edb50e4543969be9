"""The source archive of a distribution: what upstream puts into no wheel."""

from __future__ import annotations

import tomllib
from pathlib import Path
from urllib.parse import urlsplit

from onestack.host.command import CommandFailed, run
from onestack.images.agents import PYTHON
from onestack.images.fetch import download
from onestack.model.errors import OnestackError
from onestack.release.environment import explained, uv_program, uv_variables
from onestack.release.lock import Pinned


def fetch(pinned: Pinned, folder: Path, work: Path) -> None:
    """Unpack what the lock names by one of its hashes into ``folder``/NAME.

    Where it is, the index says, by uv. Raises `OnestackError`.
    """
    archive = work / f"{pinned.name}.tar.gz"
    url, digest = _place(pinned, work)
    if digest not in pinned.hashes:
        raise OnestackError(
            f"the source of {pinned.name} {pinned.version} is not taken",
            "the index names an archive that the release was not made with",
            "check which index is configured: pip config list, and the UV_* variables",
        )
    download(url, archive, digest)
    place = folder / pinned.name
    place.mkdir(parents=True)
    where = ("--strip-components=1", "-C", place, "-f", archive)
    run(["tar", "-x", "-z", "--no-same-owner", *where], timeout=120)


def _place(pinned: Pinned, work: Path) -> tuple[str, str]:
    """URL and SHA-256 of the archive."""
    wanted = work / "source.in"
    wanted.write_text(f"{pinned.name}=={pinned.version}\n")
    words = ["--quiet", "--no-deps", "--no-header", "--format", "pylock.toml"]
    words += ["--python-version", PYTHON]
    try:
        said = run(
            [uv_program(), "pip", "compile", *words, wanted], env=uv_variables(work), timeout=120
        )
    except CommandFailed as error:
        raise explained(f"the source of {pinned.name}", error) from error
    (package,) = tomllib.loads(said.out)["packages"]
    source = package.get("sdist") or package.get("archive") or {}
    url = str(source.get("url") or source.get("path") or "")
    if not url:
        raise OnestackError(
            f"the source of {pinned.name} {pinned.version} cannot be had",
            "the configured index has no source archive of it",
            "check which index is configured: pip config list, and the UV_* variables",
        )
    if not urlsplit(url).scheme:
        url = (wanted.parent / url).resolve().as_uri()
    return url, str(source["hashes"]["sha256"])
