"""What tests of several rooms begin from."""

from __future__ import annotations

import pytest

from onestack.release.release import Release, release


@pytest.fixture(scope="session")
def installed() -> Release:
    """The release, its services' environment installed (needs root)."""
    found = release()
    for change in found.services.ensure():
        change.do()
    return found
