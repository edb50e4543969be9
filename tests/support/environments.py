"""Environments of a made-up release, for tests that install nothing."""

from __future__ import annotations

from collections.abc import Mapping

from onestack.host.files import write_file
from onestack.model.cloud import CACHE
from onestack.release.environment import MARK, Environment


def make(environment: Environment, files: Mapping[str, str] | None = None) -> None:
    """It counts as whole, and has these files among its packages."""
    assert not environment.place.is_relative_to(CACHE), "this machine's own is not to be written to"
    for name, text in (files or {}).items():
        path = environment.site_packages / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    environment.site_packages.mkdir(parents=True, exist_ok=True)
    write_file(environment.place / MARK, environment.mark)
