"""One server for the whole module, of each kind that was asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.server.container import Container
from tests.server.guest import Guest
from tests.server.image import image
from tests.server.machine import Server

KINDS = {"container": Container, "guest": Guest}


@pytest.fixture(scope="module", params=KINDS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """``ONESTACK_TEST_KEEP=y`` leaves it running, to look at what failed."""
    kind = KINDS[request.param]
    made = kind(image(installed=kind.kernel), tmp_path_factory.mktemp(request.param))
    try:
        made.await_boot()
        yield made
    finally:
        if not os.environ.get("ONESTACK_TEST_KEEP"):
            made.end()
