"""FWaaS with OVN: what its groups stop and let through between two networks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import firewalls
from tests.support.clouds import CloudUnderTest


@pytest.fixture(scope="module")
def networks(
    cloud: CloudUnderTest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[firewalls.Networks]:
    made = firewalls.Networks(cloud, tmp_path_factory.mktemp("fwaas"), stateful=False)
    try:
        made.make()
        made.await_guests()
        yield made
    finally:
        made.remove()


def test_what_groups_stop(networks: firewalls.Networks) -> None:
    firewalls.tried(networks)


def test_switched_off_and_on(networks: firewalls.Networks) -> None:
    firewalls.switched(networks)


def test_what_was_stopped_passes_again(networks: firewalls.Networks) -> None:
    firewalls.lifted(networks)
    assert networks.unexpected() == []
